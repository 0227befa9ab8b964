"""The state of a run in one file: after a kill at any moment it goes on, to the same bits as if nothing had happened.

The file is written beside its place and renamed, with a checksum over all of it, and knows the problem that it belongs to. What a run is
made of is told by the room of its kind (`KINDS`).
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

from softgrad import arrays, model_file, saved_descent, saved_path
from softgrad.descent import Descent
from softgrad.path import Path
from softgrad.solvers.solver import Result, State, Status, Stride
from softgrad.training import Fit

Tensors = dict[str, NDArray[Any]]
Run = Path | Descent
KINDS = {Path: saved_path, Descent: saved_descent}
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
        now = time.perf_counter()
        if KINDS[type(run)].under_way(run) and now - self.saved < self.cost / SHARE:
            return
        self.belongs = identity(run) if self.belongs is None else self.belongs
        save(self.file, run, self.belongs)
        self.saved = time.perf_counter()
        self.cost = self.saved - now


def keep(file: str | os.PathLike[str] | None, run: Run, *, resumed: bool) -> None:
    """Have a run saved in the file, and put where the file says it was, if it is resumed and there is one."""
    if file is None:
        return
    if resumed and FilePath(file).exists():
        resume(file, run)
    run.after = Keeper(file)


def identity(run: Run) -> dict[str, Any]:
    """What has to be the same for a run to go on: its settings, and a digest of its data."""
    kind = KINDS[type(run)]
    return {"settings": " ".join(map(str, kind.settings(run))), "data": _digest(kind.data(run), "")}


def save(file: str | os.PathLike[str], run: Run, belongs: dict[str, Any]) -> None:
    """Write the state of a run, whole or not at all. Raises OSError where it cannot be written; the file before it stays."""
    kind = KINDS[type(run)]
    numbers, tensors = kind.pack(run)
    fits = [[key, _pack_fit(fit, _prefix(key), tensors)] for key, fit in kind.fits(run).items()]
    text = json.dumps(numbers | {"identity": belongs, "fits": fits})
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
    KINDS[type(run)].unpack(run, fits, numbers, tensors)


def _prefix(key: Sequence[int]) -> str:
    return f"fit.{'.'.join(map(str, key))}."


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
