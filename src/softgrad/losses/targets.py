"""Parts that act on labels: what a row asks for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from softgrad import arrays
from softgrad.losses.part import AbstractTargets, Floats, Pair


@dataclass(frozen=True)
class Smoothed(AbstractTargets):
    """q <- (1 - eps) q + eps r: label smoothing, eps = 0 leaves labels hard (Szegedy et al. 2016, arXiv 1512.00567).

    r is the prior, a number for each class, at least 0, that sum to 1; None for uniform, 1 / C. Its share goes to every class, the true one
    too, so that the smoothed target sums to 1. At the optimum p = q: for C = 10 and eps = 0.1 the true class's score is 4.51086 above the
    others', not infinitely so. Raises SoftgradError for numbers that are not such, and for a prior of another number of classes.

    >>> from softgrad import losses
    >>> loss = losses.compose(losses.Smoothed(0.1, prior=(0.5, 0.5, 0.0)))
    >>> print(round(loss([[1.0, 2.0, 3.0]], [1]), 6))
    1.457606
    """

    eps: float = 0.0
    prior: tuple[float, ...] | None = None

    def __post_init__(self) -> None:
        arrays.number("Smoothed(eps)", self.eps, 0, 1)
        prior = arrays.class_weight("Smoothed(prior)", self.prior)
        if prior is not None and not abs(sum(prior) - 1) <= 1e-6:
            arrays.refuse("Smoothed(prior)", "must sum to 1", f"{sum(prior):g}", "divide it by its sum")
        object.__setattr__(self, "prior", prior)

    @property
    def hard(self) -> bool:  # type: ignore[override] - of each object, not of the class
        return self.eps == 0

    @property
    def kept(self) -> float:  # type: ignore[override]
        return 1 - self.eps

    def added(self, n_classes: int) -> Floats:
        """eps r (C,)."""
        if self.prior is None:
            return np.full(n_classes, self.eps / n_classes)
        if len(self.prior) != n_classes:
            came = f"{len(self.prior)} numbers for {n_classes} classes"
            arrays.refuse("Smoothed(prior)", "must have one number for each class", came, "pass a prior of these classes")
        return self.eps * np.asarray(self.prior)

    def rows(self, y: NDArray[Any], n_classes: int, omega: Floats) -> Pair:
        prior = omega * self.added(n_classes)
        others = others_of(prior)
        if y.ndim == 1:
            here = np.arange(len(y))
            a = np.tile(prior, (len(y), 1))
            rest = others + ((1 - self.eps) * omega[y])[:, None]
            a[here, y] += (1 - self.eps) * omega[y]
            rest[here, y] = others[y]
            return a, rest
        q = (1 - self.eps) * omega * y
        return q + prior, others_of(q) + others


def others_of(a: Floats) -> Floats:
    """sum_k a_k - a_j along the last axis; for the largest, which may leave little, the sum of the others itself."""
    rest = a.sum(axis=-1, keepdims=True) - a
    top = a.argmax(axis=-1, keepdims=True)
    without = a.copy()
    np.put_along_axis(without, top, 0.0, axis=-1)
    np.put_along_axis(rest, top, without.sum(axis=-1, keepdims=True), axis=-1)
    return rest


@dataclass(frozen=True)
class Labels(AbstractTargets):
    """q = onehot(y): class numbers only, for losses that compare one class with the others.

    >>> from softgrad import losses
    >>> print(round(losses.compose(losses.Labels())([[0.0, 0.0]], [1]), 4))
    0.6931
    """

    hard = True
    gives = "labels"
    kept = 1.0

    def enter(self, argument: str, y: ArrayLike, n: int, n_classes: int, ignore_index: int | None) -> NDArray[Any]:
        t = arrays.targets(argument, y, n, n_classes, ignore_index)
        if t.ndim != 1:
            arrays.refuse(argument, "must be class numbers (N,)", f"shape {t.shape}", "take their argmax")
        return t

    def rows(self, y: NDArray[Any], n_classes: int, omega: Floats) -> Pair:
        here = np.arange(len(y))
        a, rest = np.zeros((len(y), n_classes)), np.tile(omega[y][:, None], (1, n_classes))
        a[here, y], rest[here, y] = omega[y], 0.0
        return a, rest


@dataclass(frozen=True)
class ManyLabels(AbstractTargets):
    """a = omega o y, rest = omega o (1 - y): yes or no for each class, any number of them true in a row.

    Takes rows (N, C) with values in [0, 1], and class numbers (N,) as rows with one yes.

    >>> from softgrad import losses
    >>> loss = losses.compose(losses.Sigmoid(), losses.ManyLabels())
    >>> print(round(loss([[2.0, 2.0, -2.0]], [[1, 1, 0]]), 4))
    0.3808
    """

    hard = False
    gives = "many"

    def enter(self, argument: str, y: ArrayLike, n: int, n_classes: int, ignore_index: int | None) -> NDArray[Any]:
        t = arrays.many_labels(argument, y, n, n_classes)
        return arrays.targets(argument, y, n, n_classes, ignore_index) if t is None else t

    def rows(self, y: NDArray[Any], n_classes: int, omega: Floats) -> Pair:
        yes = one_hot(y, n_classes)
        return omega * yes, omega * (1 - yes)


def mixup(y1: ArrayLike, y2: ArrayLike, lam: ArrayLike, n_classes: int) -> Floats:
    """Targets of mixed rows: the distributions lam q1 + (1 - lam) q2.

    For x = lam x1 + (1 - lam) x2, with q the one-hot row of a label. The loss is lam L(y1) + (1 - lam) L(y2) where L = f(l) has a linear f
    (cross-entropy); a curve such as `Focal` acts on the mixed row's cross-entropy instead.

    Parameters: y1, y2 class numbers (N,) or distributions (N, C); lam, a number in [0, 1] or one for each row (N,); n_classes C.
    Returns q (N, C) in float64. Raises SoftgradError for labels out of range, lengths that differ, lam outside.
    Reference: Zhang et al. 2018, arXiv 1710.09412.

    >>> from softgrad import losses
    >>> losses.mixup([0, 1], [2, 1], 0.75, 3)
    array([[0.75, 0.  , 0.25],
           [0.  , 1.  , 0.  ]])
    """
    C, n = arrays.whole("mixup(n_classes)", n_classes, 1), len(np.atleast_1d(arrays.floats("mixup(y1)", y1)))
    q1, q2 = (one_hot(arrays.targets(f"mixup({name})", y, n, C), C) for name, y in (("y1", y1), ("y2", y2)))
    share = arrays.floats("mixup(lam)", lam).astype(np.float64)
    if share.shape not in ((), (n,)):
        arrays.refuse("mixup(lam)", f"must be a number, or one for each of the {n} rows", f"shape {share.shape}", "pass shape (N,)")
    share = share.reshape(-1, 1)
    outside = ~((share >= 0) & (share <= 1))
    if outside.any():
        arrays.refuse("mixup(lam)", "must be in [0, 1]", arrays.shown(share[outside][0]), "clip it")
    return share * q1 + (1 - share) * q2


def one_hot(y: NDArray[Any], n_classes: int) -> Floats:
    """Labels as rows (n, C); distributions stay."""
    return np.eye(n_classes)[y] if y.ndim == 1 else y.astype(np.float64, copy=False)
