"""The linear map fused into the loss: (X, coef, intercept, y) -> sums of loss and gradients, without the N x C scores.

    z_i = coef x_i + intercept,   L = sum_i r_i L_i,   dL/dcoef = sum_i r_i g_i x_i',   dL/dintercept = sum_i r_i g_i,   g_i = dL_i/dz_i

A kernel is a faster schedule of the row formula in `losses.loss`; the formula itself is nowhere written again but in the compiled twin.
Gradients come multiplied by `scale`. A block with a counted row that has no softmax (NaN, inf) gives the value NaN: who asked finds out
why. Rows that do not count are never read. If a block has an `out`, dL/dx_i = r_i coef' g_i goes there.

| kernel    | X                                  | loss                          | C    | dX   |
|-----------|------------------------------------|-------------------------------|------|------|
| reference | anything, in float64               | any                           | any  | no   |
| tiled     | dense of any type, CSR             | any, linear head              | any  | yes  |
| cosine    | dense of any type, CSR             | any, head of cosines          | any  | yes  |
| one_pass  | float64/32/16, uint8, rows read once | softmax, no margins, linear head | few (`native.FEW`) | yes |
| csr       | CSR in float64/32                  | softmax, no margins, linear head | any  | no   |
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from softgrad import threads
from softgrad.blocks.block import AbstractRowBlocks, Block
from softgrad.losses.loss import Loss

SHORT = 1e6  # multiplications of a head, one direction: it is done before another thread has woken

Sums = tuple[float, NDArray[Any], NDArray[np.float64]]


class Head(NamedTuple):
    """A linear head in a pass: coef (C, D), intercept (C,); fold, the column of the row weights that is its own; scale of its gradient."""

    coef: NDArray[Any]
    intercept: NDArray[Any]
    fold: int
    scale: float


class AbstractKernel(ABC):
    """One schedule of the fused linear head."""

    name: str
    writes_out: bool = False  # writes the gradient by X if the block has an out for it
    order: Literal["C", "F"] = "C"  # memory order of coef (C, D) that costs no copy

    @abstractmethod
    def refuses(self, X: Any, n_classes: int, loss: Loss) -> str:
        """Why this kernel cannot do it; empty where it can."""

    @abstractmethod
    def sums(self, block: Block, loss: Loss, coef: NDArray[Any], intercept: NDArray[Any], scale: float) -> Sums:
        """Sum of r_i L_i, and scale times its gradients by coef (C, D) and intercept (C,), over a block's rows."""

    def over(self, rows: AbstractRowBlocks, loss: Loss, head: Head) -> Sums:
        """`sums` over all blocks, added in float64 in the order of the rows."""
        value, dcoef, dintercept = rows.sum(sums, self, loss, head.coef, head.intercept, head.scale)
        return float(value), dcoef, dintercept

    def several(self, block: Block, loss: Loss, heads: Sequence[Head]) -> list[Sums]:
        """`sums` of many heads over the same rows; block.r is (n, folds)."""
        folds = {f: Block(block.X, block.y, np.ascontiguousarray(block.r[:, f])) for f in {head.fold for head in heads}}

        def sums(head: Head) -> Sums:
            return self.sums(folds[head.fold], loss, head.coef, head.intercept, head.scale)

        short = block.X.size * len(heads[0].coef) < SHORT
        return list(map(sums, heads) if short else threads.in_order(sums, heads))

    def hessian_products(self, block: Block, V: NDArray[Any], v: NDArray[Any], scale: float) -> tuple[NDArray[Any], NDArray[Any]]:
        """scale sum_i r_i J_i (V x_i + v) (x_i, 1)', J_i = diag(p_i) - p_i p_i', by V (C, D) and v (C,), of CSR rows; p_i are block.y."""
        tile = counted(block)
        P, u = tile.y, tile.X @ V.T
        u += v
        for _ in range(2):  # u - p'u; the second time for what cancels where p is nearly 1
            u -= np.einsum("ij,ij->i", P, u)[:, None]
        u *= P
        u *= (scale * tile.r)[:, None].astype(u.dtype)
        return (tile.X.T @ u).T, u.sum(axis=0, dtype=np.float64)


def sums(block: Block, kernel: AbstractKernel, loss: Loss, coef: NDArray[Any], intercept: NDArray[Any], scale: float) -> Sums:
    """What `AbstractRowBlocks.sum` adds up; a free function, so that a block can travel to another process with it."""
    return kernel.sums(block, loss, coef, intercept, scale)


def compute_type(X: Any) -> np.dtype[Any]:
    """Float64 for float64 rows, float32 for everything narrower."""
    return np.dtype(np.float64 if X.dtype == np.float64 else np.float32)


def counted(block: Block) -> Block:
    """The block without the rows that do not count, for no fold, whose values may be anything."""
    counts = block.r if block.r.ndim == 1 else block.r.any(axis=1)
    return block if counts.all() else block.part(np.flatnonzero(counts))


def choose(kernels: tuple[AbstractKernel, ...], X: Any, n_classes: int, loss: Loss) -> AbstractKernel:
    """The first kernel of the list that can do it."""
    return next(kernel for kernel in kernels if not kernel.refuses(X, n_classes, loss))
