"""The main idea: a loss is put together from parts, and its gradient follows from theirs.

    head:    z = W x + b, or cosines     (AbstractHead, where the loss is fused with features; else z is given)
    row i:   u = phi_k(... phi_1(z; y); y)    scores: temperature, offsets, margins      (AbstractScores, in order)
             a = omega o q,  A = sum a        targets q (labels, smoothed, distributions), class weights omega
             l = A lse(u) - a.u               link: cross-entropy of softmax, or another (AbstractLink)
             L = f(l) + sum_k t_k(u)          curve: focal, poly, ...; terms: z-loss, ... (AbstractCurve, AbstractTerm)
    data:    value = sum_i r_i L_i / sum_i r_i omega(i)          r: sample weights, 0 for ignored rows; omega(i) = sum_j omega_j q_ij
             r <- v o r, v = rule(L_1, ..., L_n) held fixed      mining: a rule that chooses among the rows of a batch (AbstractMining)

    gradient            dL/dz = phi'(z) o h,    h = f'(l) g + sum_k t_k',    g = dl/du: A p - a for softmax
    Hessian product     H v   = phi' o (f'(l) J x + f''(l) g (g.x) + sum_k t_k'' x) + phi'' o v o h,    x = phi' o v,  J = d2l/du2

A new member of the family is a new part; no room here changes. A class is abstract or final. Inside, everything is float64 and rows are
independent; who divides is `weights` alone. A compiled schedule of the same formulas is handed in from above (`schedules`, `plugged`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import wraps
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from softgrad import arrays, plugged, result_memory, threads
from softgrad.losses.part import (
    AbstractCurve,
    AbstractHead,
    AbstractLink,
    AbstractMining,
    AbstractScores,
    AbstractTargets,
    AbstractTerm,
    AbstractWeights,
    Floats,
    Pair,
)
from softgrad.losses.scores import Temperature

Reduction: TypeAlias = Literal["mean", "sum", "none"]

SMALL = 1 << 15  # scores of a part below which another thread is not worth waking
ROWS = 1 << 17  # scores of a part that the plain formula works on: 1 MB in float64


@dataclass(frozen=True)
class Loss:
    """A loss of the softmax family, composed of parts; see the formula at the top of this room.

    Parameters of the calls: scores (N, C), float16/32/64, -inf for classes that cannot be; targets, class numbers (N,) of any integer type
    or distributions (N, C); sample_weight (N,) or None; reduction "mean" (divides by the weights of the rows that count), "sum", "none".
    Scores of rows that do not count (ignored, or of sample weight 0; those of a class of weight 0 do) are never read. Raises SoftgradError
    for NaN, +inf, labels out of range, lengths that differ.
    """

    link: AbstractLink
    scores: tuple[AbstractScores, ...]
    curve: AbstractCurve
    targets: AbstractTargets
    weights: AbstractWeights
    head: AbstractHead  # acts where the loss is fused with features; scores are taken as they are
    terms: tuple[AbstractTerm, ...] = ()
    mining: AbstractMining | None = None

    def __call__(
        self, scores: ArrayLike, targets: ArrayLike, *, sample_weight: ArrayLike | None = None, reduction: Reduction = "mean"
    ) -> Any:
        """Loss of scores against targets: a float, or (N,) with reduction="none".

        >>> import softgrad
        >>> print(round(softgrad.losses.cross_entropy()([[1.0, 2.0, 3.0]], [1]), 4))
        1.4076
        """
        rows = self._enter("loss", scores, targets, sample_weight, reduction)
        return _reduced(self._run(rows, None, 0.0), self._scale(rows, reduction), rows.z.dtype, reduction)

    def value_and_grad(
        self,
        scores: ArrayLike,
        targets: ArrayLike,
        *,
        sample_weight: ArrayLike | None = None,
        reduction: Reduction = "mean",
        out: NDArray[Any] | None = None,
    ) -> tuple[Any, NDArray[Any]]:
        """Loss and its gradient by the scores (N, C), in the scores' type; `out` takes the gradient and may be `scores` itself.

        With reduction="none" row i of the gradient is that of loss i. After an error the contents of `out` are undefined.

        >>> import softgrad
        >>> value, gradient = softgrad.losses.cross_entropy().value_and_grad([[1.0, 2.0, 3.0]], [1])
        >>> gradient.round(3)
        array([[ 0.09 , -0.755,  0.665]])
        """
        rows = self._enter("value_and_grad", scores, targets, sample_weight, reduction)
        gradient = result_memory.empty(rows.z.shape, rows.z.dtype) if out is None else _out(out, rows.z)
        scale = self._scale(rows, reduction)
        losses = self._run(rows, gradient, scale)
        return _reduced(losses, scale, rows.z.dtype, reduction), gradient

    def hessian_product(
        self,
        scores: ArrayLike,
        targets: ArrayLike,
        vectors: ArrayLike,
        *,
        sample_weight: ArrayLike | None = None,
        reduction: Reduction = "mean",
    ) -> NDArray[Any]:
        """Second derivative by the scores times vectors (N, C): row i is H_i v_i, weighted and divided as the gradient is.

        >>> import softgrad
        >>> softgrad.losses.cross_entropy().hessian_product([[1.0, 2.0, 3.0]], [1], [[1.0, 0.0, 0.0]]).round(4)
        array([[ 0.0819, -0.022 , -0.0599]])
        """
        rows = self._enter("hessian_product", scores, targets, sample_weight, reduction)
        v = arrays.like_scores("hessian_product(vectors)", vectors, rows.z.shape)
        return second_order(self, rows, v, self._scale(rows, reduction)).astype(rows.z.dtype)

    def temperature_gradient(
        self, scores: ArrayLike, targets: ArrayLike, *, sample_weight: ArrayLike | None = None, reduction: Reduction = "mean"
    ) -> Any:
        """Derivative dL/dT by the loss's one `Temperature`, wherever it stands among the maps of scores.

        dL/dT = -1/T sum_j v_j dL/dv_j,   v = what `Temperature` makes of the scores;   by beta = 1/T it is -T^2 dL/dT

        A cross-entropy is convex in beta (d2L/dbeta2 = Var_p(z) >= 0), not in T: fit beta, or log beta. Parameters as of the loss itself.
        Returns a float, or (N,) with reduction="none". Raises SoftgradError where there is no Temperature, or more than one.

        >>> import softgrad
        >>> loss = softgrad.losses.cross_entropy(temperature=2.0)
        >>> print(round(loss.temperature_gradient([[1.0, 2.0, 3.0]], [1]), 4))
        -0.08
        """
        rows = self._enter("temperature_gradient", scores, targets, sample_weight, reduction)
        return by_temperature(self, rows, self._scale(rows, reduction), reduction)

    @property
    def shift_invariant(self) -> bool:
        """Whether a constant added to a row's scores changes nothing; then coefficients can be centred over the classes."""
        return self.link.shift_invariant and all(part.keeps_shifts for part in self.scores) and all(t.shift_invariant for t in self.terms)

    @property
    def convex(self) -> bool:
        """Whether every row's loss is convex in its scores, whatever they are; then a linear head has one optimum, if no rows are mined."""
        curve = self.curve.linear or self.curve.convex(one_hot=self.targets.hard)
        parts = self.link.convex and curve and all(t.convex for t in self.terms)
        return parts and all(part.affine for part in self.scores)

    def prepare(self, call: str, z: NDArray[Any], targets: ArrayLike, sample_weight: ArrayLike | None, name: str = "targets") -> Rows:
        """Users' targets and weights, checked, beside scores (or anything else with one row each and C columns)."""
        n, C = z.shape
        for phi in self.scores:
            phi.fits(C)
        y = self.targets.enter(f"{call}({name})", targets, n, self.link.classes(C), self.weights.ignore_index)
        r = self.weights.rows(y, arrays.row_weight(f"{call}(sample_weight)", sample_weight, z.shape[0]))
        return Rows(z, y, r)

    def total(self, rows: Rows) -> float:
        return self.weights.total(rows.y, rows.r, self.link.classes(rows.z.shape[1]))

    def _enter(
        self, call: str, scores: ArrayLike, targets: ArrayLike, sample_weight: ArrayLike | None, reduction: str
    ) -> Rows:
        if reduction not in ("mean", "sum", "none"):
            arrays.refuse(f"{call}(reduction)", "must be 'mean', 'sum' or 'none'", repr(reduction), "choose one of these")
        rows = self.prepare(call, arrays.scores(f"{call}(scores)", scores), targets, sample_weight)
        if self.mining is None:
            return rows
        once = replace(rows, r=(rows.r > 0).astype(np.float64))
        return replace(rows, r=self.mined(rows.r, self._run(once, None, 0.0)))

    def mined(self, r: Floats, losses: Floats) -> Floats:
        """v o r (n,): the row weights that the batch rule leaves, for losses L_i of the rows with r_i > 0."""
        assert self.mining is not None
        chosen, counted = np.zeros(len(r)), r > 0
        chosen[counted] = self.mining.weights(losses[counted]) * r[counted]
        return chosen

    def _scale(self, rows: Rows, reduction: str) -> float:
        return self.weights.share(self.total(rows)) if reduction == "mean" else 1.0

    def _run(self, rows: Rows, out: NDArray[Any] | None, scale: float) -> Floats:
        losses = np.empty(len(rows.r))
        bad = schedule_for(self, rows.z.dtype)(self, rows, out, scale, losses)
        if bad >= 0:
            arrays.bad_scores("scores", bad, self.link.takes)
        return losses


