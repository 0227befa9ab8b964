"""Tiles of rows through BLAS, scores overwritten by their gradient: every loss fused for free, every type of X, dense or CSR."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from softgrad import threads
from softgrad.blocks.block import Block
from softgrad.kernels.fused import AbstractKernel, Sums, compute_type
from softgrad.losses.loss import Loss, Rows, schedule_for

SCORES = 1 << 19  # scores of a tile: 2 MB in float32; smaller tiles make BLAS slow, larger ones leave the cache


class Tiled(AbstractKernel):
    """Two matrix products for each tile of rows, and the row formula in place between them."""

    name = "tiled"

    def refuses(self, X: Any, n_classes: int, loss: Loss) -> str:
        return ""

    def sums(self, block: Block, loss: Loss, coef: NDArray[Any], intercept: NDArray[Any], scale: float) -> Sums:
        n, (C, D) = block.X.shape[0], coef.shape
        schedule = schedule_for(loss, coef.dtype)
        value, dcoef, dintercept = 0.0, np.zeros((C, D), coef.dtype, order="F" if coef.flags.f_contiguous else "C"), np.zeros(C)
        step = max(64, SCORES // C)
        for tile in (counted(block.part(slice(i, i + step))) for i in range(0, n, step)):
            X = tile.X if hasattr(tile.X, "indptr") else tile.X.astype(coef.dtype, copy=False)
            with np.errstate(invalid="ignore"):  # inf times 0; the row formula finds the row
                z = np.ascontiguousarray(X @ coef.T)
                z += intercept
            losses = np.empty(len(tile.r))
            if schedule(loss, Rows(z, tile.y, tile.r), z, scale, losses) >= 0:
                return np.nan, dcoef, dintercept
            value += float(losses.sum())
            dcoef += (X.T @ z).T if hasattr(X, "indptr") else z.T @ X
            dintercept += z.sum(axis=0, dtype=np.float64)
        return value, dcoef, dintercept


def counted(block: Block) -> Block:
    """The block without the rows that do not count, whose values may be anything."""
    return block if block.r.all() else block.part(np.flatnonzero(block.r))



def linear_scores(X: Any, coef: NDArray[Any], intercept: NDArray[Any]) -> NDArray[Any]:
    """Scores X coef' + intercept (N, C) for dense or CSR rows of any type, in float32 for rows narrower than float64; a tile at a time."""
    dtype = compute_type(X)
    W, b, z = coef.astype(dtype), intercept.astype(dtype), np.empty((X.shape[0], len(coef)), dtype)
    step = max(64, SCORES // max(coef.shape))

    def part(i: int) -> None:
        tile = X[i : i + step]
        z[i : i + step] = (tile if hasattr(tile, "indptr") else tile.astype(dtype, copy=False)) @ W.T
        z[i : i + step] += b

    with threads.blas(1):
        for _ in threads.in_order(part, range(0, len(z), step)):
            pass
    return z
