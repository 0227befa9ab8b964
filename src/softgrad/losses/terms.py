"""Parts that add to a row's loss what the scores alone say, whatever the label.

With d_j = u_j - u_am and s, the sum of the others' exp(d_j), as in `softmax`: lse = u_am + log1p(s); J = diag(p) - p p'.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from softgrad import arrays
from softgrad.losses.part import AbstractTerm, Floats, Pair
from softgrad.losses.softmax import Exponentials, exponentials


@dataclass(frozen=True)
class ZLoss(AbstractTerm):
    """z-loss: keeps the sum of exponentials near 1, so that scores do not drift.

    t = weight lse(u)^2,   dt/du = 2 weight lse p,   t'' v = 2 weight (p (p.v) + lse J v)

    weight >= 0, default 1e-4. u are the scores as the softmax sees them, (n, C). Not shift invariant; and not convex: where lse < 0 scores
    are pushed up (cross-entropy plus z-loss is convex where lse >= -1 / (2 weight)). Raises SoftgradError for a weight < 0.
    Chowdhery et al. 2022, arXiv 2204.02311.

    >>> from softgrad import losses
    >>> print(round(losses.compose(losses.ZLoss(0.1))([[1.0, 2.0, 3.0]], [1]), 6))
    2.568784
    """

    weight: float = 1e-4

    def __post_init__(self) -> None:
        arrays.number("ZLoss(weight)", self.weight, 0)

    shift_invariant = False
    convex = False

    @property
    def lse_squared(self) -> float:  # type: ignore[override] - of each object, not of the class
        return self.weight

    def value_gradient(self, u: Pair) -> Pair:
        x = exponentials(*u)
        lse = _logsumexp(u, x)
        return self.weight * lse[:, 0] ** 2, 2 * self.weight * lse * x.probabilities()

    def hessian_product(self, u: Pair, v: Floats) -> Floats:
        x = exponentials(*u)
        p = x.probabilities()
        along = (p * v).sum(axis=1, keepdims=True)
        return 2 * self.weight * p * (along + _logsumexp(u, x) * _centred(x, p, v))


@dataclass(frozen=True)
class ConfidencePenalty(AbstractTerm):
    """Confidence penalty: minus the entropy of the probabilities, which overconfidence makes small.

    t = -weight H,   H = -sum_j p_j log p_j
    c = log p + H,   dt/du = weight p o c,   t'' v = weight p o (w o (c + 1) - sum_j p_j w_j c_j),   w = v - p.v

    weight >= 0, default 0.1; u (n, C). Shift invariant, not convex, and neither is its sum with cross-entropy: c -> -inf as p_j -> 0.
    Raises SoftgradError for a weight < 0. Pereyra et al. 2017, arXiv 1701.06548.

    >>> from softgrad import losses
    >>> print(round(losses.compose(losses.ConfidencePenalty(0.1))([[1.0, 2.0, 3.0]], [1]), 6))
    1.324366
    """

    weight: float = 0.1

    def __post_init__(self) -> None:
        arrays.number("ConfidencePenalty(weight)", self.weight, 0)

    shift_invariant = True
    convex = False

    @property
    def log_p(self) -> float:  # type: ignore[override] - of each object, not of the class
        return self.weight

    def value_gradient(self, u: Pair) -> Pair:
        x = exponentials(*u)
        p, mean, c = self._surprise(x)
        return self.weight * (mean - np.log1p(x.s))[:, 0], self.weight * p * c

    def hessian_product(self, u: Pair, v: Floats) -> Floats:
        x = exponentials(*u)
        p, _, c = self._surprise(x)
        w = _centred(x, p, v)
        return self.weight * p * (w * (c + 1) - (p * w * c).sum(axis=1, keepdims=True))

    @staticmethod
    def _surprise(x: Exponentials) -> tuple[Floats, Floats, Floats]:
        """p, p.d and c = log p + H = d - p.d, without a difference of nearly equal numbers; d = 0 for classes that cannot be."""
        p, d = x.probabilities(), np.where(np.isfinite(x.d), x.d, 0.0)
        mean = (p * d).sum(axis=1, keepdims=True)
        return p, mean, d - mean


def _logsumexp(u: Pair, x: Exponentials) -> Floats:
    """Logarithm of the sum of exponentials (n, 1)."""
    top, lo = (np.take_along_axis(part, x.am, axis=1) for part in u)
    return top + (lo + np.log1p(x.s))


def _centred(x: Exponentials, p: Floats, v: Floats) -> Floats:
    """w = v - p.v, relative to the largest score's v, so that confident rows keep their digits."""
    w = v - np.take_along_axis(v, x.am, axis=1)
    return w - (p * w).sum(axis=1, keepdims=True)
