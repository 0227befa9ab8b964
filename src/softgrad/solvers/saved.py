"""A run of L-BFGS taken apart into numbers and arrays, and put together again: it goes on with the same bits."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import numpy as np
from numpy.typing import NDArray

from softgrad.solvers.lbfgs import LBFGS, Line, Pair, Point, Run
from softgrad.solvers.solver import State

Tensors = dict[str, NDArray[Any]]


def pack(run: Run) -> tuple[dict[str, Any], Tensors]:
    """(numbers as JSON holds them, arrays) of a run that waits to be told of `asked`."""
    kept, line = list(run.pairs.kept), run.line
    numbers: dict[str, Any] = {
        "passes": run.passes,
        "stalled": run.stalled,
        "seconds": time.perf_counter() - run.began,
        "trace": [list(asdict(state).values()) for state in run.trace],
        "rho": [pair.rho for pair in kept],
        "best": list(asdict(run.best[0]).values()),
        "values": [run.at.value, run.best[1].value],
    }
    tensors: Tensors = {"asked": run.asked, "solved": run.solved}
    tensors |= _point("at", run.at)
    if run.best[1] is not run.at:  # seldom: the last point has the smallest gradient so far
        tensors |= _point("best", run.best[1])
    if kept:
        tensors |= {name: np.stack([getattr(pair, name) for pair in kept]) for name in "syv"} | {"sy": run.pairs.sy, "vy": run.pairs.vy}
    if line is not None:
        numbers["line"] = [line.slope, line.low, str(line.high), line.t, line.trials]
        tensors["d"] = line.d
        if line.best is not None:
            numbers["values"].append(line.best.value)
            tensors |= _point("line", line.best)
    return numbers, tensors


def unpack(
    solver: LBFGS, noise: float, norm: Callable[[NDArray[Any]], float], numbers: dict[str, Any], tensors: Tensors
) -> Run:
    """The run that `pack` took apart."""
    run = Run(solver, tensors["asked"], noise, norm, time.perf_counter() - numbers["seconds"])
    run.passes, run.stalled, run.trace = numbers["passes"], numbers["stalled"], [State(*state) for state in numbers["trace"]]
    run.at = Point(tensors["at.theta"], numbers["values"][0], tensors["at.gradient"])
    best = Point(tensors["best.theta"], numbers["values"][1], tensors["best.gradient"]) if "best.theta" in tensors else run.at
    run.best, run.solved = (State(*numbers["best"]), best), tensors["solved"]
    run.pairs.kept = [Pair(tensors["s"][k], tensors["y"][k], tensors["v"][k], rho) for k, rho in enumerate(numbers["rho"])]
    if run.pairs.kept:
        run.pairs.sy, run.pairs.vy = tensors["sy"], tensors["vy"]
    if "line" in numbers:
        slope, low, high, t, trials = numbers["line"]
        found = Point(tensors["line.theta"], numbers["values"][2], tensors["line.gradient"]) if "line.theta" in tensors else None
        run.line = Line(solver.search, noise, run.at, tensors["d"], slope, low, float(high), t, [(s, rise) for s, rise in trials], found)
    return run


def _point(name: str, point: Point) -> Tensors:
    return {f"{name}.theta": point.theta, f"{name}.gradient": point.gradient}
