"""Parts that act on scores, one by one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from softgrad import arrays
from softgrad.losses.part import AbstractScores, Pair
from softgrad.losses.softmax import divided


@dataclass(frozen=True)
class Temperature(AbstractScores):
    """u = z / T. High T flattens the probabilities, T -> 0 tends to argmax (Hinton, Vinyals, Dean 2015, arXiv 1503.02531)."""

    T: float

    def __post_init__(self) -> None:
        arrays.number("Temperature(T)", self.T, 1e-300)  # below, 1/T is not finite

    keeps_shifts = True
    affine = True

    def forward(self, z: Pair, y: NDArray[Any]) -> Pair:
        return divided(z, self.T)

    def slope(self, z: Pair, y: NDArray[Any]) -> float:
        return 1 / self.T

    def bend(self, z: Pair, y: NDArray[Any]) -> float:
        return 0.0
