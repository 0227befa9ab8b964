"""Who counts how much: sample weights, class weights, ignored rows. The only place that divides."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

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

    >>> from softgrad import losses
    >>> loss = losses.compose(losses.Weights((3.0, 1.0), ignore_index=-1))
    >>> print(round(loss([[0.0, 1.0], [0.0, 1.0], [5.0, 0.0]], [0, 1, -1]), 4))
    1.0633
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
        return omega[y] if y.ndim == 1 else np.einsum("ij,j->i", y, omega)  # y @ omega has bits that depend on n

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
    """Class j's own yes or no counts omega_j; row i counts r_i, however many of its classes are true.

    >>> from softgrad import losses
    >>> loss = losses.compose(losses.Sigmoid(), losses.ManyWeights((3.0, 1.0)))
    >>> print(round(loss([[0.0, 0.0]], [[1, 1]]), 4))
    2.7726
    """

    many = True

    def shares(self, y: NDArray[Any], n_classes: int) -> Floats:
        return ones(len(y))


def effective_number_weights(counts: ArrayLike, beta: float = 0.9999) -> Floats:
    """Class weights by the effective number of rows: the n-th row of a class adds beta^(n-1) to what is known of it.

    E_j = (1 - beta^n_j) / (1 - beta),   w_j = C (1 / E_j) / sum_k (1 / E_k), so that they sum to C

    Parameters: counts n_j > 0, rows of each class (C,), any integer or float type; beta in [0, 1]: 0 gives ones, 1 weights inversely
    proportional to the counts; default 0.9999. Returns (C,) float64, for `class_weight`. No power is formed, so that none underflows.
    Raises SoftgradError for counts or beta outside. Reference: Cui et al. 2019, arXiv 1901.05555.

    >>> from softgrad import losses
    >>> losses.effective_number_weights([5000, 500, 50], beta=0.999).round(4)
    array([0.1256, 0.317 , 2.5574])
    """
    call = "effective_number_weights"
    n, beta = arrays.floats(f"{call}(counts)", counts).astype(np.float64), arrays.number(f"{call}(beta)", beta, 0, 1)
    if n.ndim != 1 or n.size == 0 or not (np.isfinite(n) & (n > 0)).all():
        rule = "must be one number above 0 for each class"
        arrays.refuse(f"{call}(counts)", rule, arrays.shown(n.tolist()), "leave empty classes out")
    with np.errstate(divide="ignore"):
        E = n if beta == 1 else -np.expm1(n * np.log(beta))  # times 1 / (1 - beta), which cancels
    w = E.min() / E
    return w * (len(n) / w.sum())
