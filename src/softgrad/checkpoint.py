"""The state of a run in one file: after a kill at any moment it goes on, to the same bits as if nothing had happened.

Of a path every lane is saved with its pairs and its line search; metrics are made again from the data, of a Hessian only the place is kept.
Of a stochastic training every point is saved with its moments. The file is written beside its place and renamed, with a checksum over all
of it, and knows the problem that it belongs to.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path as FilePath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from softgrad import arrays, model_file, saved_descent, threads
from softgrad.descent import Descent
from softgrad.path import Lane, Path
from softgrad.precondition import AbstractStaged
from softgrad.solvers.saved import pack, unpack
from softgrad.solvers.solver import Result, State, Status, Stride
from softgrad.training import Fit

Tensors = dict[str, NDArray[Any]]
Run = Path | Descent
SHARE = 0.01  # of the time at most goes into saving


@dataclass
class Keeper:
    """Saves a run after a pass or a step, as often as its share of the time allows."""

    file: str | os.PathLike[str]
    saved: float = -np.inf
    cost: float = 0.0
    belongs: dict[str, Any] | None = None

    def __call__(self, run: Run) -> None:
        """Save, if it is time again, and when the run has ended."""
        now, under_way = time.perf_counter(), run.groups if isinstance(run, Descent) else run.lanes
        if under_way and now - self.saved < self.cost / SHARE:
            return
        self.belongs = identity(run) if self.belongs is None else self.belongs
        save(self.file, run, self.belongs)
        self.saved = time.perf_counter()
        self.cost = self.saved - now


def keep(file: str | os.PathLike[str] | None, run: Descent, *, resumed: bool) -> None:
    """Have a stochastic training saved in the file, and put where the file says it was, if it is resumed and there is one."""
    if file is None:
        return
    if resumed and FilePath(file).exists():
        resume(file, run)
    run.after = Keeper(file)


def identity(run: Run) -> dict[str, Any]:
    """What has to be the same for a run to go on: settings, and a digest of labels, weights, means and squares of the features.

    Of a Gram matrix the diagonal: all of it is 38 MB for CIFAR-10, and its digest took longer than saving.
    """
    if isinstance(run, Descent):
        settings, parts = saved_descent.settings(run), saved_descent.data(run)
    else:
        problem, seen = run.problem, run.seen
        squares = seen.second if seen.G is None else seen.G.diagonal()
        known = [problem.y, run.R, run.l2, squares, *([] if seen.mu is None else [seen.mu])]
        parts: Tensors = dict(zip("abcdefg", known, strict=False))
        settings = [problem.X.shape, problem.X.dtype, problem.n_classes, problem.loss, problem.fit_intercept, problem.seed, run.solver]
    return {"settings": " ".join(map(str, settings)), "data": _digest(parts, "")}


def save(file: str | os.PathLike[str], run: Run, belongs: dict[str, Any]) -> None:
    """Write the state of a run, whole or not at all. Raises OSError where it cannot be written; the file before it stays."""
    numbers, tensors = saved_descent.pack(run) if isinstance(run, Descent) else _pack_path(run)
    fits = {(p,): fit for p, fit in run.results.items()} if isinstance(run, Descent) else run.fits
    numbers |= {"identity": belongs, "fits": [[key, _pack_fit(fit, _prefix(key), tensors)] for key, fit in fits.items()]}
    text = json.dumps(numbers)
    model_file.write(file, tensors, {"path": text, "digest": _digest(tensors, text)})


def resume(file: str | os.PathLike[str], run: Run) -> None:
    """Put a run of the same problem where the file says it was. Raises SoftgradError for a damaged file or another problem's."""
    numbers, tensors = _read(file)
    belongs = identity(run)
    if numbers["identity"] != belongs:
        which = "settings" if numbers["identity"]["settings"] != belongs["settings"] else "data, strengths or folds"
        do = "resume with the data and settings it was made with, or begin anew"
        arrays.refuse(f"checkpoint {os.fspath(file)}", "must belong to the same problem", f"other {which}", do)
    fits = {tuple(key): _unpack_fit(told, _prefix(key), tensors) for key, told in numbers["fits"]}
    if isinstance(run, Descent):
        run.results = {p: fit for (p,), fit in fits.items()}
        saved_descent.unpack(run, numbers, tensors)
    else:
        run.fits = fits
        _unpack_path(run, numbers, tensors)


