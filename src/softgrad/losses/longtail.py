"""Losses for classes of very different size, by their names in the field; the parts are those of `scores`."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from softgrad import arrays
from softgrad.losses.composed import compose
from softgrad.losses.head import Cosine
from softgrad.losses.loss import Loss
from softgrad.losses.part import AbstractHead
from softgrad.losses.scores import LabelMargin, PriorShift, Scale


def logit_adjusted(counts: ArrayLike, tau: float = 1.0) -> Loss:
    """Cross-entropy of scores shifted by the classes' frequencies in training: the least balanced error, not the least error.

    L = -log softmax(z + tau log pi)_y,   pi_j = n_j / sum n

    Parameters: counts n (C,) of the training rows, or a prior, all above 0; tau >= 0. Predict by the scores as they are. Convex.
    Raises SoftgradError for counts of 0. Reference: Menon et al. 2021, arXiv 2007.07314.

    >>> from softgrad import losses
    >>> print(round(losses.logit_adjusted([90, 10])([[1.0, 1.0]], [1]), 4))
    2.3026
    """
    return compose(PriorShift(counts, tau))  # type: ignore[arg-type] - the part makes a tuple of it


def balanced_softmax(counts: ArrayLike) -> Loss:
    """`logit_adjusted` with tau = 1: L = -log(n_y exp(z_y) / sum_j n_j exp(z_j)). Reference: Ren et al. 2020, arXiv 2007.10740.

    >>> from softgrad import losses
    >>> print(round(losses.balanced_softmax([3, 1])([[0.0, 0.0]], [0]), 4))
    0.2877
    """
    return logit_adjusted(counts, 1.0)


def ldam(counts: ArrayLike, max_margin: float = 0.5, s: float = 30.0, head: AbstractHead | None = None) -> Loss:
    """Label-distribution-aware margin: rare classes have to win by more.

    L = -log softmax(s (c - m_y onehot(y)))_y,   m_j = max_margin n_j^(-1/4) / max_k n_k^(-1/4),   c cosines

    Parameters: counts n (C,), all above 0; max_margin >= 0 of the rarest class; scale s > 0; head, `Cosine()` as in the paper, or
    `Linear()`, with which `SoftmaxClassifier` can train it. Convex in c. Raises SoftgradError for counts of 0.
    Reference: Cao et al. 2019, arXiv 1906.07413.

    >>> from softgrad import losses
    >>> [round(m, 4) for m in losses.ldam([5000, 50]).scores[0].margins]
    [0.1581, 0.5]
    """
    n = np.array(arrays.positive("ldam(counts)", counts))
    largest = arrays.number("ldam(max_margin)", max_margin, 0)
    return compose(LabelMargin(tuple((largest * (n.min() / n) ** 0.25).tolist())), Scale(s), Cosine() if head is None else head)


def adjusted_scores(scores: ArrayLike, counts: ArrayLike, tau: float = 1.0) -> NDArray[Any]:
    """Logit adjustment after training: scores, or log-probabilities, of a model trained without it, for predicting rare classes as well.

    z_j - tau log pi_j,   pi_j = n_j / sum n

    Parameters: scores (N, C); counts n (C,) of the training rows, or a prior, all above 0; tau >= 0. Returns (N, C) in the scores' type.
    Not for models trained with `logit_adjusted`, whose scores are so already. Raises SoftgradError for counts of 0, or of other classes.
    Reference: Menon et al. 2021, arXiv 2007.07314.

    >>> from softgrad import losses
    >>> losses.adjusted_scores([[0.0, -1.0]], [90, 10]).argmax(axis=1)
    array([1])
    """
    z, shift = arrays.scores("adjusted_scores(scores)", scores), PriorShift(counts, tau)  # type: ignore[arg-type]
    shift.fits(z.shape[1])
    return (z - shift.offsets).astype(z.dtype)
