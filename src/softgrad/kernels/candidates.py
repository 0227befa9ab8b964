"""Sparse links on many classes: only the few scores that may get a probability are computed with.

Entmax gives 0 to every class further than 1 / (alpha - 1) below the largest score. What is left of a row, its label in front, goes through
the plain formula as a row of its own, padded with impossible classes; everywhere else the gradient is 0. A row's width is 8, 16, 32, ...
by its own count, so that its bits do not depend on its neighbours.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from softgrad.losses.curves import Identity
from softgrad.losses.entmax import Entmax
from softgrad.losses.loss import Loss, Rows, Schedule, plain, schedules
from softgrad.losses.scores import Temperature
from softgrad.losses.targets import Labels, Smoothed
from softgrad.losses.weights import Weights

SCORES = 1 << 20  # of a tile: fewer would cost more in calls than they save in reading
NARROWEST = 8


def reach(loss: Loss) -> float | None:
    """How far below the largest score a class may lie and have a probability; None where this schedule does not know the loss."""
    if not isinstance(loss.link, Entmax) or loss.link.alpha <= 1 or type(loss.curve) is not Identity or loss.terms:
        return None
    if not (isinstance(loss.weights, Weights) and isinstance(loss.targets, Labels | Smoothed) and loss.targets.hard):
        return None
    far = 1 / (loss.link.alpha - 1)
    for phi in loss.scores:
        if not isinstance(phi, Temperature):
            return None
        far *= phi.T
    return far * (1 + 1e-6)  # not one too few by rounding


def _score_rows(loss: Loss, rows: Rows, out: NDArray[Any] | None, scale: float, losses: NDArray[np.float64]) -> int:
    """As `losses.loss.plain`, for labels."""
    if rows.y.ndim == 2:
        return plain(loss, rows, out, scale, losses)
    counted = np.flatnonzero(rows.r)
    losses[:] = 0
    if out is not None and len(counted) < len(losses):
        out[rows.r == 0] = 0
    step = max(1, SCORES // rows.z.shape[1])
    few = replace(loss, targets=Labels(), weights=Weights())
    for k in (counted[i : i + step] for i in range(0, len(counted), step)):
        whole = slice(k[0], k[-1] + 1) if k[-1] - k[0] == len(k) - 1 else k
        z, r = rows.z[whole], rows.r[whole] * loss.weights.shares(rows.y[whole], rows.z.shape[1])
        broken = loss.link.broken(z)
        if broken.any():
            return int(k[broken.argmax()])
        losses[whole], found = _tile(few, Rows(z, rows.y[whole], r), out is not None, scale, reach(loss) or np.inf)
        if out is not None:
            out[whole] = 0
            row, column, gradient = found
            out[k[row], column] = gradient
    return -1


def _tile(few: Loss, rows: Rows, with_gradient: bool, scale: float, far: float) -> tuple[Any, tuple[Any, Any, Any]]:
    """Losses (n,), and the gradient where it may not be 0: rows, columns, values."""
    z, (n, C), here = rows.z, rows.z.shape, np.arange(len(rows.y))
    near = z >= z.max(axis=1, keepdims=True) - z.dtype.type(far)
    near[here, rows.y] = True
    row, column = np.divmod(np.flatnonzero(near), C)
    counts = np.bincount(row, minlength=n)
    place = np.arange(len(row)) - np.repeat(np.cumsum(counts) - counts, counts)
    y = rows.y[row]
    place = np.where(column == y, 0, place + (column < y))
    width = np.minimum(NARROWEST << np.ceil(np.log2(np.maximum(counts / NARROWEST, 1))).astype(np.int64), C)
    values, gradient, losses = z[row, column], np.empty(len(row), z.dtype), np.empty(n)
    for K in np.unique(width):
        chosen, mine = np.flatnonzero(width == K), width[row] == K
        at = (np.searchsorted(chosen, row[mine]), place[mine])
        u = np.full((len(chosen), K), -np.inf, z.dtype)
        u[at] = values[mine]
        g, part = np.empty_like(u) if with_gradient else None, np.empty(len(chosen))
        plain(few, Rows(u, np.zeros(len(chosen), np.int64), rows.r[chosen]), g, scale, part)
        losses[chosen] = part
        if g is not None:
            gradient[mine] = g[at]
    return losses, (row, column, gradient)


def _offer(loss: Loss, dtype: np.dtype[Any]) -> Schedule | None:  # noqa: ARG001 - every type will do
    return None if reach(loss) is None else _score_rows


schedules.append(_offer)
