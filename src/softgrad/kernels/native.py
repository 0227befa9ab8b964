"""The compiled twin (native/*.cpp): rows of scores in place, one-pass heads for few classes, CSR rows. Loaded here, and only here.

It runs softmax losses whose parts say how (`affine_map`, `at_label`, `kept`, `lse_squared`), with the curves that it has by name. What it
cannot run it refuses; `tiled` or the plain formula take over. Without a compiler at build time there is no module, and `status` says so.
"""

from __future__ import annotations

import atexit
import importlib
from dataclasses import fields, replace
from fractions import Fraction
from functools import lru_cache
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from softgrad.blocks.block import Block
from softgrad.kernels.fused import AbstractKernel, Sums
from softgrad.losses.curves import Identity
from softgrad.losses.loss import Loss, Rows, Schedule, plain, schedules
from softgrad.losses.softmax import Softmax, divided
from softgrad.losses.weights import are_ones

ROWS = 1 << 15  # scores of a tile that is bent: 256 KB in float64, several arrays of which stay in cache
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


class Options(NamedTuple):
    """A loss of the family as the compiled rows see it: u = slope z + shift, and a part that moves the label's score."""

    slope: Fraction
    shift: NDArray[Any] | float
    margin: int | None  # its place among the maps of scores
    z_loss: float


def options(loss: Loss) -> Options | None:
    """What the compiled rows are to do; None for a loss that has a part which they do not know."""
    curve = type(loss.curve)
    if module is None or curve.__module__ != Identity.__module__ or curve.__name__ not in module.curves():
        return None
    if type(loss.link) is not Softmax or loss.targets.kept is None or loss.weights.many:
        return None
    slope, shift, margin, z_loss = Fraction(1), 0.0, None, 0.0
    for k, phi in enumerate(loss.scores):
        found = phi.affine_map()
        if found is not None:
            slope, shift = slope * found[0], float(found[0]) * shift + found[1]
        elif phi.by_label and margin is None:
            margin = k
        else:
            return None
    for term in loss.terms:
        if term.lse_squared is None:
            return None
        z_loss += term.lse_squared
    return None if margin is not None and np.any(shift) else Options(slope, shift, margin, z_loss)


@lru_cache(maxsize=64)
def _formula(loss: Loss, n_classes: int) -> tuple[Any, bool]:
    """The compiled rows' Formula, and whether what stands around l asks for each row's share of class weights."""
    known, kept = options(loss), loss.targets.kept
    assert known is not None
    assert kept is not None
    omega = loss.weights.omega(n_classes)
    inside = omega if loss.curve.linear else np.ones(n_classes)
    keep, added = kept * inside, loss.targets.added(n_classes)
    slope = float(known.slope)
    formula = module.Formula(  # type: ignore[union-attr]
        None if (keep == 1).all() else keep,
        inside * added if added.any() else None,
        np.broadcast_to(known.shift, n_classes).copy() if np.any(known.shift) else None,
        slope,
        float(known.slope - Fraction(slope)),
        known.z_loss,
        type(loss.curve).__name__,
        [float(getattr(loss.curve, field.name)) for field in fields(loss.curve)],  # type: ignore[arg-type] - parts are dataclasses
    )
    return formula, known.z_loss != 0 or not loss.curve.linear


atexit.register(_formula.cache_clear)  # before the module goes, which counts what is left of its objects


def _arguments(loss: Loss, y: NDArray[Any], r: NDArray[Any], n_classes: int, dtype: np.dtype[Any], scale: float) -> tuple[Any, ...]:
    """formula, labels, targets, row weights, shares, scale as the compiled functions take them."""
    formula, shares = _formula(loss, n_classes)
    labels, q = (y, None) if y.ndim == 1 else (None, np.ascontiguousarray(y, dtype))
    return formula, labels, q, None if are_ones(r) else r, loss.weights.shares(y, n_classes) if shares else None, scale


def _score_rows(loss: Loss, rows: Rows, out: NDArray[Any] | None, scale: float, losses: NDArray[np.float64]) -> int:
    margin = options(loss).margin  # type: ignore[union-attr] - asked before
    if margin is not None and rows.y.ndim == 2:
        return plain(loss, rows, out, scale, losses)
    arguments = _arguments(loss, rows.y, rows.r, rows.z.shape[1], rows.z.dtype, scale)
    return module.score_rows(rows.z, out, *arguments, losses, None if margin is None else moved(loss, margin, rows))  # type: ignore[union-attr]


def moved(loss: Loss, margin: int, rows: Rows) -> NDArray[np.float64]:
    """The labels' scores as the rows are to see them, before the common slope: hi, lo and their slope (n, 3)."""
    z = rows.z[np.arange(len(rows.y)), rows.y].astype(np.float64)
    u, before = (z, np.zeros_like(z)), loss.scores[:margin]
    for phi in before:
        u = phi.forward(u, rows.y)
    u, slope = loss.scores[margin].at_label(u, rows.y)
    for phi in before:
        u = divided(u, float(phi.affine_map()[0]))  # type: ignore[index] - asked before
    return np.column_stack([*u, slope])


