"""passes.jsonl: one line for every step of every fit, in the order they were taken, whole lines only.

A line is written before the checkpoint of its pass. So a sweep that goes on finds all lines up to its checkpoint, and some of those
that it is about to write once more: these are told by all but their seconds, and left out.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self


class Record:
    """Lines of a point ({"C": 0.1}), "fold", "pass", "loss", "gradient_norm" and "seconds"; the gradient is that of the scaled features."""

    def __init__(self, path: Path, scale: float, *, resumed: bool):
        self.scale = scale
        self.told = _whole_lines(path) if resumed and path.exists() else set()
        self.file = path.open("ab" if resumed else "wb", buffering=0)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.file.close()

    def write(self, point: Mapping[str, float | None], fold: int | None, state: Any) -> None:
        """A step at a point on a fold, or, without one, of the fit to all rows; raises OSError on a full disk."""
        numbers = {"loss": state.value, "gradient_norm": state.gradient_norm / self.scale, "seconds": state.seconds}
        numbers = {name: number if math.isfinite(number) else None for name, number in numbers.items()}
        told = {**point, "fold": fold, "pass": state.passes, **numbers}
        if tuple(told.values())[:-1] in self.told:
            return
        line = json.dumps(told).encode() + b"\n"
        while line:  # unbuffered, so that nothing is left in memory when the process is killed
            line = line[self.file.write(line) :]


def _whole_lines(path: Path) -> set[tuple[Any, ...]]:
    """All but the seconds of the lines that are there, after a torn one at the end was cut off."""
    text = path.read_bytes()
    whole = text[: text.rfind(b"\n") + 1]
    if len(whole) < len(text):
        with path.open("r+b") as file:
            file.truncate(len(whole))
    return {tuple(json.loads(line).values())[:-1] for line in whole.splitlines()}
