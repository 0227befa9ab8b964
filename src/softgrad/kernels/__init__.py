"""(X, coef, intercept, y) -> sums of loss and gradients, without keeping all scores."""

from __future__ import annotations

from typing import Any

from softgrad.kernels import cosine, fused, native, tiled
from softgrad.losses.loss import Loss

KERNELS: tuple[fused.AbstractKernel, ...] = (native.OnePass(), native.SparseRows(), tiled.Tiled(), cosine.CosineHead())
WIDE = 40  # columns from which two products for all heads beat a pass in registers for each


def choose(X: Any, n_classes: int, loss: Loss, heads: int = 1, *, wrt_X: bool = False) -> fused.AbstractKernel:
    """The fastest kernel that can do it, for one head or for several at once."""
    side_by_side = heads > 1 and heads * n_classes >= WIDE and not hasattr(X, "indptr")
    able = tuple(kernel for kernel in KERNELS if kernel.writes_out or not wrt_X)
    return fused.choose((tiled.Tiled(),) if side_by_side else able, X, n_classes, loss)
