"""Honest times: results are equal first, then the sides run in turn (A B A B), each after a rest and warm, on two threads each.

The threads of a BLAS or of OpenMP spin for about 0.1 s after their work and would take a core away from whoever comes next: hence REST.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from softgrad import threads

THREADS = 2
REST = 0.3  # seconds before each timed call
SHORT = 0.25  # a call shorter than this runs untimed for WARM after the rest, and then BURST times, as in a loop of calls: processors
WARM, BURST = 0.05, 5  # that were idle need some milliseconds to be at speed, which would be most of a call of 1 ms


def nothing() -> None:
    """No preparation."""


def as_it_is(result: Any) -> Any:
    """The result already is (value, gradient)."""
    return result


@dataclass(frozen=True)
class Side:
    """One competitor.

    call is what is timed; read turns its result into (value, gradient) that can be compared; before restores what call overwrote, untimed.
    """

    call: Callable[[], Any]
    read: Callable[[Any], tuple[float, Any]] = as_it_is
    before: Callable[[], None] = nothing

    def once(self) -> tuple[float, Any]:
        """Seconds and result of one call; freeing earlier results is not in them."""
        self.before()
        begin = time.perf_counter()
        result = self.call()
        return time.perf_counter() - begin, result


Sides = dict[str, Side]


@contextlib.contextmanager
def two_threads() -> Iterator[None]:
    """THREADS for softgrad, for every BLAS and for every OpenMP that is loaded; torch's are set where it is imported (`peers`)."""
    from threadpoolctl import threadpool_limits

    with threads.limit(THREADS), threadpool_limits(THREADS):
        yield


def agree(sides: Sides, tolerance: float = 1e-4) -> None:
    """All sides give the first one's value, and its gradient relative to the largest entry; raises AssertionError, with both numbers."""
    first, value, gradient = "", 0.0, np.empty(0)
    for name, side in sides.items():
        side.before()
        now_value, now_gradient = side.read(side.call())
        if not first:  # a copy: the next side may write where this one did
            first, value, gradient = name, now_value, np.array(now_gradient)
            continue
        if not abs(now_value - value) <= tolerance * abs(value):
            raise AssertionError(f"{name} gives the value {now_value:.8g}, {first} {value:.8g}: they do not compute the same")
        off = float(np.abs(now_gradient - gradient).max() / np.abs(gradient).max())
        if not off <= tolerance:
            raise AssertionError(f"the gradient of {name} differs from that of {first} by {off:.1e} of its largest entry")


def alternate(
    sides: Sides, repeat: Mapping[str, int], seen: Callable[[str, Any], None] | None = None, *, warm: bool = True
) -> dict[str, tuple[float, ...]]:
    """Seconds of repeat[name] calls of each side, in turn; `seen` is shown each result. warm=False: all have run before, and are long."""
    with two_threads():
        first = {name: side.once()[0] if warm else SHORT for name, side in sides.items()}
        times: dict[str, list[float]] = {name: [] for name in sides}
        for turn in range(max(repeat.values())):
            for name, side in sides.items():
                if turn >= repeat[name]:
                    continue
                time.sleep(REST)
                for _ in range(_warmed(side) if first[name] < SHORT else 1):
                    seconds, result = side.once()
                    times[name].append(seconds)
                    if seen is not None:
                        seen(name, result)
                    del result
    return {name: tuple(seconds) for name, seconds in times.items()}


def _warmed(side: Side) -> int:
    """Call for WARM seconds, then say how many calls to time."""
    begin = time.perf_counter()
    while time.perf_counter() - begin < WARM:
        side.once()
    return BURST
