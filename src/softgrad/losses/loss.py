"""The main idea: a loss is put together from parts, and its gradient follows from theirs.

    row i:   u = phi_k(... phi_1(z))          scores: temperature, offsets, margins      (AbstractScores, in order)
             a = omega o q,  A = sum a        targets q (labels, smoothed, distributions), class weights omega
             l = A lse(u) - a.u               link: cross-entropy of softmax             (AbstractLink)
             L = f(l)                         curve: focal, poly, ...                    (AbstractCurve)
    data:    value = sum_i r_i L_i / sum_i r_i omega(i)          r: sample weights, 0 for ignored rows

    gradient            dL/dz = phi'(z) o f'(l) (A p - a)
    Hessian product     H v   = phi' o (f'(l) J(phi' o v) + f''(l) g (g.(phi' o v))) + phi'' o v o f'(l) g,    g = A p - a

A new member of the family is a new part; no room here changes. A class is abstract or final. Inside, everything is float64 and rows are
independent; who divides is `weights` alone. A compiled schedule of the same formulas is handed in by the front door (`schedules`).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from softgrad import arrays, threads

Floats: TypeAlias = NDArray[np.float64]
Pair: TypeAlias = tuple[Floats, Floats]  # (hi, lo): the value hi + lo, unevaluated; or (value, derivative)
Reduction: TypeAlias = Literal["mean", "sum", "none"]

SMALL = 1 << 15  # scores of a part below which another thread is not worth waking
ROWS = 1 << 17  # scores of a block of rows that the plain formula works on: 1 MB in float64


class AbstractLink(ABC):
    """Scores against targets."""

    shift_invariant: bool  # a constant added to a row's scores changes nothing

    @abstractmethod
    def value_gradient(self, u: Pair, a: Floats, rest: Floats) -> Pair:
        """l (n,) and dl/du (n, C) for scores u (n, C), targets a (n, C) and rest = A - a, which is exact where a row has one class."""

    @abstractmethod
    def hessian_product(self, u: Pair, a: Floats, v: Floats) -> Floats:
        """d2l/du2 v (n, C)."""

    @abstractmethod
    def probabilities(self, u: Pair) -> Floats:
        """p (n, C), rows summing to 1."""

    @abstractmethod
    def log_probabilities(self, u: Pair) -> Floats:
        """log p (n, C)."""


class AbstractScores(ABC):
    """A map of the scores, acting on each by itself: u_j = phi(z_j), or phi_j(z_j)."""

    keeps_shifts: bool  # a constant added to a row's scores becomes a constant

    @abstractmethod
    def forward(self, z: Pair) -> Pair:
        """u = phi(z) as an unevaluated pair."""

    @abstractmethod
    def slope(self, z: Pair) -> Floats | float:
        """phi'(z)."""

    @abstractmethod
    def bend(self, z: Pair) -> Floats | float:
        """phi''(z)."""


class AbstractCurve(ABC):
    """A function of the row's cross-entropy: L = f(l)."""

    linear: bool  # f(l) = l: class weights may then stand inside, on the targets

    @abstractmethod
    def derivatives(self, ell: Floats) -> tuple[Floats, Floats, Floats]:
        """f, f' and f'' at l (n,)."""


class AbstractTargets(ABC):
    """What the labels ask for."""

    @abstractmethod
    def rows(self, y: NDArray[Any], n_classes: int, omega: Floats) -> Pair:
        """a = omega o q (n, C) and rest = sum_k a_k - a_j (n, C), the latter a sum of the others, not a difference from 1."""


class AbstractWeights(ABC):
    """Who counts how much."""

    ignore_index: int | None

    @abstractmethod
    def omega(self, n_classes: int) -> Floats:
        """Class weights (C,)."""

    @abstractmethod
    def rows(self, y: NDArray[Any], sample_weight: Floats | None) -> Floats:
        """r (n,): sample weight, 0 for ignored rows."""

    @abstractmethod
    def total(self, y: NDArray[Any], r: Floats, n_classes: int) -> float:
        """What `mean` divides by: the weights of the rows that count."""

    @abstractmethod
    def share(self, total: float) -> float:
        """1 / total, or 0 where nothing counts."""


