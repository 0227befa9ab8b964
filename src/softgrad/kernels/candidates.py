"""Sparse links on many classes: only the few scores that may get a probability are computed with.

Entmax gives 0 to every class further than 1 / (alpha - 1) below the largest score. What is left of a row, its label in front, goes through
the plain formula as a row of its own, padded with impossible classes; everywhere else the gradient is 0. A row's width is 8, 16, 32, ...
by its own count, so that its bits do not depend on its neighbours; rows wider than half of the classes stay as they are.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from softgrad.losses.curves import Identity
from softgrad.losses.loss import ROWS, Loss, Rows, Schedule, plain, schedules
from softgrad.losses.scores import Temperature
from softgrad.losses.targets import Labels, Smoothed
from softgrad.losses.tsallis import Entmax
from softgrad.losses.weights import Weights

SCORES = 1 << 21  # of a tile: fewer would cost more in calls than they save in reading
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
        g = None if out is None else out[whole]
        losses[whole] = _tile(few, Rows(z, rows.y[whole], r), g, scale, reach(loss) or np.inf)
        if out is not None and whole is k:
            out[k] = g
    return -1


def _tile(few: Loss, rows: Rows, out: NDArray[Any] | None, scale: float, far: float) -> NDArray[np.float64]:
    """Losses (n,); out takes the gradient and may be the scores themselves: a row is written when it has been read."""
    z, (n, C), losses = rows.z, rows.z.shape, np.empty(len(rows.y))
    near = z >= z.max(axis=1, keepdims=True) - z.dtype.type(far)
    near[np.arange(n), rows.y] = True
    row, column = np.divmod(np.flatnonzero(near), C)
    counts = np.bincount(row, minlength=n)
    place = np.arange(len(row)) - np.repeat(np.cumsum(counts) - counts, counts)
    y = rows.y[row]
    place = np.where(column == y, 0, place + (column < y))
    width = NARROWEST << np.ceil(np.log2(np.maximum(counts / NARROWEST, 1))).astype(np.int64)
    for K in np.unique(width):
        chosen = np.flatnonzero(width == K)
        if K > C // 2:  # most of the row
            _whole(few, rows, chosen, out, scale, losses)
            continue
        mine = np.flatnonzero(width[row] == K)
        at, u = (np.searchsorted(chosen, row[mine]), place[mine]), np.full((len(chosen), K), -np.inf, z.dtype)
        u[at] = z[row[mine], column[mine]]
        g, part = None if out is None else np.empty_like(u), np.empty(len(chosen))
        plain(few, Rows(u, np.zeros(len(chosen), np.int64), rows.r[chosen]), g, scale, part)
        losses[chosen] = part
        if out is not None and g is not None:
            out[chosen] = 0
            out[row[mine], column[mine]] = g[at]
    return losses


def _whole(loss: Loss, rows: Rows, chosen: NDArray[np.intp], out: NDArray[Any] | None, scale: float, losses: NDArray[np.float64]) -> None:
    """Rows that are not worth narrowing, as the plain formula takes them: so many that they stay in cache."""
    step = max(1, ROWS // rows.z.shape[1])
    for k in (chosen[i : i + step] for i in range(0, len(chosen), step)):
        part = rows.part(k)
        g, found = None if out is None else np.empty_like(part.z), np.empty(len(k))
        plain(loss, part, g, scale, found)
        losses[k] = found
        if out is not None:
            out[k] = g


def _offer(loss: Loss, dtype: np.dtype[Any]) -> Schedule | None:
    return _score_rows if dtype in (np.float32, np.float64) and reach(loss) is not None else None


schedules.append(_offer)
