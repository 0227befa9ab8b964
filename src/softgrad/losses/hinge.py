"""Links that count how far other classes come within a margin of the true one: support vector machines of many classes.

They are convex and piecewise linear. At a kink the gradient is a sub-gradient: a class exactly at the margin counts as outside it, and of
classes that violate it equally the first is taken. The Hessian is 0 wherever it exists. Scores are not meant as probabilities.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from softgrad import arrays
from softgrad.losses.part import AbstractLink, Floats, Pair


class AbstractHinge(AbstractLink):
    """What hinges have in common: m_j = u_j - u_y + margin for the others, and no curvature."""

    margin: float
    shift_invariant = True
    convex = True
    likelihood = False
    weighs_targets = False
    reads = "labels"
    smooth = False

    def hessian_product(self, u: Pair, a: Floats, rest: Floats, v: Floats) -> Floats:
        return np.zeros_like(v)

    def _violations(self, u: Pair, a: Floats) -> Floats:
        """max(0, m_j) (n, C), 0 for the true class; a class that cannot be never violates."""
        y = a.argmax(axis=1)[:, None]
        (z, lo), (z_y, lo_y) = u, (np.take_along_axis(x, y, axis=1) for x in u)
        with np.errstate(invalid="ignore"):
            m = np.where(z > -np.inf, (z - z_y) + (lo - lo_y) + self.margin, 0.0)
        np.put_along_axis(m, y, 0.0, axis=1)
        return np.maximum(m, 0.0)


@dataclass(frozen=True)
class CrammerSinger(AbstractHinge):
    """l = max(0, max_{j != y} u_j - u_y + margin): only the strongest violation counts.

    gradient e_k - e_y for the strongest k if there is a violation, else 0; Hessian 0

    Parameters: margin > 0, default 1. Targets are class numbers (N,). Convex, not smooth: the first of equal violations is taken, and none
    at the margin exactly. Raises SoftgradError for a margin out of range, and where probabilities are asked for.
    Reference: Crammer, Singer 2001, JMLR 2, 265.

    >>> from softgrad import losses
    >>> value, gradient = losses.compose(losses.CrammerSinger()).value_and_grad([[2.2, 2.5, -3.1]], [2])
    >>> print(round(value, 6), gradient)
    6.6 [[ 0.  1. -1.]]
    """

    margin: float = 1.0

    def __post_init__(self) -> None:
        arrays.number("CrammerSinger(margin)", self.margin, 0, open_low=True)

    def value_gradient(self, u: Pair, a: Floats, rest: Floats) -> Pair:
        m = self._violations(u, a)
        worst = m.argmax(axis=1)[:, None]
        value = np.take_along_axis(m, worst, axis=1)
        pulled = np.zeros_like(a)
        np.put_along_axis(pulled, worst, 1.0, axis=1)
        return value[:, 0], np.where(value > 0, pulled - a, 0.0)


@dataclass(frozen=True)
class WestonWatkins(AbstractHinge):
    """l = sum_{j != y} max(0, u_j - u_y + margin): every violation counts, and none is divided by the number of classes.

    gradient 1 for each class in violation, -(their number) for the true one; Hessian 0

    Parameters: margin > 0, default 1. Targets are class numbers (N,). Convex, not smooth: a class at the margin exactly does not count.
    Raises SoftgradError for a margin out of range, and where probabilities are asked for.
    Reference: Weston, Watkins 1999, ESANN, 219.

    >>> from softgrad import losses
    >>> value, gradient = losses.compose(losses.WestonWatkins()).value_and_grad([[2.2, 2.5, -3.1]], [2])
    >>> print(round(value, 6), gradient)
    12.9 [[ 1.  1. -2.]]
    """

    margin: float = 1.0

    def __post_init__(self) -> None:
        arrays.number("WestonWatkins(margin)", self.margin, 0, open_low=True)

    def value_gradient(self, u: Pair, a: Floats, rest: Floats) -> Pair:
        m = self._violations(u, a)
        violated = (m > 0).astype(np.float64)
        return m.sum(axis=1), violated - a * violated.sum(axis=1, keepdims=True)