def _prefix(key: Sequence[int]) -> str:
    return f"fit.{'.'.join(map(str, key))}."


def _pack_path(path: Path) -> tuple[dict[str, Any], Tensors]:
    numbers: dict[str, Any] = {"passes": path.passes, "last": path.last, "seconds": time.perf_counter() - path.began, "lanes": []}
    tensors: Tensors = {}
    for lane in path.lanes:
        told, parts = pack(lane.run)
        numbers["lanes"].append([lane.k, lane.j, told])
        tensors |= {f"lane.{lane.k}.{lane.j}.{name}": array for name, array in parts.items()}
    numbers["metrics"] = []
    for (k, j), metric in path.metrics.items():
        if isinstance(metric, AbstractStaged):
            numbers["metrics"].append([k, j, metric.bought_at, metric.seen])
            if metric.bought is not None:
                tensors[f"metric.{k}.{j}"] = metric.bought
    return numbers, tensors


def _unpack_path(path: Path, numbers: dict[str, Any], tensors: Tensors) -> None:
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
        path.lanes.append(Lane(k, j, objective, unpack(path.solver, objective.noise, objective.norm, told, parts)))
    if not all(path.ended(k) for k in range(path.last + 1)):
        path.lanes = []


def seconds(file: str | os.PathLike[str]) -> float:
    """Seconds that the run in the file had taken, over all processes that worked on it."""
    return float(_read(file)[0]["seconds"])


def _read(file: str | os.PathLike[str]) -> tuple[dict[str, Any], Tensors]:
    try:
        tensors, described = model_file.read(file)
    except arrays.SoftgradError as error:
        arrays.refuse(f"checkpoint {os.fspath(file)}", "must be whole", f"a damaged file ({error})", "remove it and begin anew")
    if described.get("digest") != _digest(tensors, described.get("path", "")):
        arrays.refuse(f"checkpoint {os.fspath(file)}", "must be as it was written", "other content", "remove it and begin anew")
    return json.loads(described["path"]), tensors


def _digest(tensors: Mapping[str, NDArray[Any]], text: str) -> str:
    digest = hashlib.blake2b(text.encode(), digest_size=16)
    for name in sorted(tensors):
        digest.update(f"{name} {tensors[name].shape} {tensors[name].dtype}".encode())
        digest.update(np.ascontiguousarray(tensors[name]).data)
    return digest.hexdigest()


def _pack_fit(fit: Fit, prefix: str, tensors: Tensors) -> dict[str, Any]:
    tensors[f"{prefix}coef"], tensors[f"{prefix}intercept"] = fit.coef, fit.intercept
    r = fit.result
    told = {"value": r.value, "status": r.status.name, "gradient_norm": r.gradient_norm, "passes": r.passes, "iterations": r.iterations}
    stride = None if r.stride is None else list(asdict(r.stride).values())
    return told | {"seconds": r.seconds, "trace": [list(asdict(state).values()) for state in r.trace], "stride": stride}


def _unpack_fit(told: dict[str, Any], prefix: str, tensors: Tensors) -> Fit:
    trace = tuple(State(*state) for state in told["trace"])
    coef, intercept = tensors[f"{prefix}coef"], tensors[f"{prefix}intercept"]
    stride = None if told["stride"] is None else Stride(*told["stride"])
    parts = {"parameters": np.empty(0), "status": Status[told["status"]], "trace": trace, "stride": stride}
    return Fit(coef, intercept, Result(**(told | parts)))
