"""passes.jsonl: one line for every step of every fit, in the order they were taken, whole lines only.

A line is written before the checkpoint of its pass. So a sweep that goes on finds all lines up to its checkpoint, and some of those
that it is about to write once more: these are told by (C, fold, pass) and left out.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self


class Record:
    """Lines of {"C", "fold", "pass", "loss", "gradient_norm", "seconds"} at the end of a file, the gradient that of the scaled features."""

    def __init__(self, path: Path, Cs: Sequence[float], scale: float, *, resumed: bool):
        self.path, self.Cs, self.scale = path, Cs, scale
        self.told = _whole_lines(path) if resumed and path.exists() else set()
        self.file = path.open("ab" if resumed else "wb", buffering=0)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.file.close()

    def __call__(self, state: Any) -> None:
        """A step of the search; raises OSError on a full disk."""
        self.write(self.Cs[state.k], state.j, state)

    def write(self, C: float, fold: int | None, state: Any) -> None:
        """A step at C on a fold, or, without one, of the fit to all rows."""
        if (C, fold, state.passes) in self.told:
            return
        numbers = {"loss": state.value, "gradient_norm": state.gradient_norm / self.scale, "seconds": state.seconds}
        numbers = {name: number if math.isfinite(number) else None for name, number in numbers.items()}
        line = json.dumps({"C": C, "fold": fold, "pass": state.passes, **numbers}).encode() + b"\n"
        while line:  # unbuffered, so that nothing is left in memory when the process is killed
            line = line[self.file.write(line) :]


def _whole_lines(path: Path) -> set[tuple[float, int | None, int]]:
    """(C, fold, pass) of the lines that are there, after a torn one at the end was cut off."""
    text = path.read_bytes()
    whole = text[: text.rfind(b"\n") + 1]
    if len(whole) < len(text):
        with path.open("r+b") as file:
            file.truncate(len(whole))
    lines = map(json.loads, whole.splitlines())
    return {(line["C"], line["fold"], line["pass"]) for line in lines}
