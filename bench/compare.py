"""The usual way of a work on arrays: set up, agree, run in turn, and each side's memory in its own process."""

from __future__ import annotations

from typing import Any

from bench import memory
from bench.row import Measure
from bench.timing import agree, alternate, two_threads


def measure(setup: memory.Setup, sizes: dict[str, Any], tiny: dict[str, Any], repeat: int) -> dict[str, Measure]:
    """Times and peak memory of all sides of `setup(**sizes)`; `tiny` are arguments for a first call that only loads libraries."""
    sides = setup(**sizes)
    with two_threads():
        agree(sides)
    times = alternate(sides, dict.fromkeys(sides, repeat))
    names = list(sides)
    del sides  # the children load the data again
    return {name: Measure(name, times[name], memory.peak(setup, sizes, tiny, name)) for name in names}
