"""Links of squares: of scores against targets, and of probabilities against targets."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from softgrad.losses.part import AbstractLink, Floats, Pair
from softgrad.losses.softmax import Softmax, exponentials


@dataclass(frozen=True)
class SquaredError(AbstractLink):
    """l = 1/2 |u - q|^2: least squares of the scores themselves against the targets.

    gradient u - q;   Hessian product v

    Targets q: class numbers, or distributions (N, C); class weights multiply the loss. Convex. Scores must be finite; they are estimates
    of q, but may be below 0 or above 1, so that probabilities are refused. Reference: Bishop 2006, section 4.1.3.

    >>> from softgrad import losses
    >>> value, gradient = losses.compose(losses.SquaredError()).value_and_grad([[0.5, 0.0, 2.0]], [2])
    >>> print(value, gradient)
    0.625 [[0.5 0.  1. ]]
    """

    shift_invariant = False
    convex = True
    likelihood = False
    weighs_targets = False
    takes = "finite numbers only"

    def spread(self, shares: Floats) -> Floats:
        return np.ones_like(shares)

    def broken(self, z: Floats) -> NDArray[np.bool_]:
        return ~np.all(np.isfinite(z), axis=1)

    def value_gradient(self, u: Pair, a: Floats, rest: Floats) -> Pair:
        e = (u[0] - a) + u[1]
        return 0.5 * (e * e).sum(axis=1), e

    def hessian_product(self, u: Pair, a: Floats, rest: Floats, v: Floats) -> Floats:
        return v


@dataclass(frozen=True)
class Brier(AbstractLink):
    """l = |p - q|^2, p the softmax of u: the square of what probabilities are off; 2 at most, whatever the scores.

    e = p - q,   gradient 2 J e = 2 p o (e - p.e),   J = diag(p) - p p'
    Hessian product 2 (t o (e - p.e) + p o (t - t.e - p.t)),   t = J v

    Targets q: class numbers, or distributions (N, C); class weights multiply the loss. Proper, but not convex: where the softmax is sure
    and wrong, p nears a corner and the gradient vanishes. Scores may be -inf. Reference: Brier 1950, Monthly Weather Review 78, 1.

    >>> from softgrad import losses
    >>> loss = losses.compose(losses.Brier())
    >>> value, gradient = loss.value_and_grad([[20.0, 0.0]], [1])
    >>> print(round(value, 6), gradient)
    2.0 [[ 8.24461444e-09 -8.24461444e-09]]
    """

    shift_invariant = True
    convex = False
    likelihood = False
    weighs_targets = False

    def value_gradient(self, u: Pair, a: Floats, rest: Floats) -> Pair:
        p, e, slope = self._errors(u, a, rest)
        return (e * e).sum(axis=1), 2 * p * slope

    def hessian_product(self, u: Pair, a: Floats, rest: Floats, v: Floats) -> Floats:
        p, e, slope = self._errors(u, a, rest)
        t = Softmax().hessian_product(u, a, rest, v)
        return 2 * (t * slope + p * (t - (t * e).sum(axis=1, keepdims=True) - (p * t).sum(axis=1, keepdims=True)))

    def probabilities(self, u: Pair) -> Floats:
        return Softmax().probabilities(u)

    def log_probabilities(self, u: Pair) -> Floats:
        return Softmax().log_probabilities(u)

    def _errors(self, u: Pair, a: Floats, rest: Floats) -> tuple[Floats, Floats, Floats]:
        """p, e and e - p.e, whose entry for the largest score is a sum of products with the small p of the others."""
        x = exponentials(*u)
        p = x.probabilities()
        e = p * rest - a * x.complements()
        w = e - np.take_along_axis(e, x.am, axis=1)
        return p, e, w - (p * w).sum(axis=1, keepdims=True)
