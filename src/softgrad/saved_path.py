"""A path taken apart into numbers and arrays, and put together again between two passes: it goes on with the same bits.

Every lane with its pairs and its line search; metrics are made again from the data, of a Hessian only the place is kept.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from numpy.typing import NDArray

from softgrad import threads
from softgrad.path import Lane, Path
from softgrad.precondition import AbstractStaged
from softgrad.solvers import saved
from softgrad.training import Fit

Tensors = dict[str, NDArray[Any]]


def under_way(path: Path) -> bool:
    """Whether a lane is not at its end."""
    return bool(path.lanes)


def settings(path: Path) -> list[Any]:
    """What has to be the same for a path to go on."""
    problem = path.problem
    return [problem.X.shape, problem.X.dtype, problem.n_classes, problem.loss, problem.fit_intercept, problem.seed, path.solver]


def data(path: Path) -> Tensors:
    """Of which a digest has to be the same: labels, weights, strengths, and means and squares of the features.

    Of a Gram matrix the diagonal: all of it is 38 MB for CIFAR-10, and its digest took longer than saving.
    """
    seen = path.seen
    squares = seen.second if seen.G is None else seen.G.diagonal()
    parts = {"y": path.problem.y, "r": path.R, "l2": path.l2, "squares": squares, "mu": seen.mu}
    return {name: part for name, part in parts.items() if part is not None}


def fits(path: Path) -> dict[tuple[int, ...], Fit]:
    """Those that are done, by strength and fold."""
    return dict(path.fits)


def pack(path: Path) -> tuple[dict[str, Any], Tensors]:
    """(numbers as JSON holds them, arrays) of a path that waits for its next pass; fits are left out."""
    numbers: dict[str, Any] = {"passes": path.passes, "last": path.last, "seconds": time.perf_counter() - path.began}
    numbers["lanes"], numbers["metrics"] = [], []
    tensors: Tensors = {}
    for lane in path.lanes:
        told, parts = saved.pack(lane.run)
        numbers["lanes"].append([lane.k, lane.j, told])
        tensors |= {f"lane.{lane.k}.{lane.j}.{name}": array for name, array in parts.items()}
    for (k, j), metric in path.metrics.items():
        if isinstance(metric, AbstractStaged):
            numbers["metrics"].append([k, j, metric.bought_at, metric.seen])
            if metric.bought is not None:
                tensors[f"metric.{k}.{j}"] = metric.bought
    return numbers, tensors


def unpack(path: Path, fits: Mapping[tuple[int, ...], Fit], numbers: dict[str, Any], tensors: Tensors) -> None:
    """Put a path of the same problem where it was."""
    path.fits = {(k, j): fit for (k, j), fit in fits.items()}
    path.passes, path.last, path.began = numbers["passes"], numbers["last"], time.perf_counter() - numbers["seconds"]
    with threads.blas(1):  # as in the path itself: bits must not depend on BLAS threads
        for k, j, bought_at, seen in numbers["metrics"]:
            metric = path.metric(k, j)
            assert isinstance(metric, AbstractStaged)
            if f"metric.{k}.{j}" in tensors:
                metric.buy(tensors[f"metric.{k}.{j}"], bought_at)
            metric.seen = seen
    for k, j, told in numbers["lanes"]:
        objective, prefix = path.objective(k, j), f"lane.{k}.{j}."
        parts = {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
        path.lanes.append(Lane(k, j, objective, saved.unpack(path.solver, objective.noise, objective.norm, told, parts)))
    if not all(path.ended(k) for k in range(path.last + 1)):
        path.lanes = []
