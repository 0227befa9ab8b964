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
    """q <- (1 - eps) q + eps / C: label smoothing, eps = 0 leaves labels hard (Szegedy et al. 2016, arXiv 1512.00567).

    The uniform share goes to every class, the true one too, so that the smoothed target sums to 1.
    """

    eps: float = 0.0

    def __post_init__(self) -> None:
        arrays.number("Smoothed(eps)", self.eps, 0, 1)

    @property
    def hard(self) -> bool:  # type: ignore[override] - of each object, not of the class
        return self.eps == 0

    def rows(self, y: NDArray[Any], n_classes: int, omega: Floats) -> Pair:
        prior = omega * (self.eps / n_classes)
        others = prior.sum() - prior  # the uniform share of all other classes
        if y.ndim == 1:
            here = np.arange(len(y))
            a = np.tile(prior, (len(y), 1))
            rest = others + ((1 - self.eps) * omega[y])[:, None]
            a[here, y] += (1 - self.eps) * omega[y]
            rest[here, y] = others[y]
            return a, rest
        q = (1 - self.eps) * omega * y
        rest = q.sum(axis=1, keepdims=True) - q
        top = q.argmax(axis=1, keepdims=True)
        without = q.copy()
        np.put_along_axis(without, top, 0.0, axis=1)
        np.put_along_axis(rest, top, without.sum(axis=1, keepdims=True), axis=1)
        return q + prior, rest + others


@dataclass(frozen=True)
class Labels(AbstractTargets):
    """q = onehot(y): class numbers only, for losses that compare one class with the others."""

    hard = True
    gives = "labels"

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
    """

    hard = False
    gives = "many"

    def enter(self, argument: str, y: ArrayLike, n: int, n_classes: int, ignore_index: int | None) -> NDArray[Any]:
        t = arrays.many_labels(argument, y, n, n_classes)
        return arrays.targets(argument, y, n, n_classes, ignore_index) if t is None else t

    def rows(self, y: NDArray[Any], n_classes: int, omega: Floats) -> Pair:
        yes = np.eye(n_classes)[y] if y.ndim == 1 else y.astype(np.float64)
        return omega * yes, omega * (1 - yes)
