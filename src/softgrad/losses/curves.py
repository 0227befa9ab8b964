"""Parts that act on the row's cross-entropy: L = f(l).

    P = exp(-l), the probability of a label;  Q = 1 - P = -expm1(-l), accurate also where l is tiny
    gradient f'(l) (p - q);   Hessian f'(l) J + f''(l) (p - q)(p - q)'

f(l) of a label is convex in the scores of a softmax if and only if kappa = f' + f'' Q / P >= 0 and f' >= 0 for all l > 0, since
(p - e)' J^+ (p - e) = Q / P. For soft targets Q / P gives way to sum_j q_j^2 / p_j - 1, which outgrows 1 / P: f' >= 0 and f'' >= 0 are
asked.

For soft targets f acts on their cross-entropy. The mean of f over labels drawn from q is another loss: rows of labels with weights q_j. The
two agree where f is linear.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from softgrad import arrays
from softgrad.losses.part import AbstractCurve, Floats

LARGE = 700.0  # exp of it is finite; what is computed from min(l, LARGE) has P = 1e-304 for 0
TINY = float(np.finfo(np.float64).tiny)


@dataclass(frozen=True)
class Identity(AbstractCurve):
    """f(l) = l: cross-entropy itself."""

    linear = True

    def derivatives(self, ell: Floats) -> tuple[Floats, Floats, Floats]:
        return ell, np.ones_like(ell), np.zeros_like(ell)

    def convex(self, *, one_hot: bool) -> bool:
        return True


@dataclass(frozen=True)
class Focal(AbstractCurve):
    """Focal loss: rows that are right already count less.

    f = Q^gamma l,   f' = Q^gamma (1 + gamma b),   f'' = gamma Q^(gamma - 1) P (2 - l) + gamma (gamma - 1) Q^(gamma - 1) P b,   b = l P / Q

    gamma >= 0, default 2; 0 is cross-entropy. Not convex: kappa = Q^gamma (1 + 2 gamma - gamma l + gamma^2 b) falls below 0 where a label
    has little probability (P < .0432, .0578, .0502 for gamma = 1, 2, 5); and there f' > 1, so that such rows count more than with
    cross-entropy (gamma = 2: P < .2976, f' at most 1.2246). Not proper: `focal_posterior` gives the probabilities back.
    Raises SoftgradError for gamma < 0. Lin et al. 2017, arXiv 1708.02002.

    >>> from softgrad import losses
    >>> print(round(losses.compose(losses.Focal(2.0))([[1.0, 2.0, 3.0]], [1]), 6))
    0.802948
    """

    gamma: float = 2.0

    def __post_init__(self) -> None:
        arrays.number("Focal(gamma)", self.gamma, 0)

    linear = False

    def derivatives(self, ell: Floats) -> tuple[Floats, Floats, Floats]:
        gamma, m = self.gamma, np.minimum(ell, LARGE)
        P, Q = np.exp(-m), -np.expm1(-m)
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            b = np.where(m > 0, m / np.expm1(m), 1.0)
            # infinite at l = 0 where gamma < 1; what it multiplies, g g', vanishes faster
            steep = np.where(Q >= TINY, Q ** (gamma - 1), float(gamma == 1))
        return Q**gamma * ell, Q**gamma * (1 + gamma * b), gamma * P * steep * (2 - m + (gamma - 1) * b)

    def convex(self, *, one_hot: bool) -> bool:
        return self.gamma == 0  # kappa -> -inf as l -> inf


@dataclass(frozen=True)
class Poly1(AbstractCurve):
    """Poly-1: cross-entropy with the first term of its series in Q changed by epsilon.

    f = l + epsilon Q,   f' = 1 + epsilon P,   f'' = -epsilon P;   kappa = 1 - epsilon + 2 epsilon P

    Any epsilon, default 1 (2 for ImageNet, -1 for detection in the paper). Convex for labels if and only if |epsilon| <= 1, for soft
    targets where -1 <= epsilon <= 0. Raises SoftgradError for an epsilon that is not finite. Leng et al. 2022, arXiv 2204.12511.

    >>> from softgrad import losses
    >>> print(round(losses.compose(losses.Poly1(2.0))([[1.0, 2.0, 3.0]], [1]), 6))
    2.918149
    """

    epsilon: float = 1.0

    def __post_init__(self) -> None:
        arrays.number("Poly1(epsilon)", self.epsilon, -1e300)

    linear = False

    def derivatives(self, ell: Floats) -> tuple[Floats, Floats, Floats]:
        epsilon, P, Q = self.epsilon, np.exp(-ell), -np.expm1(-ell)
        # near epsilon = -1 both f and f' tend to 0 with l, and keep their digits
        f1 = np.where(P > 0.5, (1 + epsilon) - epsilon * Q, 1 + epsilon * P)
        return (1 + epsilon) * Q + without_first(ell), f1, -epsilon * P

    def convex(self, *, one_hot: bool) -> bool:
        return -1 <= self.epsilon <= (1 if one_hot else 0)


def without_first(ell: Floats) -> Floats:
    """l - Q = Q^2 / 2 + Q^3 / 3 + ... = l^2 / 2 - l^3 / 6 + ..., the latter summed where l is small."""
    x, series = np.minimum(ell, 0.5), np.ones_like(ell)
    for k in range(16, 2, -1):
        series = 1 - x / k * series
    return np.where(ell < 0.5, x * x / 2 * series, ell + np.expm1(-ell))


@dataclass(frozen=True)
class Generalized(AbstractCurve):
    """Generalised cross-entropy, between cross-entropy (q -> 0) and the mean absolute error (q = 1), for labels that may be wrong.

    f = (1 - P^q) / q,   f' = P^q,   f'' = -q P^q;   kappa = P^q (1 - q Q / P) < 0 where P < q / (1 + q)

    q in (0, 1], default 0.7. Never convex; at most 1/q. Raises SoftgradError for q outside. Zhang, Sabuncu 2018, arXiv 1805.07836.

    >>> from softgrad import losses
    >>> print(round(losses.compose(losses.Generalized(0.7))([[1.0, 2.0, 3.0]], [1]), 6))
    0.89526
    """

    q: float = 0.7

    def __post_init__(self) -> None:
        arrays.number("Generalized(q)", self.q, 0, 1, open_low=True)

    linear = False

    def derivatives(self, ell: Floats) -> tuple[Floats, Floats, Floats]:
        Pq = np.exp(-self.q * ell)
        return power(ell, self.q), Pq, -self.q * Pq

    def convex(self, *, one_hot: bool) -> bool:
        return False


@dataclass(frozen=True)
class Truncated(AbstractCurve):
    """Generalised cross-entropy that gives up rows whose label has a probability of at most k: their loss is constant.

    f = (1 - max(P, k)^q) / q,   f' = P^q where P > k, else 0,   f'' = -q P^q where P > k, else 0;   q = 0: f = -log max(P, k)

    k in (0, 1), default 0.5; q in [0, 1], default 0.7. Never convex: f is bent downwards at P = k, where f' is that of the constant.
    Raises SoftgradError for numbers outside. Zhang, Sabuncu 2018, arXiv 1805.07836, section 3.3.

    >>> from softgrad import losses
    >>> print(losses.compose(losses.Truncated(0.5))([[1.0, 2.0], [2.0, 1.0]], [0, 0], reduction="none").round(6))
    [0.549183 0.281294]
    """

    k: float = 0.5
    q: float = 0.7

    def __post_init__(self) -> None:
        arrays.number("Truncated(k)", self.k, 0, 1, open_low=True, open_high=True)
        arrays.number("Truncated(q)", self.q, 0, 1)

    linear = False

    def derivatives(self, ell: Floats) -> tuple[Floats, Floats, Floats]:
        end = -math.log(self.k)
        m = np.minimum(ell, end)
        Pq = np.where(ell < end, np.exp(-self.q * m), 0.0)
        return power(m, self.q), Pq, -self.q * Pq

    def convex(self, *, one_hot: bool) -> bool:
        return False


def power(ell: Floats, q: float) -> Floats:
    """L_q = (1 - P^q) / q, and its limit l for q = 0."""
    return -np.expm1(-q * ell) / q if q > 0 else ell


@dataclass(frozen=True)
class Taylor(AbstractCurve):
    """Taylor cross-entropy: the first terms of the series of -log(1 - Q), for labels that may be wrong.

    f = sum_{k=1}^order Q^k / k,   f' = 1 - Q^order = P sum_{k<order} Q^k,   f'' = -order P Q^(order - 1);   kappa = 1 - (1 + order) Q^order

    order >= 1, default 2; 1 is the mean absolute error, order -> inf cross-entropy. Never convex: kappa -> -order as P -> 0; at most
    1 + 1/2 + ... + 1/order. Raises SoftgradError for an order below 1. Feng et al. 2020, IJCAI.

    >>> from softgrad import losses
    >>> print(round(losses.compose(losses.Taylor(2))([[1.0, 2.0, 3.0]], [1]), 6))
    1.040489
    """

    order: int = 2

    def __post_init__(self) -> None:
        arrays.whole("Taylor(order)", self.order, 1)

    linear = False

    def derivatives(self, ell: Floats) -> tuple[Floats, Floats, Floats]:
        P, Q = np.exp(-ell), -np.expm1(-ell)
        f, series, Qk = np.zeros_like(ell), np.zeros_like(ell), np.ones_like(ell)
        for k in range(1, self.order + 1):
            series += Qk
            last, Qk = Qk, Qk * Q
            f += Qk / k
        return f, P * series, -self.order * P * last

    def convex(self, *, one_hot: bool) -> bool:
        return False


@dataclass(frozen=True)
class Symmetric(AbstractCurve):
    """Symmetric cross-entropy: cross-entropy of p for the label plus that of the label for p, with A for log 0.

    f = alpha l - beta A Q,   f' = alpha - beta A P,   f'' = beta A P;   kappa = alpha + beta A - 2 beta A P

    alpha >= 0, beta > 0, A < 0; defaults 0.1, 1, -4 (the paper's for CIFAR-10). Convex for labels if and only if -beta A <= alpha: it is
    alpha times Poly-1 with epsilon = -beta A / alpha. Raises SoftgradError for numbers outside. Wang et al. 2019, arXiv 1908.06112.

    >>> from softgrad import losses
    >>> print(round(losses.compose(losses.Symmetric())([[1.0, 2.0, 3.0]], [1]), 6))
    3.161847
    """

    alpha: float = 0.1
    beta: float = 1.0
    A: float = -4.0

    def __post_init__(self) -> None:
        arrays.number("Symmetric(alpha)", self.alpha, 0)
        arrays.number("Symmetric(beta)", self.beta, 0, open_low=True)
        arrays.number("Symmetric(A)", self.A, -1e300, 0, open_high=True)

    linear = False

    def derivatives(self, ell: Floats) -> tuple[Floats, Floats, Floats]:
        c = -self.beta * self.A
        tail = c * np.exp(-ell)
        return self.alpha * ell - c * np.expm1(-ell), self.alpha + tail, -tail

    def convex(self, *, one_hot: bool) -> bool:
        return one_hot and -self.beta * self.A <= self.alpha
