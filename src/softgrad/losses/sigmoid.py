"""Links that ask yes or no of each class by itself."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from softgrad.losses.part import AbstractLink, Floats, Pair


def softplus(u: Floats) -> Floats:
    """Logarithm of 1 + exp(u), accurate in relative terms at both ends."""
    return np.maximum(u, 0) + np.log1p(np.exp(-np.abs(u)))


def sigmoid(u: Floats) -> Floats:
    """Probability 1 / (1 + exp(-u)), accurate in relative terms at both ends; its complement is that of -u."""
    e = np.exp(-np.abs(u))
    return np.where(u >= 0, 1.0, e) / (1 + e)


@dataclass(frozen=True)
class Sigmoid(AbstractLink):
    """l = sum_j a_j softplus(-u_j) + rest_j softplus(u_j), a = omega o y, rest = omega o (1 - y): binary cross-entropy of every class.

    gradient rest o sigma(u) - a o sigma(-u); Hessian diag((a + rest) o sigma(u) o sigma(-u)): convex. Bishop 2006, section 4.3.2.
    """

    shift_invariant = False
    convex = True
    likelihood = False  # a curve would act on the product over all classes
    weighs_targets = True
    reads = "many"

    def broken(self, z: Floats) -> NDArray[np.bool_]:
        return ~np.all(z < np.inf, axis=1)  # NaN, +inf; any number of classes may be impossible

    def value_gradient(self, u: Pair, a: Floats, rest: Floats) -> Pair:
        x = u[0] + u[1]
        with np.errstate(invalid="ignore"):
            yes = np.where(a > 0, a * softplus(-x), 0.0)  # an impossible class has softplus inf, and costs nothing where a = 0
        return (yes + rest * softplus(x)).sum(axis=1), rest * sigmoid(x) - a * sigmoid(-x)

    def hessian_product(self, u: Pair, a: Floats, rest: Floats, v: Floats) -> Floats:
        x = u[0] + u[1]
        return (a + rest) * sigmoid(x) * sigmoid(-x) * v

    def probabilities(self, u: Pair) -> Floats:
        return sigmoid(u[0] + u[1])

    def log_probabilities(self, u: Pair) -> Floats:
        return -softplus(-(u[0] + u[1]))
