"""Losses by their names: thin compositions of parts, each with the options of cross-entropy beside its own."""

from __future__ import annotations

from typing import Any, TypedDict, Unpack

import numpy as np
from numpy.typing import ArrayLike

from softgrad import arrays
from softgrad.losses.composed import compose
from softgrad.losses.curves import Focal, Generalized, Poly1, Symmetric, Taylor
from softgrad.losses.distilled import Divergence, Teacher
from softgrad.losses.loss import Loss
from softgrad.losses.part import Floats
from softgrad.losses.scores import Temperature
from softgrad.losses.targets import Smoothed
from softgrad.losses.weights import Weights


class Options(TypedDict, total=False):
    """What every softmax loss takes, as `cross_entropy` has it."""

    label_smoothing: float
    temperature: float
    class_weight: ArrayLike | None
    ignore_index: int | None


def options(
    call: str,
    label_smoothing: float = 0.0,
    temperature: float = 1.0,
    class_weight: ArrayLike | None = None,
    ignore_index: int | None = None,
) -> tuple[Any, ...]:
    """The parts that the options of `cross_entropy` stand for, checked."""
    eps = arrays.number(f"{call}(label_smoothing)", label_smoothing, 0, 1)
    T = arrays.number(f"{call}(temperature)", temperature, 1e-300)  # below, 1/T is not finite
    omega = arrays.class_weight(f"{call}(class_weight)", class_weight)
    ignored = None if ignore_index is None else arrays.whole(f"{call}(ignore_index)", ignore_index, -(2**63))
    return (*(() if T == 1 else (Temperature(T),)), Smoothed(eps), Weights(omega, ignored))


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
    return compose(*options("cross_entropy", label_smoothing, temperature, class_weight, ignore_index))


def focal(gamma: float = 2.0, **others: Unpack[Options]) -> Loss:
    """Focal loss: cross-entropy in which rows that are right already count less.

    L_i = omega(y_i) (1 - P)^gamma (-log P),   P = softmax(z_i / T)_{y_i}

    Parameters: gamma >= 0, default 2; others as in `cross_entropy`. Class weights stand before the curve: P is that of the plain softmax.
    Not convex, not proper: `focal_posterior` turns probabilities of a fitted model into those of the classes. Derivatives: `Focal`.
    Returns a `Loss`. Raises SoftgradError for values out of range. Reference: Lin et al. 2017, arXiv 1708.02002.

    >>> from softgrad import losses
    >>> print(round(losses.focal()([[8.0, 1, 1], [0, 9, 1], [2, 3, 5]], [0, 1, 2]), 8))
    0.00138142
    """
    return compose(Focal(gamma), *options("focal", **others))


def focal_posterior(probabilities: ArrayLike, gamma: float = 2.0) -> Floats:
    """Class probabilities from those that minimise the focal loss, which are drawn towards uniform.

    eta_j = h(p_j) / sum_k h(p_k),   h(v) = v / f'(-log v) = v / ((1 - v)^gamma - gamma (1 - v)^(gamma - 1) v log v)

    Parameters: probabilities p (..., C), at least 0; gamma >= 0 of the loss. Returns eta (..., C) in float64; classes keep their order.
    Raises SoftgradError for values out of range. Reference: Charoenphakdee et al. 2021, arXiv 2011.09172.

    >>> from softgrad import losses
    >>> losses.focal_posterior([0.48889, 0.35312, 0.15799]).round(4)
    array([0.6, 0.3, 0.1])
    """
    p = arrays.floats("focal_posterior(probabilities)", probabilities).astype(np.float64)
    if p.ndim == 0 or not ((p >= 0) & (p <= 1)).all():
        came = f"shape {p.shape}" if p.ndim == 0 else arrays.shown(p[~((p >= 0) & (p <= 1))][0])
        arrays.refuse("focal_posterior(probabilities)", "must be probabilities (..., C)", came, "pass what predict_proba gives")
    curve = Focal(arrays.number("focal_posterior(gamma)", gamma, 0))
    with np.errstate(divide="ignore"):
        f1 = curve.derivatives(-np.log(p))[1]
    least = f1.min(axis=-1, keepdims=True)  # 0 where one class has it all: the others' h is then nothing beside its
    h = p * np.divide(least, f1, out=np.ones_like(p), where=f1 > least)
    return h / h.sum(axis=-1, keepdims=True)


