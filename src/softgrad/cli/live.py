"""The table of a search while it runs: redrawn in place on a terminal, a line every few seconds elsewhere."""

from __future__ import annotations

import math
import shutil
import sys
import time
from collections.abc import Sequence
from typing import Any

from softgrad.cli import console

OFTEN, SELDOM = 0.1, 5.0  # seconds between tables, and between lines
UP, REST, BELOW = "\x1b[{}A", "\x1b[K", "\x1b[J"


class Live:
    """A row for each C: how many of its folds are done, the last pass, the mean objective of its folds, the largest gradient."""

    def __init__(self, Cs: Sequence[float], n_folds: int, scale: float, wanted: bool = True):
        self.Cs, self.n_folds, self.scale, self.wanted = Cs, n_folds, scale, wanted
        self.latest: dict[tuple[int, int], Any] = {}
        self.drawn, self.lines, self.began = -math.inf, 0, time.monotonic()
        self.redrawn = sys.stderr.isatty()

    def __call__(self, state: Any) -> None:
        """A step of one fit."""
        self.latest[state.k, state.j] = state
        now = time.monotonic()
        if not self.wanted or now - max(self.drawn, self.began if not self.redrawn else -math.inf) < (OFTEN if self.redrawn else SELDOM):
            return
        self.drawn = now
        if self.redrawn:
            self.draw()
        else:
            done = sum(self.done(k) for k in range(len(self.Cs)))
            console.say(f"C = {self.Cs[state.k]:g}, fold {state.j}: pass {state.passes}; {done} of {len(self.Cs) * self.n_folds} fits done")

    def done(self, k: int) -> int:
        """Folds whose next, weaker penalty has begun: it begins where this one has ended."""
        return sum((k + 1, j) in self.latest for j in range(self.n_folds))

    def draw(self) -> None:
        """The table over the one before, as many rows as the terminal is high, those under way among them."""
        columns, height = shutil.get_terminal_size()
        rows = [self.row(k) for k in range(len(self.Cs)) if any((k, j) in self.latest for j in range(self.n_folds))]
        lines = console.columns(("C", "fits", "pass", "objective", "gradient"), rows[-max(1, height - 3) :]).splitlines()
        up = UP.format(self.lines) if self.lines else ""
        sys.stderr.write(f"\r{up}" + "".join(f"{line[: columns - 1]}{REST}\n" for line in lines) + BELOW)
        sys.stderr.flush()
        self.lines = len(lines)

    def row(self, k: int) -> tuple[str, ...]:
        """What is known of the strength k."""
        states = [self.latest[k, j] for j in range(self.n_folds) if (k, j) in self.latest]
        value = sum(state.value for state in states) / len(states)
        steepest = max(state.gradient_norm for state in states) / self.scale
        fits, passes = f"{self.done(k)}/{self.n_folds}", max(state.passes for state in states)
        return f"{self.Cs[k]:g}", fits, str(passes), f"{value:.6f}", f"{steepest:.1e}"

    def clear(self) -> None:
        """Take the table away again."""
        if self.lines:
            sys.stderr.write(f"\r{UP.format(self.lines)}{BELOW}")
            sys.stderr.flush()
            self.lines = 0
