"""(X, coef, intercept, y) -> sums of loss and gradients, without keeping all scores."""

from __future__ import annotations

from typing import Any

from softgrad.kernels import fused, native, tiled
from softgrad.losses.loss import Loss

KERNELS: tuple[fused.AbstractKernel, ...] = (native.OnePass(), native.SparseRows(), tiled.Tiled())


def choose(X: Any, n_classes: int, loss: Loss) -> fused.AbstractKernel:
    """The fastest kernel that can do it."""
    return fused.choose(KERNELS, X, n_classes, loss)
