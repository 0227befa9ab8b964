"""What is printed, and where: data to stdout as a table or JSON; words to stderr, a line each."""

from __future__ import annotations

import contextlib
import json
import math
import re
import sys
import warnings
from collections.abc import Iterable, Iterator, Sequence
from typing import Any


def say(words: str) -> None:
    """One line on stderr, whatever line breaks the words hold."""
    with contextlib.suppress(BrokenPipeError):
        print("softgrad:", one_line(words), file=sys.stderr, flush=True)


def one_line(words: str) -> str:
    """Text without line breaks and tabs, and without what makes a terminal do more than show it."""
    return re.sub(r"[\x00-\x1f\x7f-\x9f]", lambda found: ascii(found[0])[1:-1], " ".join(words.split()))


@contextlib.contextmanager
def plain_warnings() -> Iterator[None]:
    """Inside the block a Python warning is one plain line on stderr, without file name and source line."""
    with warnings.catch_warnings():

        def show(message: Warning | str, *_: object) -> None:
            say(f"warning: {message}")

        warnings.showwarning = show  # catch_warnings puts the former one back
        yield


def table(rows: Iterable[tuple[str, object]]) -> str:
    """Lines of name and value, the values below each other."""
    shown = [(one_line(name), one_line(str(value))) for name, value in rows]
    width = max((len(name) for name, _ in shown), default=0)
    return "\n".join(f"{name:<{width}}  {value}".rstrip() for name, value in shown)


def columns(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A table with a header: the first column to the left, the others to the right."""
    lines = [[one_line(str(cell)) for cell in line] for line in (head, *rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) if k == 0 else cell.rjust(width) for k, (cell, width) in enumerate(zip(line, widths, strict=True)))
        for line in lines
    )


def pairs_table(pairs: Iterable[Any]) -> str:
    """The pairs that are confused most, one per line; empty text when nothing is confused."""
    rows = [(f"{pair.true} -> {pair.predicted}", pair.count, f"{pair.share:.1%}") for pair in pairs]
    return "\n\n" + columns(("confused most (true -> predicted)", "rows", "of true class"), rows) if rows else ""


def as_json(value: Any) -> str:
    """JSON text of one object; what JSON has no number for (NaN, infinity) is null."""
    return json.dumps(_numbers(value), indent=2, ensure_ascii=False, allow_nan=False)


def _numbers(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {str(key): _numbers(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_numbers(item) for item in value]
    return value


def unseen(n: int, rows: str) -> str:
    """What is said of rows that no model could have got right."""
    return f"{n} {rows} {'has a class' if n == 1 else 'have classes'} that no training row has; the log loss is without them"


def percent(share: float | None) -> str:
    """A share as a percentage for people; a dash where there is nothing to share."""
    return "-" if share is None or math.isnan(share) else f"{share:.2%}"