def poly1(epsilon: float = 1.0, **others: Unpack[Options]) -> Loss:
    """Poly-1 loss: cross-entropy with the weight of its first polynomial term changed.

    L_i = omega(y_i) (-log P + epsilon (1 - P)),   P = softmax(z_i / T)_{y_i}

    Parameters: epsilon, default 1; others as in `cross_entropy`. Convex for labels if |epsilon| <= 1. Derivatives: `Poly1`.
    Returns a `Loss`. Raises SoftgradError for values out of range. Reference: Leng et al. 2022, arXiv 2204.12511.

    >>> from softgrad import losses
    >>> print(round(losses.poly1(2.0)([[1.2, -0.8, -0.5]], [0]), 4))
    0.7587
    """
    return compose(Poly1(epsilon), *options("poly1", **others))


def generalized_cross_entropy(q: float = 0.7, **others: Unpack[Options]) -> Loss:
    """Generalised cross-entropy, for labels that may be wrong: a row costs at most 1/q.

    L_i = omega(y_i) (1 - P^q) / q,   P = softmax(z_i / T)_{y_i}

    Parameters: q in (0, 1], default 0.7; others as in `cross_entropy`. Not convex. Derivatives: `Generalized`; see `Truncated` too.
    Returns a `Loss`. Raises SoftgradError for values out of range. Reference: Zhang, Sabuncu 2018, arXiv 1805.07836.

    >>> from softgrad import losses
    >>> print(round(losses.generalized_cross_entropy()([[1.0, 2.0, 3.0]], [1]), 6))
    0.89526
    """
    return compose(Generalized(q), *options("generalized_cross_entropy", **others))


def taylor_cross_entropy(order: int = 2, **others: Unpack[Options]) -> Loss:
    """Taylor cross-entropy, for labels that may be wrong: the first terms of the series of -log P at P = 1.

    L_i = omega(y_i) sum_{k=1}^order (1 - P)^k / k,   P = softmax(z_i / T)_{y_i}

    Parameters: order >= 1, default 2; others as in `cross_entropy`. Not convex. Derivatives: `Taylor`.
    Returns a `Loss`. Raises SoftgradError for values out of range. Reference: Feng et al. 2020, IJCAI.

    >>> from softgrad import losses
    >>> print(round(losses.taylor_cross_entropy()([[1.0, 2.0, 3.0]], [1]), 6))
    1.040489
    """
    return compose(Taylor(order), *options("taylor_cross_entropy", **others))


def symmetric_cross_entropy(alpha: float = 0.1, beta: float = 1.0, A: float = -4.0, **others: Unpack[Options]) -> Loss:
    """Symmetric cross-entropy, for labels that may be wrong: of the prediction for the label, and of the label for the prediction.

    L_i = omega(y_i) (alpha (-log P) - beta A (1 - P)),   P = softmax(z_i / T)_{y_i}

    Parameters: alpha >= 0, beta > 0, A < 0 for log 0, defaults 0.1, 1, -4; others as in `cross_entropy`. Convex for labels if
    -beta A <= alpha. Derivatives: `Symmetric`. Returns a `Loss`. Raises SoftgradError for values out of range.
    Reference: Wang et al. 2019, arXiv 1908.06112.

    >>> from softgrad import losses
    >>> print(round(losses.symmetric_cross_entropy()([[1.0, 2.0, 3.0]], [1]), 6))
    3.161847
    """
    return compose(Symmetric(alpha, beta, A), *options("symmetric_cross_entropy", **others))


def distillation(temperature: float = 4.0) -> Loss:
    """Distillation: a student's softened probabilities against those of a teacher, whose scores are the targets.

    L_i = T^2 KL(softmax(t_i / T) || softmax(z_i / T));   gradient T (p - q), Hessian diag(p) - p p'

    Parameters: temperature T > 0, default 4. Targets of the calls: the teacher's scores t (N, C), or the logarithms of its probabilities.
    A mean divides by rows, not by rows x classes. Convex; 0 where the two agree; for large T the squared error of centred scores, over 2 C.
    To learn from labels too add the value and gradient of `cross_entropy`. Parts: `Divergence` and `Teacher`.
    Returns a `Loss`. Raises SoftgradError for values out of range. Reference: Hinton, Vinyals, Dean 2015, arXiv 1503.02531.

    >>> from softgrad import losses
    >>> print(round(losses.distillation(4.0)([[1.0, 2.0, 3.0]], [[1.0, 2.0, 4.0]]), 6))
    0.124105
    """
    T = arrays.number("distillation(temperature)", temperature, 1e-100, 1e100)
    return compose(Divergence(T), Teacher(T))
