"""`softgrad info`: what is installed and in use, for bug reports and for those who wonder about speed."""

from __future__ import annotations

import platform

from softgrad import __version__
from softgrad.cli import console
from softgrad.cli.machine import machine
from softgrad.cli.parser import Arguments


def info(arguments: Arguments) -> None:
    """Run the verb."""
    facts = {"softgrad": __version__, "python": platform.python_version(), **machine()}
    if arguments.json:
        print(console.as_json(facts))
        return
    why = f"affinity {facts['affinity']}, quota {facts['quota'] if facts['quota'] is not None else 'none'}"
    shown = {**facts, "threads": f"{facts['threads']} ({why})"}
    print(console.table((name, value) for name, value in shown.items() if name not in ("affinity", "quota")))
