"""Links that ask yes or no of each class by itself.

    l = sum_j a_j yes(u_j) + rest_j no(u_j),   a = omega o y,  rest = omega o (1 - y)
    gradient a o yes' + rest o no';   Hessian diag(a o yes'' + rest o no'')

With p = 1 / (1 + exp(-u)) and S(u) = log(1 + exp(u)), so that S(u) = -log(1 - p) and S(-u) = -log p, the three that are here have

    binary cross-entropy   yes = S(-u)                       no = S(u)
    focal                  yes = alpha (1 - p)^gamma S(-u)   no = (1 - alpha) p^gamma S(u)
    asymmetric             yes = (1 - p)^gamma_pos S(-u)     no = -p_m^gamma_neg log(1 - p_m),   p_m = max(p - clip, 0)
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from softgrad import arrays
from softgrad.losses.part import AbstractLink, Floats, Pair

Triple: TypeAlias = tuple[Floats, Floats, Floats]  # a function, its slope and its second derivative


def softplus(u: Floats) -> Floats:
    """Logarithm of 1 + exp(u), accurate in relative terms at both ends."""
    return np.maximum(u, 0) + np.log1p(np.exp(-np.abs(u)))


def sigmoid(u: Floats) -> Floats:
    """Probability 1 / (1 + exp(-u)), accurate in relative terms at both ends; its complement is that of -u."""
    e = np.exp(-np.abs(u))
    return np.where(u >= 0, 1.0, e) / (1 + e)


def focal(u: Floats, gamma: float) -> Triple:
    """p^gamma S(u); 0^0 = 1."""
    p, c, S = sigmoid(u), sigmoid(-u), softplus(u)
    with np.errstate(under="ignore"):
        f, cS = p**gamma, c * np.minimum(S, 1e300)  # 0 where S is infinite
        return f * S, f * (gamma * cS + p), f * (gamma * cS * (gamma * c - p) + (2 * gamma + 1) * p * c)


def clipped(u: Floats, gamma: float, clip: float) -> Triple:
    """-p_m^gamma log(1 - p_m) for p_m = p - clip > 0, else 0."""
    p, c = sigmoid(u), sigmoid(-u)
    on = p > clip
    pm, cm = np.where(on, p - clip, 0.5), np.where(on, c + clip, 0.5)  # 0.5 stands for nothing: it is masked below
    S = np.where(pm < 0.5, -np.log1p(-pm), -np.log(cm))
    with np.errstate(under="ignore", over="ignore"):
        f, f1, f2 = pm**gamma, gamma * pm ** (gamma - 1), gamma * (gamma - 1) * pm ** (gamma - 2)
        slope = f1 * S + f / cm
        bend = f2 * S + 2 * f1 / cm + f / cm**2
        p1, p2 = p * c, p * c * (c - p)
        return np.where(on, f * S, 0.0), np.where(on, slope * p1, 0.0), np.where(on, bend * p1 * p1 + slope * p2, 0.0)


def mirrored(f: Triple) -> Triple:
    """What was taken at -u, as a function of u."""
    return f[0], -f[1], f[2]


class AbstractYesNo(AbstractLink):
    """The formula at the top of this room; a subclass says what yes and no cost."""

    shift_invariant = False
    likelihood = False  # a curve would act on the product over all classes
    weighs_targets = True
    reads = "many"
    takes = "no NaN and no +inf"  # any number of classes may be impossible

    @abstractmethod
    def yes(self, x: Floats) -> Triple:
        """Cost of a true class, slope and second derivative at scores x."""

    @abstractmethod
    def no(self, x: Floats) -> Triple:
        """Cost of a class that is not true."""

    def broken(self, z: Floats) -> NDArray[np.bool_]:
        return ~np.all(z < np.inf, axis=1)

    def value_gradient(self, u: Pair, a: Floats, rest: Floats) -> Pair:
        x = u[0] + u[1]
        yes, no = self.yes(x), self.no(x)
        with np.errstate(invalid="ignore"):
            true = np.where(a > 0, a * yes[0], 0.0)  # an impossible class costs inf, and nothing where a = 0
        return (true + rest * no[0]).sum(axis=1), np.where(a > 0, a * yes[1], 0.0) + rest * no[1]

    def hessian_product(self, u: Pair, a: Floats, rest: Floats, v: Floats) -> Floats:
        x = u[0] + u[1]
        return (np.where(a > 0, a * self.yes(x)[2], 0.0) + rest * self.no(x)[2]) * v

    def probabilities(self, u: Pair) -> Floats:
        return sigmoid(u[0] + u[1])

    def log_probabilities(self, u: Pair) -> Floats:
        return -softplus(-(u[0] + u[1]))


@dataclass(frozen=True)
class Sigmoid(AbstractYesNo):
    """l = sum_j a_j S(-u_j) + rest_j S(u_j), a = omega o y, rest = omega o (1 - y): binary cross-entropy of every class.

    gradient rest o p - a o (1 - p); Hessian diag((a + rest) o p o (1 - p)): convex. Targets: rows (N, C) of values in [0, 1], or class
    numbers. Bishop 2006, section 4.3.2.

    >>> from softgrad import losses
    >>> loss = losses.compose(losses.Sigmoid())
    >>> value, gradient = loss.value_and_grad([[2.0, -1.0, 0.0]], [[1.0, 0.0, 1.0]])
    >>> print(round(value, 4), gradient.round(4))
    1.1333 [[-0.1192  0.2689 -0.5   ]]
    """

    convex = True

    def yes(self, x: Floats) -> Triple:
        return mirrored(self.no(-x))

    def no(self, x: Floats) -> Triple:
        p = sigmoid(x)
        return softplus(x), p, p * sigmoid(-x)


@dataclass(frozen=True)
class SigmoidFocal(AbstractYesNo):
    """l = sum_j alpha a_j (1 - p_j)^gamma S(-u_j) + (1 - alpha) rest_j p_j^gamma S(u_j): classes that are well told apart count less.

    slope of p^gamma S: p^gamma (gamma (1 - p) S + p); its slope: p^gamma (1 - p) (gamma S (gamma (1 - p) - p) + (2 gamma + 1) p)

    Parameters: gamma >= 0, default 2; alpha in [0, 1], default 0.25, or None for no balance, where both factors are 1. Not convex but for
    gamma = 0, which is binary cross-entropy. Raises SoftgradError out of range. Reference: Lin et al. 2017, arXiv 1708.02002.

    >>> from softgrad import losses
    >>> print(round(losses.compose(losses.SigmoidFocal())([[2.0, -1.0, 0.0]], [[1.0, 0.0, 1.0]]), 4))
    0.0608
    """

    gamma: float = 2.0
    alpha: float | None = 0.25

    def __post_init__(self) -> None:
        arrays.number("SigmoidFocal(gamma)", self.gamma, 0)
        if self.alpha is not None:
            arrays.number("SigmoidFocal(alpha)", self.alpha, 0, 1)

    @property
    def convex(self) -> bool:  # type: ignore[override] - of each object, not of the class
        return self.gamma == 0

    def yes(self, x: Floats) -> Triple:
        return self._times(1.0 if self.alpha is None else self.alpha, mirrored(focal(-x, self.gamma)))

    def no(self, x: Floats) -> Triple:
        return self._times(1.0 if self.alpha is None else 1 - self.alpha, focal(x, self.gamma))

    def _times(self, factor: float, f: Triple) -> Triple:
        return factor * f[0], factor * f[1], factor * f[2]


@dataclass(frozen=True)
class Asymmetric(AbstractYesNo):
    """l = sum_j a_j (1 - p_j)^gamma_pos S(-u_j) - rest_j q_j^gamma_neg log(1 - q_j), q = max(p - clip, 0): easy absences count little.

    slope of the latter, where p > clip:  p (1 - p) (q^g / (1 - q) - g q^(g - 1) log(1 - q)),  g = gamma_neg

    Parameters: gamma_pos >= 0, default 0; gamma_neg >= 0, default 4; clip in [0, 1), default 0.05: absences with p <= clip cost nothing.
    The factors are part of the function and of its gradient. Summed over classes, averaged over rows. Not convex but for gammas and clip
    of 0, which is binary cross-entropy. Raises SoftgradError out of range. Reference: Ridnik et al. 2021, arXiv 2009.14119.

    >>> from softgrad import losses
    >>> print(round(losses.compose(losses.Asymmetric())([[2.0, -1.0, 0.0]], [[1.0, 0.0, 1.0]]), 4))
    0.8206
    """

    gamma_pos: float = 0.0
    gamma_neg: float = 4.0
    clip: float = 0.05

    def __post_init__(self) -> None:
        arrays.number("Asymmetric(gamma_pos)", self.gamma_pos, 0)
        arrays.number("Asymmetric(gamma_neg)", self.gamma_neg, 0)
        arrays.number("Asymmetric(clip)", self.clip, 0, 1, open_high=True)

    @property
    def convex(self) -> bool:  # type: ignore[override] - of each object, not of the class
        return self.gamma_pos == self.gamma_neg == self.clip == 0

    def yes(self, x: Floats) -> Triple:
        return mirrored(focal(-x, self.gamma_pos))

    def no(self, x: Floats) -> Triple:
        return focal(x, self.gamma_neg) if self.clip == 0 else clipped(x, self.gamma_neg, self.clip)
