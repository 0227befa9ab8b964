"""How a learning rate, or a temperature, goes over a training: a function of progress t, 0 at the first step and 1 at the last."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass


class AbstractSchedule(ABC):
    """A monotone function of t in [0, 1]: a factor of the learning rate, or of the temperature."""

    @abstractmethod
    def at(self, t: float) -> float:
        """The value at progress t."""


@dataclass(frozen=True)
class Constant(AbstractSchedule):
    """value."""

    value: float = 1.0

    def at(self, t: float) -> float:
        return self.value


@dataclass(frozen=True)
class Linear(AbstractSchedule):
    """start + (end - start) t. Down to 0 it is the best known for the last iterate (Defazio et al. 2023, arXiv 2310.07831)."""

    start: float = 1.0
    end: float = 0.0

    def at(self, t: float) -> float:
        return self.start + (self.end - self.start) * t


@dataclass(frozen=True)
class Geometric(AbstractSchedule):
    """start (end / start)^t: the same factor in every step. Geometric(5, 1) as a temperature is "hot then cold", as in annealing."""

    start: float = 1.0
    end: float = 0.01

    def at(self, t: float) -> float:
        return self.start ** (1 - t) * self.end**t


@dataclass(frozen=True)
class Cosine(AbstractSchedule):
    """end + (start - end) (1 + cos(pi t)) / 2 (Loshchilov & Hutter 2017, arXiv 1608.03983)."""

    start: float = 1.0
    end: float = 0.0

    def at(self, t: float) -> float:
        return self.end + (self.start - self.end) * (1 + math.cos(math.pi * t)) / 2


STEADY, TO_ZERO = Constant(), Linear()
