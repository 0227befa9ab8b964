"""Losses of cosines by their names in the field; the parts are those of `head`, `margins` and `scores`."""

from __future__ import annotations

import math

from softgrad import arrays
from softgrad.losses.composed import compose
from softgrad.losses.head import Cosine
from softgrad.losses.loss import Loss
from softgrad.losses.margins import AngularMargin, SphereMargin
from softgrad.losses.scores import Scale


def l2_softmax(s: float) -> Loss:
    """Features on a sphere of radius s, class vectors free: L = -log softmax(s W x / |x| + s b)_y.

    Parameter: s, at least log(P (C - 2) / (1 - P)) for a probability of P to be in reach. Convex in the scores.
    Raises SoftgradError for s <= 0. Reference: Ranjan, Castillo, Chellappa 2017, arXiv 1703.09507.

    >>> from softgrad import losses
    >>> losses.l2_softmax(16.0).head
    Cosine(features=True, classes=False)
    """
    return compose(Cosine(classes=False), Scale(s))


def normface(s: float) -> Loss:
    """Cosines times s: L = -log softmax(s c)_y, at least log(1 + (C - 1) exp(-s C / (C - 1))) in the mean over balanced classes.

    Parameter: s > 0; `adacos_scale` tells one that fits C classes. Convex in the cosines. Raises SoftgradError for s <= 0.
    Reference: Wang, Xiang, Cheng, Yuille 2017, arXiv 1704.06369.

    >>> from softgrad import losses
    >>> print(round(losses.normface(16.0)([[1.0, 0.5]], [0]), 6))
    0.000335
    """
    return compose(Cosine(), Scale(s))


def a_softmax(m: int = 4, lam: float = 5.0) -> Loss:
    """SphereFace: L = -log softmax(|x| phi)_y, the label's angle m times, `SphereMargin`; features keep their length.

    Raises SoftgradError for numbers out of range. Reference: Liu et al. 2017, arXiv 1704.08063.

    >>> from softgrad import losses
    >>> losses.a_softmax().scores
    (SphereMargin(m=4, lam=5.0),)
    """
    return compose(Cosine(features=False), SphereMargin(m, lam))


def a_softmax_lambda(iteration: int) -> float:
    """The lam of `a_softmax` at an iteration of training: max(5, 1000 / (1 + 0.12 iteration)), as its authors lower it.

    >>> from softgrad import losses
    >>> losses.a_softmax_lambda(0), round(losses.a_softmax_lambda(100), 2), losses.a_softmax_lambda(10**6)
    (1000.0, 76.92, 5.0)
    """
    return max(5.0, 1000 / (1 + 0.12 * arrays.whole("a_softmax_lambda(iteration)", iteration, 0)))


def cosface(s: float = 64.0, m: float = 0.35) -> Loss:
    """The label's cosine less m: L = -log softmax(s (c - m onehot(y)))_y. Convex in the cosines.

    Raises SoftgradError for numbers out of range. Reference: Wang et al. 2018, arXiv 1801.09414.

    >>> from softgrad import losses
    >>> print(round(losses.cosface()([[0.5, 0.1]], [0]), 4))
    0.04
    """
    return combined_margin(1.0, 0.0, m, s)


def arcface(s: float = 64.0, m: float = 0.5) -> Loss:
    """The label's angle plus m radians: L = -log softmax(s c, with s cos(theta_y + m) for the label)_y; see `AngularMargin`.

    Raises SoftgradError for numbers out of range. Reference: Deng et al. 2019, arXiv 1801.07698.

    >>> from softgrad import losses
    >>> print(round(losses.arcface()([[0.5, 0.1]], [0]), 4))
    4.8973
    """
    return combined_margin(1.0, m, 0.0, s)


def combined_margin(m1: float, m2: float, m3: float, s: float = 64.0) -> Loss:
    """All margins at once, s (cos(m1 theta_y + m2) - m3) for the label: (1, 0.3, 0.2) and (0.9, 0.4, 0.15) are in use.

    Raises SoftgradError for numbers out of range. Reference: Deng et al. 2019, arXiv 1801.07698, equation 4.

    >>> from softgrad import losses
    >>> print(round(losses.combined_margin(1.0, 0.3, 0.2)([[0.5, 0.1]], [0]), 4))
    5.0153
    """
    return compose(Cosine(), AngularMargin(m1, m2, m3), Scale(s))


def adacos_scale(n_classes: int) -> float:
    """The fixed scale of AdaCos, sqrt(2) log(C - 1): half the probability at an angle of pi/4, the others at right angles.

    Parameter: C > 2. Raises SoftgradError for fewer. Reference: Zhang et al. 2019, arXiv 1905.00292.

    >>> from softgrad import losses
    >>> print(round(losses.adacos_scale(10), 3))
    3.107
    """
    return math.sqrt(2) * math.log(arrays.whole("adacos_scale(n_classes)", n_classes, 3) - 1)