def unbent(loss: Loss) -> tuple[Loss, int] | None:
    """What follows the last map that bends all scores (a soft cap), if the compiled rows can do it; and how many maps come before that."""
    k = max((k + 1 for k, phi in enumerate(loss.scores) if not phi.affine and not phi.by_label), default=0)
    rest = replace(loss, scores=loss.scores[k:])
    plain_maps = k > 0 and not any(phi.by_label for phi in loss.scores[:k])
    return (rest, k) if plain_maps and options(rest) is not None else None


def _bent_rows(loss: Loss, rows: Rows, out: NDArray[Any] | None, scale: float, losses: NDArray[np.float64]) -> int:
    """Maps that bend scores are made here, in float64 while a tile is in cache; the compiled rows do what follows, phi' what is left."""
    rest, k = unbent(loss)  # type: ignore[misc] - asked before
    step = max(1, ROWS // rows.z.shape[1])
    for i in range(0, len(losses), step):
        part, tile = rows.part(slice(i, i + step)), slice(i, i + step)
        z = part.z.astype(np.float64)
        z[(part.r == 0) | (part.y < 0 if part.y.ndim == 1 else False)] = 0.0  # never read
        broken = loss.link.broken(z)
        if broken.any():
            return i + int(broken.argmax())
        u, slope = (z, np.zeros_like(z)), 1.0
        for phi in loss.scores[:k]:
            slope, u = phi.slope(u, part.y) * slope, phi.forward(u, part.y)
        x = np.ascontiguousarray(u[0] + u[1])
        bad = _score_rows(rest, Rows(x, part.y, part.r), None if out is None else x, scale, losses[tile])
        if bad >= 0:
            return i + bad
        if out is not None:
            with np.errstate(under="ignore", over="ignore"):
                out[tile] = slope * x
    return -1


def _offer(loss: Loss, dtype: np.dtype[Any]) -> Schedule | None:
    if dtype not in (np.float32, np.float64):
        return None
    if options(loss) is not None:
        return _score_rows
    return _bent_rows if module is not None and unbent(loss) is not None else None


if module is not None:
    schedules.append(_offer)


def _without_margin(loss: Loss) -> str:
    """Why a head cannot be fused with a loss: a label's score is moved by Python, and would have to be known before."""
    known = options(loss)
    return "" if known is not None and known.margin is None and loss.head.linear else "runs softmax losses of a linear head without margins"


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
        return _without_margin(loss)

    def sums(self, block: Block, loss: Loss, coef: NDArray[Any], intercept: NDArray[Any], scale: float) -> Sums:
        losses, dcoef, dintercept = np.empty(len(block.r)), np.empty_like(coef), np.empty(len(coef))
        arguments = _arguments(loss, block.y, block.r, len(coef), coef.dtype, scale)
        bad = module.head_rows(block.X, coef, intercept, *arguments, losses, dcoef, dintercept, block.out)  # type: ignore[union-attr]
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
        return _without_margin(loss)

    def sums(self, block: Block, loss: Loss, coef: NDArray[Any], intercept: NDArray[Any], scale: float) -> Sums:
        X, coef_t = block.X, np.ascontiguousarray(coef.T)
        losses, dcoef_t, dintercept = np.empty(len(block.r)), np.zeros_like(coef_t), np.empty(len(coef))
        arguments = _arguments(loss, block.y, block.r, len(coef), coef.dtype, scale)
        bad = module.csr_rows(*_stored(X, coef.dtype), coef_t, intercept, *arguments, losses, dcoef_t, dintercept)  # type: ignore[union-attr]
        return np.nan if bad >= 0 else float(losses.sum()), dcoef_t.T, dintercept

    def hessian_products(self, block: Block, V: NDArray[Any], v: NDArray[Any], scale: float) -> tuple[NDArray[Any], NDArray[Any]]:
        V_t, u = np.ascontiguousarray(V.T), np.empty(len(V))
        U_t = np.zeros_like(V_t)
        P, r = np.ascontiguousarray(block.y, V.dtype), np.asarray(block.r, np.float64)
        module.csr_curvature(*_stored(block.X, V.dtype), V_t, np.ascontiguousarray(v), P, r, scale, U_t, u)  # type: ignore[union-attr]
        return U_t.T, u


def _stored(X: Any, dtype: np.dtype[Any]) -> tuple[NDArray[Any], ...]:
    """CSR rows as the compiled functions take them."""
    return X.indptr.astype(np.int64), X.indices.astype(np.int32, copy=False), X.data.astype(dtype, copy=False)
