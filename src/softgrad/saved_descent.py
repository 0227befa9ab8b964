"""A stochastic training taken apart into numbers and arrays, and put together again between two steps: it goes on with the same bits.

What it has drawn is not among them: the rows of a step follow from the seed and the number of the step.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import numpy as np
from numpy.typing import NDArray

from softgrad.descent import Descent
from softgrad.solvers.solver import State
from softgrad.training import Fit

Tensors = dict[str, NDArray[Any]]
SEEN = ("sums", "squares", "steepest", "clipped", "largest")  # what is known of each point


def under_way(descent: Descent) -> bool:
    """Whether a point is not at its end."""
    return bool(descent.groups)


def settings(descent: Descent) -> list[Any]:
    """What has to be the same for a training to go on."""
    problem = descent.problem
    told = [problem.X.shape, problem.X.dtype, problem.n_classes, problem.loss, problem.fit_intercept, problem.seed, descent.solver]
    return [*told, *descent.points]


def data(descent: Descent) -> Tensors:
    """Of which a digest has to be the same: labels, weights, the start, and what is known of the features' sample."""
    seen = descent.curvature
    numbers = np.array([seen.s, seen.largest, seen.row, seen.score])
    parts = (descent.problem.y, descent.problem.r, *descent.start, seen.mu, numbers)
    return dict(zip(("y", "r", "coef", "intercept", "mu", "numbers"), parts, strict=True))


def fits(descent: Descent) -> dict[tuple[int, ...], Fit]:
    """Those that are done, by point."""
    return {(p,): fit for p, fit in descent.results.items()}


def pack(descent: Descent) -> tuple[dict[str, Any], Tensors]:
    """(numbers as JSON holds them, arrays) of a training that waits for its next mini-batch; fits of points that are done are left out."""
    numbers: dict[str, Any] = {
        "done": descent.done,
        "summed": descent.summed,
        "nothing": descent.nothing,
        "seconds": time.perf_counter() - descent.began,
        "traces": [[list(asdict(state).values()) for state in trace] for trace in descent.traces],
        "groups": [heads.points.tolist() for heads in descent.groups],
        "in_mean": [heads.in_mean for heads in descent.groups],
    }
    tensors: Tensors = {name: getattr(descent, name) for name in SEEN}
    for i, heads in enumerate(descent.groups):
        tensors |= {f"{name}.{i}": array for name, array in _arrays(heads).items()}
    return numbers, tensors


def unpack(descent: Descent, fits: Mapping[tuple[int, ...], Fit], numbers: dict[str, Any], tensors: Tensors) -> None:
    """Put a training of the same problem where it was."""
    descent.results = {p: fit for (p,), fit in fits.items()}
    descent.done, descent.summed, descent.nothing = numbers["done"], numbers["summed"], numbers["nothing"]
    descent.began = time.perf_counter() - numbers["seconds"]
    descent.traces = [[State(*state) for state in trace] for trace in numbers["traces"]]
    for name in SEEN:
        getattr(descent, name)[:] = tensors[name]
    trained = [point for points in numbers["groups"] for point in points]
    for heads in descent.groups:
        heads.keep(np.isin(heads.points, trained))
    descent.groups = [heads for heads in descent.groups if len(heads.points)]
    for i, heads in enumerate(descent.groups):
        heads.in_mean = numbers["in_mean"][i]
        for name, array in _arrays(heads).items():  # into their places, whose order in memory products depend on
            array[...] = tensors[f"{name}.{i}"]


def _arrays(heads: Any) -> Tensors:
    """All that a group of heads remembers; its gradient is made anew in each step."""
    mean = {} if heads.mean is None else {"mean": heads.mean}
    return {"W": heads.W, **{f"memory{k}": A for k, A in enumerate(heads.memory)}, **mean}