@dataclass(frozen=True)
class Loss:
    """A loss of the softmax family, composed of parts; see the formula at the top of this room.

    Parameters of the calls: scores (N, C), float16/32/64, -inf for classes that cannot be; targets, class numbers (N,) of any integer type
    or distributions (N, C); sample_weight (N,) or None; reduction "mean" (divides by the weights of the rows that count), "sum", "none".
    Rows that do not count (ignored, weight 0) are never read. Raises SoftgradError for NaN, +inf, labels out of range, lengths that differ.
    """

    link: AbstractLink
    scores: tuple[AbstractScores, ...]
    curve: AbstractCurve
    targets: AbstractTargets
    weights: AbstractWeights

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
        gradient = np.empty_like(rows.z) if out is None else _out(out, rows.z)
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

    @property
    def shift_invariant(self) -> bool:
        """Whether a constant added to a row's scores changes nothing; then coefficients can be centred over the classes."""
        return self.link.shift_invariant and all(phi.keeps_shifts for phi in self.scores)

    def prepare(self, call: str, z: NDArray[Any], targets: ArrayLike, sample_weight: ArrayLike | None, name: str = "targets") -> Rows:
        """Users' targets and weights, checked, beside scores (or anything else with one row each and C columns)."""
        y = arrays.targets(f"{call}({name})", targets, z.shape[0], z.shape[1], self.weights.ignore_index)
        r = self.weights.rows(y, arrays.row_weight(f"{call}(sample_weight)", sample_weight, z.shape[0]))
        return Rows(z, y, r)

    def total(self, rows: Rows) -> float:
        return self.weights.total(rows.y, rows.r, rows.z.shape[1])

    def _enter(
        self, call: str, scores: ArrayLike, targets: ArrayLike, sample_weight: ArrayLike | None, reduction: str
    ) -> Rows:
        if reduction not in ("mean", "sum", "none"):
            arrays.refuse(f"{call}(reduction)", "must be 'mean', 'sum' or 'none'", repr(reduction), "choose one of these")
        return self.prepare(call, arrays.scores(f"{call}(scores)", scores), targets, sample_weight)

    def _scale(self, rows: Rows, reduction: str) -> float:
        return self.weights.share(self.total(rows)) if reduction == "mean" else 1.0

    def _run(self, rows: Rows, out: NDArray[Any] | None, scale: float) -> Floats:
        n, losses = len(rows.r), np.empty(len(rows.r))
        schedule = schedule_for(self, rows.z.dtype)
        # Rows are independent: any cut gives the same bits. Two parts a thread, but none smaller than what starting it costs, and for the
        # plain formula none larger than the cache.
        step = max(-(-n // (2 * threads.count())), SMALL // rows.z.shape[1], 1)
        step = min(step, max(1, ROWS // rows.z.shape[1])) if schedule is plain else step
        parts = [slice(i, i + step) for i in range(0, n, step)]

        def part(k: slice) -> int:
            return schedule(self, rows.part(k), None if out is None else out[k], scale, losses[k])

        for k, bad in zip(parts, threads.every(part, parts), strict=True):
            if bad >= 0:
                arrays.bad_scores("scores", k.start + bad)
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
    z = part.z.astype(np.float64)
    largest = z.max(axis=1)
    if not np.isfinite(largest).all():  # NaN wins in max; all -inf, +inf
        return int(counted[(~np.isfinite(largest)).argmax()])
    u, slope, _ = _transformed(loss, z)
    a, rest, w = _targets(loss, part)
    ell, g = loss.link.value_gradient(u, a, rest)
    f, f1, _ = loss.curve.derivatives(ell)
    losses[counted] = w * f
    if out is not None:
        with np.errstate(under="ignore", over="ignore"):
            out[counted] = (scale * w * f1)[:, None] * (slope * g)
    return -1


def second_order(loss: Loss, rows: Rows, v: Floats, scale: float) -> Floats:
    """The Hessian product at the top of this room, rows that do not count are 0."""
    product = np.zeros(v.shape)
    step = max(1, ROWS // v.shape[1])
    counted = np.flatnonzero(rows.r)
    for k in (counted[i : i + step] for i in range(0, len(counted), step)):
        part = rows.part(k)
        z = part.z.astype(np.float64)
        largest = z.max(axis=1)
        if not np.isfinite(largest).all():
            arrays.bad_scores("scores", int(k[(~np.isfinite(largest)).argmax()]))
        u, slope, bend = _transformed(loss, z)
        a, rest, w = _targets(loss, part)
        ell, g = loss.link.value_gradient(u, a, rest)
        _, f1, f2 = loss.curve.derivatives(ell)
        x = slope * v[k]
        Hx = f1[:, None] * loss.link.hessian_product(u, a, x) + (f2 * (g * x).sum(axis=1))[:, None] * g
        product[k] = (scale * w)[:, None] * (slope * Hx + bend * v[k] * f1[:, None] * g)
    return product


def probabilities(loss: Loss, z: Floats) -> Floats:
    """What the loss takes scores z (n, C) to mean, temperature and all."""
    return loss.link.probabilities(_transformed(loss, z)[0])


def log_probabilities(loss: Loss, z: Floats) -> Floats:
    """Logarithm of `probabilities`, accurate also near 0."""
    return loss.link.log_probabilities(_transformed(loss, z)[0])


def _transformed(loss: Loss, z: Floats) -> tuple[Pair, Floats | float, Floats | float]:
    """u = phi(z), phi'(z) and phi''(z) of all score parts in a row: (f o g)'' = f''(g) g'^2 + f'(g) g''."""
    u: Pair = (z, np.zeros_like(z))
    slope: Floats | float = 1.0
    bend: Floats | float = 0.0
    for phi in loss.scores:
        s, b = phi.slope(u), phi.bend(u)
        slope, bend = s * slope, b * slope * slope + s * bend
        u = phi.forward(u)
    return u, slope, bend


def _targets(loss: Loss, rows: Rows) -> tuple[Floats, Floats, Floats]:
    """a, rest and the row weights. Class weights stand inside on the targets where f is linear (as in torch), else before f."""
    n_classes = rows.z.shape[1]
    omega = loss.weights.omega(n_classes)
    if loss.curve.linear:
        return *loss.targets.rows(rows.y, n_classes, omega), rows.r
    a, rest = loss.targets.rows(rows.y, n_classes, np.ones(n_classes))
    return a, rest, rows.r * (omega[rows.y] if rows.y.ndim == 1 else rows.y @ omega)


schedules: list[Callable[[Loss, np.dtype[Any]], Schedule | None]] = []


def schedule_for(loss: Loss, dtype: np.dtype[Any]) -> Schedule:
    """The first compiled schedule that can run this loss on this type, else the plain one."""
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
