"""A link for many labels at once that compares every true class with every other: no class is asked by itself."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from softgrad.losses.part import AbstractLink, Floats, Pair
from softgrad.losses.sigmoid import sigmoid, softplus
from softgrad.losses.softmax import Exponentials, exponentials


@dataclass(frozen=True)
class ZLPR(AbstractLink):
    """l = log(1 + sum_j rest_j exp(u_j)) + log(1 + sum_j a_j exp(-u_j)): absent classes are pushed below 0, true ones above.

    P_j = rest_j exp(u_j) / (1 + sum rest exp(u)),   Q_j = a_j exp(-u_j) / (1 + sum a exp(-u))
    gradient P - Q;   Hessian diag(P) - P P' + diag(Q) - Q Q'

    Each sum is that of a softmax with a further score 0, which is the threshold: a class is true where its score is above 0.
    a = omega o y, rest = omega o (1 - y): a class of weight 2 counts as two classes, and values of y between 0 and 1 as shares of a
    class. Targets: rows (N, C) of values in [0, 1], or class numbers. Convex. Scores must be finite. Its probabilities say no more than
    the sign of the score: P(j) = sigma(u_j). Reference: Su et al. 2022, arXiv 2208.02955.

    >>> from softgrad import losses
    >>> value, gradient = losses.compose(losses.ZLPR()).value_and_grad([[0.0, 0.0, 0.0]], [[1.0, 0.0, 0.0]])
    >>> print(round(value, 4), gradient.round(4))  # log 3 + log 2
    1.7918 [[-0.5     0.3333  0.3333]]
    """

    shift_invariant = False
    convex = True
    likelihood = False
    weighs_targets = True
    reads = "many"
    takes = "finite numbers only"

    def broken(self, z: Floats) -> NDArray[np.bool_]:
        return ~np.all(np.isfinite(z), axis=1)

    def value_gradient(self, u: Pair, a: Floats, rest: Floats) -> Pair:
        above, below = self._sums(u, a, rest)
        value = (np.log1p(above.s) - above.d[:, :1]) + (np.log1p(below.s) - below.d[:, :1])
        return value[:, 0], above.probabilities()[:, 1:] - below.probabilities()[:, 1:]

    def hessian_product(self, u: Pair, a: Floats, rest: Floats, v: Floats) -> Floats:
        P, Q = (x.probabilities()[:, 1:] for x in self._sums(u, a, rest))
        return P * (v - (P * v).sum(axis=1, keepdims=True)) + Q * (v - (Q * v).sum(axis=1, keepdims=True))

    def probabilities(self, u: Pair) -> Floats:
        return sigmoid(u[0] + u[1])

    def log_probabilities(self, u: Pair) -> Floats:
        return -softplus(-(u[0] + u[1]))

    def _sums(self, u: Pair, a: Floats, rest: Floats) -> tuple[Exponentials, Exponentials]:
        """Softmax of (0, u + log rest) and of (0, -u + log a)."""
        return _beside_zero(u, rest), _beside_zero((-u[0], -u[1]), a)


def _beside_zero(u: Pair, weight: Floats) -> Exponentials:
    with np.errstate(divide="ignore"):
        x = np.insert(u[0] + np.log(weight), 0, 0.0, axis=1)
    return exponentials(x, np.insert(u[1], 0, 0.0, axis=1))
