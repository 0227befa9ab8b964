"""The compiled twin (native/*.cpp): rows of scores in place, one-pass heads for few classes, CSR rows. Loaded here, and only here.

It runs cross-entropy with all its options; what it cannot run it refuses, and `tiled` or the plain formula take over. Without a compiler at
build time there is no module, and `status` says so.
"""

from __future__ import annotations

import importlib
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from softgrad.blocks.block import Block
from softgrad.kernels.fused import AbstractKernel, Sums
from softgrad.losses.curves import Identity
from softgrad.losses.loss import Loss, Rows, Schedule, schedules
from softgrad.losses.scores import Temperature
from softgrad.losses.softmax import Softmax
from softgrad.losses.targets import Smoothed
from softgrad.losses.weights import Weights, are_ones

FEW = 32  # classes up to which one pass in registers beats two matrix products


def _load() -> tuple[ModuleType | None, str]:
    try:
        return importlib.import_module("softgrad._native"), ""
    except ImportError as error:
        return None, str(error)


module, _why_not = _load()


def status() -> str:
    """One line: the instruction set in use, or why there are no compiled kernels."""
    if module is None:
        return f"none: plain NumPy is used instead; no C++ compiler was found when softgrad was built ({_why_not})"
    return f"{module.isa()} (compiled: {', '.join(module.compiled())})"


def options(loss: Loss) -> tuple[float, float, tuple[float, ...] | None] | None:
    """Temperature, smoothing and class weights of a loss that the compiled rows know; None for any other."""
    known = type(loss.link) is Softmax and type(loss.curve) is Identity and not loss.terms
    if not (known and isinstance(loss.targets, Smoothed) and isinstance(loss.weights, Weights) and len(loss.scores) <= 1):
        return None
    if loss.targets.prior is not None:
        return None
    T = 1.0
    for phi in loss.scores:
        if not isinstance(phi, Temperature):
            return None
        T = phi.T
    return T, loss.targets.eps, loss.weights.class_weight


def _arguments(loss: Loss, y: NDArray[Any], r: NDArray[Any], n_classes: int, dtype: np.dtype[Any]) -> tuple[Any, ...]:
    """labels, targets, class weights, row weights, temperature, smoothing as the compiled functions take them."""
    T, eps, given = options(loss)  # type: ignore[misc] - asked before
    omega = None if given is None else loss.weights.omega(n_classes)
    labels = y if y.ndim == 1 else None
    q = None if y.ndim == 1 else np.ascontiguousarray(y, dtype)
    return labels, q, omega, None if are_ones(r) else r, T, eps


def _score_rows(loss: Loss, rows: Rows, out: NDArray[Any] | None, scale: float, losses: NDArray[np.float64]) -> int:
    arguments = _arguments(loss, rows.y, rows.r, rows.z.shape[1], rows.z.dtype)
    return module.score_rows(rows.z, out, *arguments, scale, losses)  # type: ignore[union-attr]


def _offer(loss: Loss, dtype: np.dtype[Any]) -> Schedule | None:
    return _score_rows if dtype in (np.float32, np.float64) and options(loss) is not None else None


if module is not None:
    schedules.append(_offer)


class OnePass(AbstractKernel):
    """Each row of X is read once: scores, loss and gradient of a small tile of rows while they are in cache."""

    name = "one_pass"
    writes_out = True

    def refuses(self, X: Any, n_classes: int, loss: Loss) -> str:
        if module is None:
            return "no compiled kernels"
        if hasattr(X, "indptr") or X.dtype not in (np.float64, np.float32, np.float16, np.uint8):
            return f"takes dense float64, float32, float16 or uint8 rows, not {X.dtype}"
        if n_classes > FEW:
            return f"is made for at most {FEW} classes"
        return "" if options(loss) is not None and loss.head.linear else "runs cross-entropy of a linear head only"

    def sums(self, block: Block, loss: Loss, coef: NDArray[Any], intercept: NDArray[Any], scale: float) -> Sums:
        losses, dcoef, dintercept = np.empty(len(block.r)), np.empty_like(coef), np.empty(len(coef))
        arguments = _arguments(loss, block.y, block.r, len(coef), coef.dtype)
        bad = module.head_rows(block.X, coef, intercept, *arguments, scale, losses, dcoef, dintercept, block.out)  # type: ignore[union-attr]
        return np.nan if bad >= 0 else float(losses.sum()), dcoef, dintercept


class SparseRows(AbstractKernel):
    """CSR rows times coefficients that lie class by class: scores of a small tile, then their gradient scattered back."""

    name = "csr"
    order = "F"

    def refuses(self, X: Any, n_classes: int, loss: Loss) -> str:
        if module is None:
            return "no compiled kernels"
        if not hasattr(X, "indptr"):
            return "takes CSR rows"
        return "" if options(loss) is not None and loss.head.linear else "runs cross-entropy of a linear head only"

    def sums(self, block: Block, loss: Loss, coef: NDArray[Any], intercept: NDArray[Any], scale: float) -> Sums:
        X, coef_t = block.X, np.ascontiguousarray(coef.T)
        losses, dcoef_t, dintercept = np.empty(len(block.r)), np.zeros_like(coef_t), np.empty(len(coef))
        arguments = _arguments(loss, block.y, block.r, len(coef), coef.dtype)
        rows = X.indptr.astype(np.int64), X.indices.astype(np.int32, copy=False), X.data.astype(coef.dtype, copy=False)
        bad = module.csr_rows(*rows, coef_t, intercept, *arguments, scale, losses, dcoef_t, dintercept)  # type: ignore[union-attr]
        return np.nan if bad >= 0 else float(losses.sum()), dcoef_t.T, dintercept
