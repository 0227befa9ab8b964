"""The compiled twin (native/*.cpp): rows of scores in place, one-pass heads for few classes, CSR rows. Loaded here, and only here.

It runs softmax and entmax losses whose parts say how (`affine_map`, `kept`, `lse_squared`, `log_p`), with the curves and margins that it
has by name. What it cannot run it refuses; `tiled` or the plain formula take over. Without a compiler at build time there is no module,
and `status` says so.
"""

from __future__ import annotations

import atexit
import importlib
import os
import sys
from dataclasses import fields, replace
from fractions import Fraction
from functools import lru_cache
from itertools import pairwise
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from softgrad import threads
from softgrad.blocks.block import LONG, AbstractRowBlocks, Block, Whole
from softgrad.kernels.fused import AbstractKernel, Head, Sums, compute_type
from softgrad.losses.loss import Loss, Rows, Schedule, schedules, shared_out
from softgrad.losses.weights import are_ones
from softgrad.widening import of_halves

ROWS = 1 << 15  # scores of a tile that is bent: 256 KB in float64, several arrays of which stay in cache
LINKS, MARGINS = ("Softmax", "Entmax"), ("AngularMargin", "SphereMargin", "LabelMargin")  # as native/call.hpp names them
FEW = 32  # classes up to which one pass in registers beats two matrix products whatever else there is (docs/decisions/0013),
COLUMN, COEF = 400, 400 << 10  # and bytes that a feature's coefficients, and all of coef, may have where it beats them with more


def _load() -> tuple[ModuleType | None, str]:
    try:
        return importlib.import_module("softgrad._native"), ""
    except ImportError as error:
        return None, str(error)


module, _why_not = _load()
CURVES = frozenset(module.curves()) if module is not None else frozenset()


def status() -> str:
    """One line: the instruction set in use, or why there are no compiled kernels."""
    if module is None:
        return f"none: plain NumPy is used instead; no C++ compiler was found when softgrad was built ({_why_not})"
    return f"{module.isa()} (compiled: {', '.join(module.compiled())})"


class Margin(NamedTuple):
    """A part that moves the label's score, the slope of the maps before it, and its numbers: those of the part, or one for each class."""

    name: str = ""
    numbers: NDArray[np.float64] | None = None
    slope: Fraction = Fraction(1)


class Options(NamedTuple):
    """A loss of the family as the compiled rows see it: u = slope z + shift, or with a margin and no shift."""

    slope: Fraction
    shift: NDArray[Any] | float
    margin: Margin
    z_loss: float
    penalty: float
    b: float  # alpha - 1 of entmax, 0 for softmax


def _name(part: Any) -> str:
    """What one of the library's own parts is called; its room is not loaded before a loss needs it."""
    return type(part).__name__ if type(part).__module__.startswith("softgrad.losses.") else ""


def options(loss: Loss) -> Options | None:
    """What the compiled rows are to do; None if there are none, or for a loss that has a part which they do not know."""
    return None if module is None else _options(loss)


@lru_cache(maxsize=64)
def _options(loss: Loss) -> Options | None:
    curve, link = _name(loss.curve), _name(loss.link)
    if curve not in CURVES or link not in LINKS or loss.targets.kept is None or loss.weights.many:
        return None
    slope, shift, margin = Fraction(1), 0.0, Margin()
    for phi in loss.scores:
        found = phi.affine_map()
        if found is not None:
            slope, shift = slope * found[0], float(found[0]) * shift + found[1]
        elif _name(phi) in MARGINS and not margin.name:
            numbers = [getattr(phi, field.name) for field in fields(phi)]  # type: ignore[arg-type] - parts are dataclasses
            margin = Margin(type(phi).__name__, np.ravel(np.asarray(numbers, np.float64)), slope)
        else:
            return None
    if any(term.lse_squared is None and term.log_p is None for term in loss.terms):
        return None
    z_loss, penalty = sum(term.lse_squared or 0.0 for term in loss.terms), sum(term.log_p or 0.0 for term in loss.terms)
    b = loss.link.alpha - 1 if link == "Entmax" else 0.0  # type: ignore[attr-defined] - its name says so
    around = int(bool(margin.name)) + int(np.any(shift))  # what stands around the plain scores: at most one thing, and none for some
    if link == "Entmax" and (b <= 0 or around or loss.terms or curve != "Identity"):
        return None
    return None if around > 1 or (around and penalty) else Options(slope, shift, margin, z_loss, penalty, b)


def _pair(x: Fraction) -> tuple[float, float]:
    """A number to twice the digits: its rounding, and what that leaves."""
    return float(x), float(x - Fraction(float(x)))


@lru_cache(maxsize=64)
def _formula(loss: Loss, n_classes: int) -> tuple[Any, bool]:
    """The compiled rows' Formula, and whether what stands around l asks for each row's share of class weights."""
    known, kept = options(loss), loss.targets.kept
    assert known is not None
    assert kept is not None
    omega = loss.weights.omega(n_classes)
    inside = omega if loss.curve.linear else np.ones(n_classes)
    keep, added = kept * inside, loss.targets.added(n_classes)
    formula = module.Formula(  # type: ignore[union-attr]
        None if (keep == 1).all() else keep,
        inside * added if added.any() else None,
        np.broadcast_to(known.shift, n_classes).copy() if np.any(known.shift) else None,
        *_pair(known.slope),
        known.z_loss,
        type(loss.curve).__name__,
        [float(getattr(loss.curve, field.name)) for field in fields(loss.curve)],  # type: ignore[arg-type] - parts are dataclasses
        known.b,
        known.penalty,
        known.margin.name,
        known.margin.numbers,
        *_pair(known.margin.slope),
    )
    return formula, bool(loss.terms) or not loss.curve.linear


