"""The softmax family of losses: one formula (`loss.py`), made of parts."""

from __future__ import annotations

from numpy.typing import ArrayLike

from softgrad import arrays
from softgrad.losses.angular import (
    a_softmax,
    a_softmax_lambda,
    adacos_scale,
    arcface,
    combined_margin,
    cosface,
    l2_softmax,
    normface,
)
from softgrad.losses.composed import compose
from softgrad.losses.head import Cosine, Linear
from softgrad.losses.longtail import adjusted_scores, balanced_softmax, ldam, logit_adjusted
from softgrad.losses.loss import Loss
from softgrad.losses.margins import AngularMargin, SphereMargin
from softgrad.losses.sampled import SampledGradient, sampled_softmax
from softgrad.losses.scores import LabelMargin, PriorShift, Scale, SoftCap, Temperature
from softgrad.losses.sigmoid import Sigmoid
from softgrad.losses.softmax import Softmax, log_softmax, logsumexp, softmax, softmax_jacobian
from softgrad.losses.targets import Labels, ManyLabels, Smoothed
from softgrad.losses.weights import ManyWeights, Weights

__all__ = [
    "AngularMargin", "Cosine", "LabelMargin", "Labels", "Linear", "Loss", "ManyLabels", "ManyWeights", "PriorShift",
    "SampledGradient", "Scale", "Sigmoid", "Smoothed", "SoftCap", "Softmax", "SphereMargin", "Temperature", "Weights",
    "a_softmax", "a_softmax_lambda", "adacos_scale", "adjusted_scores", "arcface", "balanced_softmax", "combined_margin", "compose",
    "cosface", "cross_entropy", "l2_softmax", "ldam", "log_softmax", "logit_adjusted", "logsumexp", "normface", "sampled_softmax",
    "softmax", "softmax_jacobian",
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
