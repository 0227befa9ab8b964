"""Tiles of rows through BLAS, scores overwritten by their gradient: every loss fused for free, every type of X, dense or CSR."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from softgrad import threads
from softgrad.blocks.block import Block
from softgrad.kernels.fused import AbstractKernel, Head, Sums, compute_type, counted
from softgrad.losses.loss import Loss, Rows, schedule_for
from softgrad.widening import widened

ROWS = 1024  # of a tile for many heads, whose X may have to be made wider
SCORES = 1 << 19  # scores of a tile: 2 MB in float32; smaller tiles make BLAS slow, larger ones leave the cache


class Tiled(AbstractKernel):
    """Two matrix products for each tile of rows, and the row formula in place between them."""

    name = "tiled"
    writes_out = True

    def refuses(self, X: Any, n_classes: int, loss: Loss) -> str:
        return "" if loss.head.linear else "takes linear heads"

    def sums(self, block: Block, loss: Loss, coef: NDArray[Any], intercept: NDArray[Any], scale: float) -> Sums:
        n, (C, D) = block.X.shape[0], coef.shape
        schedule = schedule_for(loss, coef.dtype)
        value, dcoef, dintercept = 0.0, np.zeros((C, D), coef.dtype, order="F" if coef.flags.f_contiguous else "C"), np.zeros(C)
        step = max(64, SCORES // C)
        for part in (block.part(slice(i, i + step)) for i in range(0, n, step)):
            tile = counted(part)
            X = tile.X if hasattr(tile.X, "indptr") else widened(tile.X, coef.dtype)
            z = scores_of(X, coef, intercept)
            losses = np.empty(len(tile.r))
            if schedule(loss, Rows(z, tile.y, tile.r), z, scale, losses) >= 0:
                return np.nan, dcoef, dintercept
            value += float(losses.sum())
            dcoef += (X.T @ z).T if hasattr(X, "indptr") else z.T @ X
            dintercept += z.sum(axis=0, dtype=np.float64)
            if part.out is not None:
                part.write(z @ coef)
        return value, dcoef, dintercept

    def several(self, block: Block, loss: Loss, heads: Sequence[Head]) -> list[Sums]:
        """All heads stand side by side in one product W (P C, D); their scores (n, P C) are n P rows of C for the row formula."""
        if hasattr(block.X, "indptr"):
            return super().several(block, loss, heads)
        P, (C, D), dtype = len(heads), heads[0].coef.shape, heads[0].coef.dtype
        W, b = np.concatenate([head.coef for head in heads]), np.concatenate([head.intercept for head in heads])
        scale, folds = np.array([head.scale for head in heads]), np.array([head.fold for head in heads])
        schedule = schedule_for(loss, dtype)
        values, dW, db = np.zeros(P), np.zeros((P * C, D), dtype), np.zeros(P * C)
        step = min(max(64, SCORES // (P * C)), ROWS)
        for tile in (counted(block.part(slice(i, i + step))) for i in range(0, block.X.shape[0], step)):
            X, n = widened(tile.X, dtype), len(tile.r)
            with np.errstate(invalid="ignore"):
                z = X @ W.T
                z += b
            rows = Rows(z.reshape(n * P, C), np.repeat(tile.y, P, axis=0), (tile.r[:, folds] * scale).ravel())
            losses = np.empty(n * P)
            if schedule(loss, rows, rows.z, 1.0, losses) >= 0:
                return [(np.nan, dW[:C], db[:C])] * P
            values += losses.reshape(n, P).sum(axis=0)
            dW += z.T @ X
            db += z.sum(axis=0, dtype=np.float64)
        values /= scale
        return [(float(values[p]), dW[p * C : (p + 1) * C], db[p * C : (p + 1) * C]) for p in range(P)]


def row_losses(block: Block, loss: Loss, coef: NDArray[Any], intercept: NDArray[Any]) -> NDArray[np.float64]:
    """L_i of a block's rows (n,), 0 where r_i = 0, without keeping all scores; NaN throughout where a counted row has no softmax."""
    losses, schedule, counts = np.zeros(len(block.r)), schedule_for(loss, coef.dtype), np.flatnonzero(block.r)
    step = max(64, SCORES // len(coef))
    for k in (counts[i : i + step] for i in range(0, len(counts), step)):
        tile, found = block.part(k), np.empty(len(k))
        if schedule(loss, Rows(scores_of(tile.X, coef, intercept), tile.y, np.ones(len(k))), None, 0.0, found) >= 0:
            return np.full(len(losses), np.nan)
        losses[k] = found
    return losses


def scores_of(X: Any, coef: NDArray[Any], intercept: NDArray[Any]) -> NDArray[Any]:
    """Scores of a tile of rows, in the type of coef."""
    with np.errstate(invalid="ignore"):  # inf times 0; the row formula finds the row
        z = np.ascontiguousarray((X if hasattr(X, "indptr") else widened(X, coef.dtype)) @ coef.T)
        z += intercept
    return z


def linear_scores(X: Any, coef: NDArray[Any], intercept: NDArray[Any], rows: NDArray[np.intp] | None = None) -> NDArray[Any]:
    """Scores X coef' + intercept (N, C) for dense or CSR rows of any type, in float32 for rows narrower than float64; a tile at a time.

    Of all rows, or of those named.
    """
    dtype = compute_type(X)
    W, b, z = coef.astype(dtype), intercept.astype(dtype), np.empty((X.shape[0] if rows is None else len(rows), len(coef)), dtype)
    step = max(64, SCORES // max(coef.shape))

    def part(i: int) -> None:
        tile = X[i : i + step] if rows is None else X[rows[i : i + step]]
        z[i : i + step] = (tile if hasattr(tile, "indptr") else widened(tile, dtype)) @ W.T
        z[i : i + step] += b

    with threads.blas(1):
        for _ in threads.in_order(part, range(0, len(z), step)):
            pass
    return z
