"""Who counts how much: sample weights, class weights, ignored rows. The only place that divides."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from softgrad import arrays
from softgrad.losses.part import AbstractWeights, Floats

ONE = np.ones(1)
ONE.flags.writeable = False


def ones(n: int) -> Floats:
    """The weights of rows that all count once: one number, n times, so that neither making nor adding them takes a pass over memory."""
    return np.ndarray((n,), np.float64, ONE, strides=(0,))


def are_ones(r: Floats) -> bool:
    """Whether r was made by `ones`, or is a slice of that."""
    return r.base is ONE


@dataclass(frozen=True)
class Weights(AbstractWeights):
    """Row i counts r_i omega(y_i), or r_i sum_j omega_j q_ij for a distribution; ignored rows count 0.

    With label smoothing on hard labels a row still counts omega(y_i), as in torch. Where no row counts, the mean is 0, not NaN.
    """

    class_weight: tuple[float, ...] | None = None
    ignore_index: int | None = None

    def omega(self, n_classes: int) -> Floats:
        if self.class_weight is None:
            return np.ones(n_classes)
        if len(self.class_weight) != n_classes:
            came, rule = f"{len(self.class_weight)} weights", f"must have one weight for each of the {n_classes} classes"
            arrays.refuse("cross_entropy(class_weight)", rule, came, "pass one number for each class")
        return np.asarray(self.class_weight)

    def rows(self, y: NDArray[Any], sample_weight: Floats | None) -> Floats:
        r = ones(len(y)) if sample_weight is None else sample_weight
        return np.where(y < 0, 0.0, r) if y.ndim == 1 and self.ignore_index is not None else r

    def shares(self, y: NDArray[Any], n_classes: int) -> Floats:
        omega = self.omega(n_classes)
        return omega[y] if y.ndim == 1 else y @ omega

    def total(self, y: NDArray[Any], r: Floats, n_classes: int) -> float:
        if y.ndim == 2:
            return float((r * self.shares(y, n_classes)).sum())
        if self.class_weight is None:
            return float(len(r)) if are_ones(r) else float(r.sum())
        counted = y >= 0
        return float((r[counted] * self.shares(y[counted], n_classes)).sum())

    def share(self, total: float) -> float:
        return 1 / total if total > 0 else 0.0


@dataclass(frozen=True)
class ManyWeights(Weights):
    """Class j's own yes or no counts omega_j; row i counts r_i, however many of its classes are true."""

    many = True

    def shares(self, y: NDArray[Any], n_classes: int) -> Floats:
        return ones(len(y))
