"""Parts that act on scores, one by one: u = phi(z), and some of them on the label's score only."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

from softgrad import arrays
from softgrad.losses.part import AbstractScores, Floats, Pair
from softgrad.losses.softmax import divided, multiplied, two_difference


@dataclass(frozen=True)
class Temperature(AbstractScores):
    """u = z / T. High T flattens the probabilities, T -> 0 tends to argmax (Hinton, Vinyals, Dean 2015, arXiv 1503.02531).

    >>> from softgrad import losses
    >>> print(round(losses.compose(losses.Temperature(2.0))([[1.0, 2.0, 3.0]], [1]), 4))
    1.1803
    """

    T: float

    def __post_init__(self) -> None:
        arrays.number("Temperature(T)", self.T, 1e-300)  # below, 1/T is not finite

    keeps_shifts = True
    affine = True

    def affine_map(self) -> tuple[Fraction, float]:
        return 1 / Fraction(self.T), 0.0

    def forward(self, z: Pair, y: NDArray[Any]) -> Pair:
        return divided(z, self.T)

    def slope(self, z: Pair, y: NDArray[Any]) -> float:
        return 1 / self.T

    def bend(self, z: Pair, y: NDArray[Any]) -> float:
        return 0.0


@dataclass(frozen=True)
class Scale(AbstractScores):
    """Scores longer by a factor, as heads of cosines need them, which else could not tell one class from many.

    u = s z,   phi' = s,   phi'' = 0

    Parameter: s > 0. Convex. `Temperature(1 / s)` by another name and without the rounding of 1 / s.
    Raises SoftgradError for s <= 0. Reference: Wang, Xiang, Cheng, Yuille 2017 (NormFace).

    >>> from softgrad import losses
    >>> print(round(losses.compose(losses.Scale(16.0))([[1.0, 0.5, 0.0]], [0]), 6))
    0.000336
    """

    s: float

    def __post_init__(self) -> None:
        arrays.number("Scale(s)", self.s, 1e-300, 1e300)

    keeps_shifts = True
    affine = True

    def affine_map(self) -> tuple[Fraction, float]:
        return Fraction(self.s), 0.0

    def forward(self, z: Pair, y: NDArray[Any]) -> Pair:
        return multiplied(z, self.s)

    def slope(self, z: Pair, y: NDArray[Any]) -> float:
        return self.s

    def bend(self, z: Pair, y: NDArray[Any]) -> float:
        return 0.0


@dataclass(frozen=True)
class SoftCap(AbstractScores):
    """Scores held between -k and k, smoothly; -inf, a class that cannot be, stays so.

    u = k tanh(z / k),   phi' = 1 / cosh(z / k)^2,   phi'' = -2/k tanh(z / k) phi'

    Parameter: k > 0 (30 for final scores in Gemma 2). Not convex: far out the slope tends to 0.
    Raises SoftgradError for k <= 0.

    >>> from softgrad import losses
    >>> print(round(losses.compose(losses.SoftCap(30.0))([[100.0, 0.0]], [1]), 4))
    29.9237
    """

    k: float

    def __post_init__(self) -> None:
        arrays.number("SoftCap(k)", self.k, 1e-150, 1e300)  # 1/k and k^2 are finite

    keeps_shifts = False
    affine = False

    def forward(self, z: Pair, y: NDArray[Any]) -> Pair:
        possible = z[0] > -np.inf
        return np.where(possible, self.k * np.tanh(z[0] / self.k), -np.inf), np.where(possible, self.slope(z, y) * z[1], 0.0)

    def slope(self, z: Pair, y: NDArray[Any]) -> Floats:
        e = np.exp(-2 * np.abs(z[0]) / self.k)
        return 4 * e / (1 + e) ** 2  # not 1 - tanh^2, which is rounded to 0 from z = 19 k on

    def bend(self, z: Pair, y: NDArray[Any]) -> Floats:
        return -2 / self.k * np.tanh(z[0] / self.k) * self.slope(z, y)


@dataclass(frozen=True)
class PriorShift(AbstractScores):
    """Scores that know in training how frequent the classes are, so that the scores left for predicting need not: logit adjustment.

    u_j = z_j + tau log pi_j,   pi_j = n_j / sum n;   phi' = 1, phi'' = 0

    Parameters: counts n (C,), or a prior, all above 0; tau >= 0, 1 by default, where z tends to scores whose argmax has the least balanced
    error. For training only: probabilities of the loss are those of z. Convex. `adjusted_scores` does the same after training, by -tau;
    do one of the two. Raises SoftgradError for a class with count 0, which no row can have, and for another number of classes.
    Reference: Menon et al. 2021, arXiv 2007.07314; Ren et al. 2020 (balanced softmax: tau = 1), arXiv 2007.10740.

    >>> from softgrad import losses
    >>> print(round(losses.compose(losses.PriorShift((90, 10)))([[0.0, 0.0]], [1]), 4))
    2.3026
    """

    counts: tuple[float, ...]
    tau: float = 1.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "counts", arrays.positive("PriorShift(counts)", self.counts))
        arrays.number("PriorShift(tau)", self.tau, 0)

    keeps_shifts = True
    affine = True
    training_only = True

    @property
    def offsets(self) -> Floats:
        """tau log pi (C,)."""
        n = np.asarray(self.counts)
        return self.tau * np.log(n / n.sum())

    def fits(self, n_classes: int) -> None:
        _one_each("PriorShift(counts)", self.counts, n_classes)

    def affine_map(self) -> tuple[Fraction, Floats]:
        return Fraction(1), self.offsets

    def forward(self, z: Pair, y: NDArray[Any]) -> Pair:
        u, lo = two_difference(z[0], -self.offsets)
        return u, lo + z[1]

    def slope(self, z: Pair, y: NDArray[Any]) -> float:
        return 1.0

    def bend(self, z: Pair, y: NDArray[Any]) -> float:
        return 0.0


@dataclass(frozen=True)
class LabelMargin(AbstractScores):
    """The label's score is made smaller by a margin of its class, so that it has to win by that much.

    u_y = z_y - m_y,   u_j = z_j for the others;   phi' = 1, phi'' = 0

    Parameter: margins m (C,), at least 0. For training only. A row of a distribution has its margin at its largest share. Convex.
    Raises SoftgradError for a margin below 0 and for another number of classes. Reference: Cao et al. 2019 (LDAM), arXiv 1906.07413.

    >>> from softgrad import losses
    >>> print(round(losses.compose(losses.LabelMargin((0.5, 0.1)))([[1.0, 0.5]], [0]), 4))
    0.6931
    """

    margins: tuple[float, ...]

    def __post_init__(self) -> None:
        margins = arrays.class_weight("LabelMargin(margins)", self.margins)
        if not margins:
            arrays.refuse("LabelMargin(margins)", "must have a number for each class", "none", "pass shape (C,)")
        object.__setattr__(self, "margins", margins)

    keeps_shifts = True
    affine = True
    training_only = True
    by_label = True

    def fits(self, n_classes: int) -> None:
        _one_each("LabelMargin(margins)", self.margins, n_classes)

    def forward(self, z: Pair, y: NDArray[Any]) -> Pair:
        here, label = np.arange(len(z[0])), labels(y)
        m = np.zeros_like(z[0])
        m[here, label] = np.asarray(self.margins)[label]
        u, lo = two_difference(z[0], m)
        return u, lo + z[1]

    def slope(self, z: Pair, y: NDArray[Any]) -> float:
        return 1.0

    def bend(self, z: Pair, y: NDArray[Any]) -> float:
        return 0.0


def labels(y: NDArray[Any]) -> NDArray[Any]:
    """The class that a margin is for (n,): the label, or the largest share of a distribution."""
    return y if y.ndim == 1 else y.argmax(axis=1)


def _one_each(argument: str, numbers: tuple[float, ...], n_classes: int) -> None:
    if len(numbers) != n_classes:
        arrays.refuse(argument, f"must have one number for each of the {n_classes} classes", f"{len(numbers)}", "pass one for each class")
