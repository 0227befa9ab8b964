"""The table of a search while it runs: redrawn in place on a terminal, a line every few seconds elsewhere."""

from __future__ import annotations

import math
import shutil
import sys
import time
from collections.abc import Mapping, Sequence
from typing import Any

from softgrad.cli import console
from softgrad.cli.tried import NAMES

OFTEN, SELDOM = 0.1, 5.0  # seconds between tables, and between lines
UP, REST, BELOW = "\x1b[{}A", "\x1b[K", "\x1b[J"


class Live:
    """A row for each point: how many of its folds are over, the last pass, the mean objective of its folds, the largest gradient.

    `over` is told by the search: pairs (k, j) of points and folds.
    """

    def __init__(self, points: Sequence[Mapping[str, float | None]], n_folds: int, scale: float, wanted: bool = True):
        self.points, self.n_folds, self.scale, self.wanted = points, n_folds, scale, wanted
        self.latest: dict[tuple[int, int], Any] = {}
        self.over: set[tuple[int, int]] = set()
        self.drawn, self.lines, self.began = -math.inf, 0, time.monotonic()
        self.redrawn = sys.stderr.isatty()

    def __call__(self, state: Any) -> None:
        """A step of the fit of point state.k on fold state.j."""
        self.latest[state.k, state.j] = state
        now = time.monotonic()
        if not self.wanted or now - max(self.drawn, self.began if not self.redrawn else -math.inf) < (OFTEN if self.redrawn else SELDOM):
            return
        self.drawn = now
        if self.redrawn:
            self.draw()
        else:
            point = ", ".join(f"{name} = {cell}" for name, cell in zip(self.names, self.cells(state.k), strict=True))
            done = f"{len(self.over)} of {len(self.points) * self.n_folds} fits done"
            console.say(f"{point}, fold {state.j}: pass {state.passes}; {done}")

    @property
    def names(self) -> list[str]:
        """What the points are made of."""
        return [NAMES[name] for name in self.points[0]]

    def cells(self, k: int) -> list[str]:
        """The numbers of point k."""
        return ["safe" if number is None else f"{number:g}" for number in self.points[k].values()]

    def draw(self) -> None:
        """The table over the one before, as many rows as the terminal is high, those under way among them."""
        columns, height = shutil.get_terminal_size()
        rows = [self.row(k) for k in range(len(self.points)) if any((k, j) in self.latest for j in range(self.n_folds))]
        head = (*self.names, "fits", "pass", "objective", "gradient")
        lines = console.columns(head, rows[-max(1, height - 3) :]).splitlines()
        up = UP.format(self.lines) if self.lines else ""
        sys.stderr.write(f"\r{up}" + "".join(f"{line[: columns - 1]}{REST}\n" for line in lines) + BELOW)
        sys.stderr.flush()
        self.lines = len(lines)

    def row(self, k: int) -> tuple[str, ...]:
        """What is known of point k; pass and gradient are those of the folds under way, if there are any."""
        seen = [j for j in range(self.n_folds) if (k, j) in self.latest]
        states = [self.latest[k, j] for j in seen]
        running = [self.latest[k, j] for j in seen if (k, j) not in self.over] or states
        value = sum(state.value for state in states) / len(states)
        steepest = max(state.gradient_norm for state in running) / self.scale
        fits = f"{sum((k, j) in self.over for j in range(self.n_folds))}/{self.n_folds}"
        return *self.cells(k), fits, str(max(state.passes for state in running)), f"{value:.6f}", f"{steepest:.1e}"

    def clear(self) -> None:
        """Take the table away again."""
        if self.lines:
            sys.stderr.write(f"\r{UP.format(self.lines)}{BELOW}")
            sys.stderr.flush()
            self.lines = 0
