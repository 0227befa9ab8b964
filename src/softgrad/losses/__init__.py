"""The softmax family of losses: one formula (`loss.py`), made of parts."""

from __future__ import annotations

from numpy.typing import ArrayLike

from softgrad import arrays
from softgrad.losses.bi_tempered import BiTempered
from softgrad.losses.composed import compose
from softgrad.losses.entmax import Entmax, entmax_alpha_slopes, entmax_probabilities
from softgrad.losses.hinge import CrammerSinger, WestonWatkins
from softgrad.losses.links_named import (
    asymmetric,
    bi_tempered,
    binary_cross_entropy,
    brier,
    crammer_singer,
    entmax,
    sigmoid_focal,
    sparsemax,
    squared_error,
    weston_watkins,
    zlpr,
)
from softgrad.losses.loss import Loss
from softgrad.losses.scores import Temperature
from softgrad.losses.sigmoid import Asymmetric, Sigmoid, SigmoidFocal
from softgrad.losses.softmax import Softmax, log_softmax, logsumexp, softmax, softmax_jacobian
from softgrad.losses.squared import Brier, SquaredError
from softgrad.losses.targets import Labels, ManyLabels, Smoothed
from softgrad.losses.weights import ManyWeights, Weights
from softgrad.losses.zlpr import ZLPR

__all__ = [
    "ZLPR", "Asymmetric", "BiTempered", "Brier", "CrammerSinger", "Entmax", "Labels", "Loss", "ManyLabels", "ManyWeights", "Sigmoid",
    "SigmoidFocal", "Smoothed", "Softmax", "SquaredError", "Temperature", "Weights", "WestonWatkins",
    "asymmetric", "bi_tempered", "binary_cross_entropy", "brier", "compose", "crammer_singer", "cross_entropy", "entmax",
    "entmax_alpha_slopes", "entmax_probabilities", "log_softmax", "logsumexp", "sigmoid_focal", "softmax", "softmax_jacobian",
    "sparsemax", "squared_error", "weston_watkins", "zlpr",
]  # fmt: skip


def cross_entropy(
    label_smoothing: float = 0.0,
    temperature: float = 1.0,
    class_weight: ArrayLike | None = None,
    ignore_index: int | None = None,
) -> Loss:
    """Softmax cross-entropy: the negative log-probability of the target, with exact gradient and Hessian product.

    L_i = -sum_j omega_j q_j log softmax(z_i / T)_j,   q = (1 - eps) onehot(y_i) + eps / C;   mean = sum_i r_i L_i / sum_i r_i omega(y_i)

    Parameters: label_smoothing eps in [0, 1]; temperature T > 0; class_weight omega (C,), at least 0; ignore_index, the label of rows that
    do not count. Relative error of loss and gradient: at most 16 eps of the type up to margins of 85 (float32) and 700 (float64); for
    soft targets, where an entry is a difference that may vanish, of its two terms.
    Returns a `Loss`: call it, or its `value_and_grad`, `hessian_product`. Raises SoftgradError for values out of range.
    Reference: Bishop 2006, section 4.3.4; Szegedy et al. 2016, arXiv 1512.00567; Hinton et al. 2015, arXiv 1503.02531.

    >>> import softgrad
    >>> loss = softgrad.losses.cross_entropy(label_smoothing=0.1)
    >>> print(round(loss([[4.0, 0.0], [0.0, 1.0]], [0, 1]), 6))
    0.290706
    """
    eps = arrays.number("cross_entropy(label_smoothing)", label_smoothing, 0, 1)
    T = arrays.number("cross_entropy(temperature)", temperature, 1e-300)  # below, 1/T is not finite
    omega = arrays.class_weight("cross_entropy(class_weight)", class_weight)
    ignored = None if ignore_index is None else arrays.whole("cross_entropy(ignore_index)", ignore_index, -(2**63))
    return compose(*(() if T == 1 else (Temperature(T),)), Smoothed(eps), Weights(omega, ignored))
