"""Losses with another link than softmax's, by the names that they go by.

Those of one class for each row take class_weight (C,), at least 0, and ignore_index, the label of rows that do not count, as
`cross_entropy` has them.
"""

from __future__ import annotations

from numpy.typing import ArrayLike

from softgrad import arrays
from softgrad.losses.composed import compose
from softgrad.losses.hinge import CrammerSinger, WestonWatkins
from softgrad.losses.loss import Loss
from softgrad.losses.sigmoid import AbstractYesNo, Asymmetric, Sigmoid, SigmoidFocal
from softgrad.losses.squared import Brier, SquaredError
from softgrad.losses.tsallis import Entmax
from softgrad.losses.two_temperatures import BiTempered
from softgrad.losses.weights import ManyWeights, Weights
from softgrad.losses.zero_bounded import ZLPR


def entmax(alpha: float = 1.5, class_weight: ArrayLike | None = None, ignore_index: int | None = None) -> Loss:
    """The Fenchel-Young loss of entmax, whose probabilities are exactly 0 for far classes: see `Entmax`.

    >>> from softgrad import losses
    >>> losses.entmax(1.5)([[3.0, 1.0, 0.5]], [0])
    0.0
    """
    return compose(Entmax(alpha), _weights("entmax", class_weight, ignore_index))


def sparsemax(class_weight: ArrayLike | None = None, ignore_index: int | None = None) -> Loss:
    """Entmax with alpha = 2: the projection onto the simplex (Martins & Astudillo 2016, arXiv 1602.02068).

    >>> from softgrad import losses
    >>> losses.sparsemax()([[0.5, 0.0, -2.0]], [0])
    0.0625
    """
    return compose(Entmax(2.0), _weights("sparsemax", class_weight, ignore_index))


def binary_cross_entropy(class_weight: ArrayLike | None = None) -> Loss:
    """Binary cross-entropy of every class, summed over classes and averaged over rows: see `Sigmoid`. class_weight (C,), at least 0.

    >>> from softgrad import losses
    >>> print(round(losses.binary_cross_entropy()([[2.0, -1.0, 0.0]], [[1, 0, 1]]), 4))
    1.1333
    """
    return _many("binary_cross_entropy", Sigmoid(), class_weight)


def asymmetric(gamma_pos: float = 0.0, gamma_neg: float = 4.0, clip: float = 0.05, class_weight: ArrayLike | None = None) -> Loss:
    """The asymmetric loss of many labels: see `Asymmetric`. class_weight (C,), at least 0.

    >>> from softgrad import losses
    >>> print(round(losses.asymmetric()([[2.0, -1.0, 0.0]], [[1, 0, 1]]), 4))
    0.8206
    """
    return _many("asymmetric", Asymmetric(gamma_pos, gamma_neg, clip), class_weight)


def sigmoid_focal(gamma: float = 2.0, alpha: float | None = 0.25, class_weight: ArrayLike | None = None) -> Loss:
    """The focal loss of yes and no for each class: see `SigmoidFocal`. class_weight (C,), at least 0.

    >>> from softgrad import losses
    >>> print(round(losses.sigmoid_focal()([[2.0, -1.0, 0.0]], [[1, 0, 1]]), 4))
    0.0608
    """
    return _many("sigmoid_focal", SigmoidFocal(gamma, alpha), class_weight)


def zlpr() -> Loss:
    """Zero-bounded log-sum-exp and pairwise ranking, for many labels at once: see `ZLPR`.

    >>> from softgrad import losses
    >>> print(round(losses.zlpr()([[0.0, 0.0, 0.0]], [[1, 0, 0]]), 4))
    1.7918
    """
    return compose(ZLPR())


def crammer_singer(margin: float = 1.0, class_weight: ArrayLike | None = None, ignore_index: int | None = None) -> Loss:
    """The hinge loss of the strongest violation: see `CrammerSinger`.

    >>> from softgrad import losses
    >>> print(round(losses.crammer_singer()([[2.2, 2.5, -3.1]], [2]), 6))
    6.6
    """
    return compose(CrammerSinger(margin), _weights("crammer_singer", class_weight, ignore_index))


def weston_watkins(margin: float = 1.0, class_weight: ArrayLike | None = None, ignore_index: int | None = None) -> Loss:
    """The hinge loss of all violations: see `WestonWatkins`.

    >>> from softgrad import losses
    >>> print(round(losses.weston_watkins()([[2.2, 2.5, -3.1]], [2]), 6))
    12.9
    """
    return compose(WestonWatkins(margin), _weights("weston_watkins", class_weight, ignore_index))


def squared_error(class_weight: ArrayLike | None = None, ignore_index: int | None = None) -> Loss:
    """Half the squared distance of scores and targets: see `SquaredError`.

    >>> from softgrad import losses
    >>> losses.squared_error()([[0.5, 0.0, 2.0]], [2])
    0.625
    """
    return compose(SquaredError(), _weights("squared_error", class_weight, ignore_index))


def brier(class_weight: ArrayLike | None = None, ignore_index: int | None = None) -> Loss:
    """The squared distance of probabilities and targets: see `Brier`.

    >>> from softgrad import losses
    >>> losses.brier()([[0.0, 0.0]], [1])
    0.5
    """
    return compose(Brier(), _weights("brier", class_weight, ignore_index))


def bi_tempered(t1: float = 0.8, t2: float = 1.2, class_weight: ArrayLike | None = None, ignore_index: int | None = None) -> Loss:
    """The bi-tempered logistic loss: see `BiTempered`; smoothing by `compose(BiTempered(t1, t2), Smoothed(0.1))`.

    >>> from softgrad import losses
    >>> print(round(losses.bi_tempered(0.8, 1.2)([[1.0, 2.0, 3.0]], [1]), 4))
    1.0333
    """
    return compose(BiTempered(t1, t2), _weights("bi_tempered", class_weight, ignore_index))


def _weights(call: str, class_weight: ArrayLike | None, ignore_index: int | None) -> Weights:
    ignored = None if ignore_index is None else arrays.whole(f"{call}(ignore_index)", ignore_index, -(2**63))
    return Weights(arrays.class_weight(f"{call}(class_weight)", class_weight), ignored)


def _many(call: str, link: AbstractYesNo, class_weight: ArrayLike | None) -> Loss:
    return compose(link, ManyWeights(arrays.class_weight(f"{call}(class_weight)", class_weight)))
