"""Progress of fits for people: one line that is rewritten on a terminal or in a notebook, a line every few seconds elsewhere."""

from __future__ import annotations

import math
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TextIO

from softgrad.solvers.solver import State

WIDTH = 20
OFTEN, SELDOM = 0.1, 2.0  # seconds between lines that are rewritten, and between lines of a log
LONG = 100  # characters that a line is filled up to, so that nothing is left of the one before


@dataclass
class Bar:
    """How far a fit is on its way to tol, on a logarithmic scale, or how many of `total` fits are done; then the user's own callback."""

    tol: float
    then: Callable[[Any], None] | None = None
    total: int = 0
    stream: TextIO = field(default_factory=lambda: sys.stderr)
    told: float = -math.inf
    first: float = 0.0
    done: int = 0

    def __call__(self, state: State) -> None:
        """Tell of a state, if it is time."""
        self.first = self.first or state.gradient_norm
        if state.seconds - self.told >= (OFTEN if self.alive else SELDOM):
            self.told = state.seconds
            self.write(self.line(state))
        if self.then is not None:
            self.then(state)

    @property
    def alive(self) -> bool:
        """Whether the stream shows a line that is rewritten: a terminal, or a notebook's output."""
        return self.stream.isatty() or "ipykernel" in sys.modules

    def line(self, state: State) -> str:
        share = self.done / self.total if self.total else self.share(state.gradient_norm)
        bar = "#" * round(WIDTH * share)
        fits = f"  {self.done} of {self.total} fits" if self.total else ""
        words = f"pass {state.passes:4d}{fits}  objective {state.value:.7f}  gradient {state.gradient_norm:.1e}  {state.seconds:.1f} s"
        return f"[{bar:<{WIDTH}}] {words}"

    def share(self, norm: float) -> float:
        """0 at the first gradient, 1 at tol."""
        if not 0 < norm < self.first:
            return 0.0
        return min(1.0, math.log(self.first / norm) / max(math.log(self.first / self.tol), 1e-9))

    def write(self, line: str) -> None:
        if self.alive:
            columns = shutil.get_terminal_size().columns - 1  # a longer line would wrap, and \r would not reach its beginning
            width = min(LONG, columns) if self.stream.isatty() else LONG
            self.stream.write(f"\r{line[:width]:<{width}}")
        else:
            self.stream.write(f"{line}\n")
        self.stream.flush()

    def clear(self) -> None:
        """Leave an empty line behind."""
        if self.alive and self.told > -math.inf:
            self.write("")
            self.stream.write("\r")
            self.stream.flush()