def _reduced(losses: Floats, scale: float, dtype: np.dtype[Any], reduction: str) -> Any:
    if reduction == "none":
        with np.errstate(over="ignore"):
            return losses.astype(dtype, copy=False)
    return float(losses.sum()) * scale


@dataclass(frozen=True)
class Rows:
    """Scores z (n, C), targets y (n,) or (n, C), and row weights r (n,)."""

    z: NDArray[Any]
    y: NDArray[Any]
    r: Floats

    def part(self, k: slice | NDArray[Any]) -> Rows:
        return Rows(self.z[k], self.y[k], self.r[k])


Schedule: TypeAlias = Callable[[Loss, Rows, "NDArray[Any] | None", float, Floats], int]


def shared_out(most: int) -> Callable[[Schedule], Schedule]:
    """A schedule on all threads: two parts a thread, none smaller than what starting one costs, none of more than `most` scores.

    Rows are independent: any cut gives the same bits.
    """

    def decorate(schedule: Schedule) -> Schedule:
        @wraps(schedule)
        def shared(loss: Loss, rows: Rows, out: NDArray[Any] | None, scale: float, losses: Floats) -> int:
            n, C = rows.z.shape
            step = min(max(-(-n // (2 * threads.count())), SMALL // C, 1), max(1, most // C))
            parts = [slice(i, i + step) for i in range(0, n, step)]

            def part(k: slice) -> int:
                return schedule(loss, rows.part(k), None if out is None else out[k], scale, losses[k])

            found = threads.every(part, parts)
            return next((k.start + bad for k, bad in zip(parts, found, strict=True) if bad >= 0), -1)

        return shared

    return decorate


@shared_out(ROWS)
def plain(loss: Loss, rows: Rows, out: NDArray[Any] | None, scale: float, losses: Floats) -> int:
    """The formula at the top of this room, as it stands there: losses r_i L_i, and scale r_i dL_i/dz into out.

    Returns the first counted row that has no softmax, or -1.
    """
    counted = np.flatnonzero(rows.r)
    losses[:] = 0
    if out is not None and len(counted) < len(losses):
        out[rows.r == 0] = 0
    if len(counted) == 0:
        return -1
    part = rows if len(counted) == len(losses) else rows.part(counted)
    broken = loss.link.broken(part.z)
    if broken.any():
        return int(counted[broken.argmax()])
    at = Evaluated(loss, part)
    f, f1, _ = loss.curve.derivatives(at.ell)
    losses[counted] = at.w * f
    with np.errstate(under="ignore", over="ignore"):
        if out is not None:
            out[counted] = (scale * at.w * f1)[:, None] * (at.slope * at.g)
        for term in loss.terms:
            t, t1 = term.value_gradient(at.u)
            losses[counted] += at.whole * t
            if out is not None:
                out[counted] += (scale * at.whole)[:, None] * (at.slope * t1)
    return -1


def second_order(loss: Loss, rows: Rows, v: Floats, scale: float) -> Floats:
    """The Hessian product at the top of this room, rows that do not count are 0."""
    product = np.zeros(v.shape)
    step = max(1, ROWS // v.shape[1])
    counted = np.flatnonzero(rows.r)
    for k in (counted[i : i + step] for i in range(0, len(counted), step)):
        part = rows.part(k)
        broken = loss.link.broken(part.z)
        if broken.any():
            arrays.bad_scores("scores", int(k[broken.argmax()]), loss.link.takes)
        product[k] = scale * hessian_rows(loss, Evaluated(loss, part), v[k])
    return product


def hessian_rows(loss: Loss, at: Evaluated, v: Floats) -> Floats:
    """Every row's weighted Hessian times its v (n, C)."""
    _, f1, f2 = loss.curve.derivatives(at.ell)
    x = at.slope * v
    h = (at.w * f1)[:, None] * at.g
    Hx = (at.w * f1)[:, None] * loss.link.hessian_product(at.u, at.a, at.rest, x) + (at.w * f2 * (at.g * x).sum(axis=1))[:, None] * at.g
    for term in loss.terms:
        h = h + at.whole[:, None] * term.value_gradient(at.u)[1]
        Hx += at.whole[:, None] * term.hessian_product(at.u, x)
    return at.slope * Hx + at.bend * v * h


def by_temperature(loss: Loss, rows: Rows, scale: float, reduction: Reduction) -> Any:
    """dL/dT: the parts up to the temperature make v, and those after it are a loss of v."""
    places = [k for k, phi in enumerate(loss.scores) if isinstance(phi, Temperature)]
    if len(places) != 1:
        rule, do = "the loss must have one part Temperature", "compose it with one"
        arrays.refuse("temperature_gradient", rule, f"{len(places)} of them", do)
    k = places[0]
    T, after, slopes = loss.scores[k].T, replace(loss, scores=loss.scores[k + 1 :]), np.zeros(len(rows.r))  # type: ignore[attr-defined]
    counted = np.flatnonzero(rows.r)
    part = rows.part(counted)
    v = forward(loss.scores[: k + 1], part.z.astype(np.float64), part.y)
    if after.shift_invariant:
        with np.errstate(invalid="ignore"):
            v = v - v.max(axis=1, keepdims=True)  # sum_j dL/dv_j = 0: no large numbers that cancel
    g, losses = np.empty_like(v), np.empty(len(v))
    bad = plain(after, Rows(v, part.y, part.r), g, scale, losses)
    if bad >= 0:
        arrays.bad_scores("scores", int(counted[bad]))
    with np.errstate(invalid="ignore"):
        slopes[counted] = -np.where(g == 0, 0.0, v * g).sum(axis=1) / T  # an impossible class has v = -inf and g = 0
    return slopes.astype(rows.z.dtype) if reduction == "none" else float(slopes.sum())


def forward(scores: tuple[AbstractScores, ...], z: Floats, y: NDArray[Any]) -> Floats:
    """What maps of scores make of z."""
    u: Pair = (z, np.zeros_like(z))
    for phi in scores:
        u = phi.forward(u, y)
    return u[0] + u[1]


class Evaluated:
    """Rows that count on their way through a loss: u, phi', phi''; a, rest; l and g; the weights w of f and `whole` of the terms."""

    def __init__(self, loss: Loss, rows: Rows):
        z, y = rows.z.astype(np.float64), rows.y
        self.u: Pair = (z, np.zeros_like(z))
        self.slope: Floats | float = 1.0
        self.bend: Floats | float = 0.0
        for phi in loss.scores:  # (f o g)'' = f''(g) g'^2 + f'(g) g''
            s, b = phi.slope(self.u, y), phi.bend(self.u, y)
            self.slope, self.bend = s * self.slope, b * self.slope * self.slope + s * self.bend
            self.u = phi.forward(self.u, y)
        self._weigh(loss, rows)
        self.ell, self.g = loss.link.value_gradient(self.u, self.a, self.rest)

    def _weigh(self, loss: Loss, rows: Rows) -> None:
        """Class weights stand inside on the targets where l and f are linear in them (as in torch), else before f."""
        n_classes = loss.link.classes(rows.z.shape[1])
        omega = loss.weights.omega(n_classes)
        inside = loss.curve.linear and loss.link.weighs_targets
        self.a, self.rest = loss.targets.rows(rows.y, n_classes, omega if inside else np.ones(n_classes))
        self.w = self.whole = rows.r
        if not inside or loss.terms:
            self.whole = rows.r * loss.weights.shares(rows.y, n_classes)
            self.w = rows.r if inside else self.whole


def probabilities(loss: Loss, z: Floats) -> Floats:
    """What the loss takes scores z (n, C) to mean, temperature and all; without parts that are for training only."""
    return loss.link.probabilities(predicted(loss, z))


def log_probabilities(loss: Loss, z: Floats) -> Floats:
    """Logarithm of `probabilities`, accurate also near 0."""
    return loss.link.log_probabilities(predicted(loss, z))


def predicted(loss: Loss, z: Floats) -> Pair:
    """u of scores z (n, C) whose labels are not known: without parts that are for training only."""
    u: Pair = (z, np.zeros_like(z))
    for phi in loss.scores:
        u = u if phi.training_only else phi.forward(u, NO_LABELS)
    return u


NO_LABELS = np.empty(0, np.int64)  # parts that are not for training only do not ask for labels


schedules: list[Callable[[Loss, np.dtype[Any]], Schedule | None]] = []


def schedule_for(loss: Loss, dtype: np.dtype[Any]) -> Schedule:
    """The first compiled schedule that can run this loss on this type, else the plain one."""
    plugged.load()
    for offer in schedules:
        schedule = offer(loss, dtype)
        if schedule is not None:
            return schedule
    return plain


def _out(out: NDArray[Any], z: NDArray[Any]) -> NDArray[Any]:
    fits = isinstance(out, np.ndarray) and out.shape == z.shape and out.dtype == z.dtype
    if not fits or not (out.flags.c_contiguous and out.flags.writeable):
        came = f"{getattr(out, 'dtype', type(out).__name__)} {getattr(out, 'shape', '')}"
        rule = f"must be a writeable, C-contiguous {z.dtype} array of shape {z.shape}"
        arrays.refuse("value_and_grad(out)", rule, came, "pass such an array, or None")
    return out
