"""What stands between features and scores: z = W x + b, or cosines of angles between features and class vectors."""

from __future__ import annotations

from dataclasses import dataclass

from softgrad import arrays
from softgrad.losses.part import AbstractHead


@dataclass(frozen=True)
class Linear(AbstractHead):
    """z_j = w_j.x + b_j: the head of every loss that names no other.

    >>> from softgrad import losses
    >>> losses.cross_entropy().head == losses.Linear()
    True
    """

    linear = True
    unit_classes = False


@dataclass(frozen=True)
class Cosine(AbstractHead):
    """Scores are cosines: of features, of class vectors, or of both, only the direction counts.

    z_j = w^_j.x^,   x^ = x / |x| where features, else x;   w^_j = w_j / |w_j| where classes, else w_j

    gradients (both):  dx = (sum_j g_j w^_j - (g.z) x^) / |x|,   dw_j = g_j (x^ - z_j w^_j) / |w_j|,   g = dL/dz

    Parameters: features, classes: whether they are normalised, True by default; one of them must be. With features False, margins still
    act on the angle: u = |x| phi(z / |x|), as A-Softmax has it. There is an intercept only where classes are not normalised.
    A vector of zeros stands at right angles to all others, and gets no gradient. Acts in `softgrad.linear_value_and_grad`; a loss called
    on scores takes them as they are, and an estimator, whose head is linear, refuses it. Not convex in x and W.
    Raises SoftgradError where neither is normalised. Reference: Wang, Xiang, Cheng, Yuille 2017 (NormFace).

    >>> import softgrad
    >>> loss = softgrad.losses.compose(softgrad.losses.Cosine(), softgrad.losses.Scale(10.0))
    >>> value, dW, db = softgrad.linear_value_and_grad([[3.0, 4.0]], [0], [[6.0, 8.0], [-4.0, 3.0]], loss=loss)
    >>> print(round(value, 8), abs(dW[0]).max() < 1e-15, dW[1].round(8).tolist())
    4.54e-05 True [5.448e-05, 7.264e-05]
    """

    features: bool = True
    classes: bool = True

    linear = False

    def __post_init__(self) -> None:
        if not (self.features or self.classes):
            arrays.refuse("Cosine(features, classes)", "one of them must be normalised", "False and False", "use Linear()")

    @property
    def unit_classes(self) -> bool:  # type: ignore[override] - of each object, not of the class
        return self.classes
