"""What a stochastic step makes of a gradient: it becomes, in place, the direction d of the step  W <- W - rate d.

A rule acts on every number by itself, so that gradients of many trainings lie side by side in one array and are cut wherever it suits.
It says which rate is safe, too, from what the rows' Hessian can be at most (`Reach`).
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from softgrad import arrays

Array = NDArray[Any]


class Reach(NamedTuple):
    """What a step can do at most: the Hessian of the mean loss, its part that a mini-batch sees too large by chance, score per |W|_max."""

    mean: float  # at least the largest eigenvalue of the Hessian of the whole objective
    noise: float  # largest Hessian of a single row / batch size
    score: float  # mean |x|_1 / T: how much a score changes when all coefficients change by 1 as x's signs want it


class AbstractRule(ABC):
    """A way to turn gradients into directions."""

    slots: int  # arrays like the gradient that it remembers, zero at first
    plain: bool = False  # whether the direction is the gradient

    @abstractmethod
    def turn(self, G: Array, state: tuple[Array, ...], k: int) -> None:
        """Make the gradient G the direction, in place, and update the state; k = 1, 2, ... counts the steps."""

    @abstractmethod
    def safe_rate(self, reach: Reach) -> float:
        """A rate with which training does not diverge, whatever the features' scale."""


@dataclass(frozen=True)
class Momentum(AbstractRule):
    """Heavy ball: v <- beta v + g,  d = v;  beta = 0 is plain stochastic gradient descent (Polyak 1964).

    Safe rate: 1 / (L / (1 + beta) + L_noise / (1 - beta)): half of what a quadratic allows, 2 (1 + beta) / L; and as a gradient is followed
    for 1 / (1 - beta) steps, so is the chance in it.
    """

    beta: float = 0.9

    def __post_init__(self) -> None:
        arrays.number("Momentum(beta)", self.beta, 0, 1, open_high=True)

    @property
    def slots(self) -> int:  # pyright: ignore[reportIncompatibleVariableOverride]
        return 1 if self.beta > 0 else 0

    @property
    def plain(self) -> bool:  # pyright: ignore[reportIncompatibleVariableOverride]
        return self.beta == 0

    def turn(self, G: Array, state: tuple[Array, ...], k: int) -> None:
        if self.beta > 0:
            (V,) = state
            V *= V.dtype.type(self.beta)
            V += G
            G[:] = V

    def safe_rate(self, reach: Reach) -> float:
        return 1 / max(reach.mean / (1 + self.beta) + reach.noise / (1 - self.beta), np.finfo(float).tiny)


@dataclass(frozen=True)
class Nesterov(Momentum):
    """Momentum that looks ahead: v <- beta v + g,  d = g + beta v (Sutskever et al. 2013, as torch writes it)."""

    def turn(self, G: Array, state: tuple[Array, ...], k: int) -> None:
        if self.beta > 0:
            (V,) = state
            V *= V.dtype.type(self.beta)
            V += G
            G += V.dtype.type(self.beta) * V


@dataclass(frozen=True)
class Adam(AbstractRule):
    """Adaptive rates: m <- beta1 m + (1 - beta1) g,  s <- beta2 s + (1 - beta2) g^2,  d = m^ / (sqrt(s^) + eps).

    m^ = m / (1 - beta1^k) and s^ = s / (1 - beta2^k) (Kingma & Ba 2015, arXiv 1412.6980). A step moves every coefficient by about the
    rate, whatever the gradient's size. Safe rate: a step changes a score by 1 at most, on average over the rows.
    """

    beta1: float = 0.9
    beta2: float = 0.999
    eps: float = 1e-8

    slots = 2

    def __post_init__(self) -> None:
        arrays.number("Adam(beta1)", self.beta1, 0, 1, open_high=True)
        arrays.number("Adam(beta2)", self.beta2, 0, 1, open_high=True)
        arrays.number("Adam(eps)", self.eps, 0, open_low=True)

    def turn(self, G: Array, state: tuple[Array, ...], k: int) -> None:
        (m, s), number = state, G.dtype.type
        m *= number(self.beta1)
        m += number(1 - self.beta1) * G
        s *= number(self.beta2)
        np.square(G, out=G)
        G *= number(1 - self.beta2)
        s += G
        np.sqrt(s, out=G)
        G *= number(1 / math.sqrt(1 - self.beta2**k))
        G += number(self.eps)
        np.divide(m, G, out=G)
        G *= number(1 / (1 - self.beta1**k))

    def safe_rate(self, reach: Reach) -> float:
        return 1 / max(reach.score, np.finfo(float).tiny)
