"""Parts that act on scores, one by one."""

from __future__ import annotations

from dataclasses import dataclass

from softgrad.losses.loss import AbstractScores, Pair
from softgrad.losses.softmax import divided


@dataclass(frozen=True)
class Temperature(AbstractScores):
    """u = z / T. High T flattens the probabilities, T -> 0 tends to argmax (Hinton, Vinyals, Dean 2015, arXiv 1503.02531)."""

    T: float

    keeps_shifts = True

    def forward(self, z: Pair) -> Pair:
        return divided(z, self.T)

    def slope(self, z: Pair) -> float:
        return 1 / self.T

    def bend(self, z: Pair) -> float:
        return 0.0
