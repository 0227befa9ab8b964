"""Learning from a teacher's scores: both softened by a temperature, and compared by Kullback and Leibler's divergence.

    q = softmax(teacher / T),   p = softmax(u / T),   l = T^2 sum_j q_j log(q_j / p_j);   dl/du = T (p - q),   d2l/du2 = diag(p) - p p'

The factor T^2 keeps the gradient's size as T grows: for T -> inf, l -> |u - teacher|^2 / (2 C), both centred.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from softgrad import arrays
from softgrad.losses.part import AbstractLink, AbstractTargets, Floats, Pair
from softgrad.losses.softmax import Softmax, divided, softmax
from softgrad.losses.targets import Smoothed

SOFTMAX = Softmax()


@dataclass(frozen=True)
class Divergence(AbstractLink):
    """l = T^2 KL(a || softmax(u / T)) for targets a (n, C): 0 where they agree, and accurate near there.

    gradient T (p - a), Hessian diag(p) - p p': convex. Each entry's share is a (exp(x) - 1 - x) >= 0, x = log p - log a, since p and a both
    sum to 1. T in [1e-100, 1e100], default 1. Class weights multiply the row. Probabilities of a fitted classifier are those of T = 1.
    Raises SoftgradError for T outside. Hinton, Vinyals, Dean 2015, arXiv 1503.02531.

    >>> from softgrad import losses
    >>> print(round(losses.compose(losses.Divergence())([[1.0, 2.0, 3.0]], [[0.1, 0.2, 0.7]]), 6))
    0.005787
    """

    T: float = 1.0

    def __post_init__(self) -> None:
        arrays.number("Divergence(T)", self.T, 1e-100, 1e100)

    shift_invariant = True
    convex = True
    likelihood = False  # a curve acts on -log of a probability
    weighs_targets = False

    def value_gradient(self, u: Pair, a: Floats, rest: Floats) -> Pair:
        T, cold = self.T, divided(u, self.T)
        p, log_p = SOFTMAX.probabilities(cold), SOFTMAX.log_probabilities(cold)
        with np.errstate(divide="ignore", invalid="ignore"):
            x = np.where(a > 0, log_p - np.log(a), 0.0)
        near = np.minimum(x, 1.0)  # beyond, exp(x) may be too large while a exp(x) = p is not
        shares = np.where(a > 0, np.where(x <= 1, a * (np.expm1(near) - near), p - a - a * x), p)
        return T * T * shares.sum(axis=1), T * SOFTMAX.value_gradient(cold, a, rest)[1]

    def hessian_product(self, u: Pair, a: Floats, rest: Floats, v: Floats) -> Floats:
        return SOFTMAX.hessian_product(divided(u, self.T), a, rest, v)

    def probabilities(self, u: Pair) -> Floats:
        return SOFTMAX.probabilities(u)

    def log_probabilities(self, u: Pair) -> Floats:
        return SOFTMAX.log_probabilities(u)


@dataclass(frozen=True)
class Teacher(AbstractTargets):
    """q = softmax(t / T): targets are a teacher's scores t (N, C), -inf for classes that cannot be.

    A teacher's probabilities are scores too, once their logarithm is taken. Labels (N,) stay labels. T > 0, default 1.
    Raises SoftgradError for NaN, +inf, rows without a finite score. Hinton, Vinyals, Dean 2015, arXiv 1503.02531.

    >>> from softgrad import losses
    >>> print(round(losses.compose(losses.Teacher(2.0))([[1.0, 2.0, 3.0]], [[1.0, 2.0, 4.0]]), 6))
    0.919319
    """

    T: float = 1.0

    def __post_init__(self) -> None:
        arrays.number("Teacher(T)", self.T, 1e-100, 1e100)

    hard = False

    def enter(self, argument: str, y: ArrayLike, n: int, n_classes: int, ignore_index: int | None) -> NDArray[Any]:
        if np.ndim(y) == 1:
            return arrays.targets(argument, y, n, n_classes, ignore_index)
        t = arrays.like_scores(argument, y, (n, n_classes))
        broken = ~np.isfinite(t.max(axis=1, initial=-np.inf))
        if broken.any():
            arrays.bad_scores(argument, int(broken.argmax()))
        return softmax(t, temperature=self.T)

    def rows(self, y: NDArray[Any], n_classes: int, omega: Floats) -> Pair:
        return HARD.rows(y, n_classes, omega)


HARD = Smoothed(0.0)