atexit.register(_formula.cache_clear)  # before the module goes, which counts what is left of its objects


def _arguments(loss: Loss, y: NDArray[Any], r: NDArray[Any], n_classes: int, dtype: np.dtype[Any], scale: float) -> tuple[Any, ...]:
    """formula, labels, targets, row weights, shares, scale as the compiled functions take them."""
    formula, shares = _formula(loss, n_classes)
    labels, q = (y, None) if y.ndim == 1 else (None, np.ascontiguousarray(y, dtype))
    return formula, labels, q, None if are_ones(r) else r, loss.weights.shares(y, n_classes) if shares else None, scale


def _score_rows(loss: Loss, rows: Rows, out: NDArray[Any] | None, scale: float, losses: NDArray[np.float64]) -> int:
    if rows.y.ndim == 2 and options(loss).margin.name:  # type: ignore[union-attr] - asked before
        return _bent_rows(loss, rows, out, scale, losses)
    arguments = _arguments(loss, rows.y, rows.r, rows.z.shape[1], rows.z.dtype, scale)
    return module.score_rows(rows.z, out, *arguments, losses, threads.count())  # type: ignore[union-attr]


def unbent(loss: Loss, targets: int = 1) -> tuple[Loss, int] | None:
    """What the compiled rows can do after as few maps of scores as may be, and how many these are; margins ask for labels, targets (n,)."""
    for k in range(1, len(loss.scores) + 1):
        rest = replace(loss, scores=loss.scores[k:])
        known = options(rest)
        if known is not None and (targets == 1 or not known.margin.name):
            return rest, k
    return None


@shared_out(sys.maxsize)
def _bent_rows(loss: Loss, rows: Rows, out: NDArray[Any] | None, scale: float, losses: NDArray[np.float64]) -> int:
    """Maps that the compiled rows have not got are made here, in float64 while a tile is in cache; the rows follow, then phi'."""
    rest, k = unbent(loss, rows.y.ndim)  # type: ignore[misc] - asked before
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
    of_halves.append(module.of_halves)
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=module.forget_threads)


def _without_margin(loss: Loss) -> str:
    """Why a head cannot be fused with a loss: margins need labels, and whether there are any is not known when it is chosen."""
    known = options(loss)
    able = known is not None and not known.margin.name and loss.head.linear
    return "" if able else "runs softmax and entmax losses of a linear head without margins"


def most_classes(X: Any) -> int:
    """Up to how many classes one pass over X in registers is faster than two matrix products."""
    if module.isa() == "baseline":  # type: ignore[union-attr] - asked where there is a module
        return FEW  # not measured with more
    return max(FEW, min(COLUMN, COEF // max(1, X.shape[1])) // compute_type(X).itemsize)


class OnePass(AbstractKernel):
    """Each row of X is read once: scores, loss and gradient of a small tile of rows while they are in cache."""

    name = "one_pass"
    writes_out = True

    def refuses(self, X: Any, n_classes: int, loss: Loss) -> str:
        if module is None:
            return "no compiled kernels"
        if hasattr(X, "indptr") or X.dtype not in (np.float64, np.float32, np.float16, np.uint8):
            return f"takes dense float64, float32, float16 or uint8 rows, not {X.dtype}"
        if n_classes > (most := most_classes(X)):
            return f"is made for at most {most} classes of so many features"
        return _without_margin(loss)

    def sums(self, block: Block, loss: Loss, coef: NDArray[Any], intercept: NDArray[Any], scale: float) -> Sums:
        losses, dcoef, dintercept = np.empty(len(block.r)), np.empty_like(coef), np.empty(len(coef))
        arguments = _arguments(loss, block.y, block.r, len(coef), coef.dtype, scale)
        bad = module.head_rows(block.X, coef, intercept, *arguments, losses, dcoef, dintercept, block.out)  # type: ignore[union-attr]
        return np.nan if bad >= 0 else float(losses.sum()), dcoef, dintercept

    def over(self, rows: AbstractRowBlocks, loss: Loss, head: Head) -> Sums:
        """All blocks in one call: between two calls a thread stood still for 0.2 ms, and a block takes 3. Rows in files are read in it.

        The sums of a block that is alone stay in the type of coef.
        """
        with rows.whole() as whole:
            if whole is not None and len(whole.edges) == 2 and whole.files is None:
                return self.sums(whole.block, loss, head.coef, head.intercept, head.scale)
            found = None if whole is None or head.coef.size > LONG else _all_blocks(whole, loss, head)
        return super().over(rows, loss, head) if found is None else found


def _all_blocks(whole: Whole, loss: Loss, head: Head) -> Sums | None:
    """The sums; None where a file cannot be read, as who reads it block by block will say."""
    block, edges = whole.block, whole.edges
    losses, dcoef, dintercept = np.empty(len(block.r)), np.empty(head.coef.shape), np.empty(len(head.coef))
    arguments = _arguments(loss, block.y, block.r, len(head.coef), head.coef.dtype, head.scale)
    results, shared = (losses, dcoef, dintercept, block.out), (np.asarray(edges), threads.count(), whole.files)
    bad = module.head_blocks(block.X, head.coef, head.intercept, *arguments, *results, *shared)  # type: ignore[union-attr]
    if bad == module.UNREADABLE:  # type: ignore[union-attr]
        return None
    return np.nan if bad >= 0 else sum(float(losses[i:j].sum()) for i, j in pairwise(edges)), dcoef, dintercept


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
