"""The command `softgrad`: one verb per room, data on stdout, words on stderr, and an exit code that can be relied on.

0: done. 1: failed, said in one line. 2: a call that cannot be meant. 130: stopped by the keyboard. 141: nobody reads
stdout any more. Here and in `parser` only the standard library is imported, so that help comes at once; each verb
imports what it needs.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path

from softgrad.cli import console, parser

DONE, FAILED, STOPPED, NO_READER = 0, 1, 130, 141


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command with the given words (default: those of the process) and return its exit code.

    Raises SystemExit(2) for a call that cannot be meant and SystemExit(0) after --help and --version, as argparse does.
    """
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:  # closed by the shell: what is written there goes nowhere
            setattr(sys, name, Path(os.devnull).open("w", encoding="utf-8"))  # noqa: SIM115 - for as long as the process
    try:
        arguments = parser.parse(argv)
        with console.plain_warnings():
            return _run(arguments)
    except KeyboardInterrupt:
        console.say("stopped by the keyboard; nothing half-written is left")
        return STOPPED
    except BrokenPipeError:
        # the interpreter flushes stdout once more at its end, and would complain there
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return NO_READER


def _run(arguments: parser.Arguments) -> int:
    from softgrad.arrays import SoftgradError

    try:
        parser.verb(arguments)(arguments)
        sys.stdout.flush()
    except BrokenPipeError:
        raise
    except SoftgradError as error:
        console.say(f"error: {error}")
    except OSError as error:
        named = f"{error.filename}: {error.strerror}" if error.filename and error.strerror else str(error)
        console.say(f"error: {named}")
    except UnicodeError as error:
        console.say(f"error: text that cannot be written here: {error}; use names in UTF-8, or set PYTHONUTF8=1")
    except MemoryError as error:
        console.say(f"error: not enough memory: {error or 'use fewer rows, or a smaller storage type such as float32'}")
    else:
        return DONE
    return FAILED
