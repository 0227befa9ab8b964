"""Hard-example mining: a rule chooses rows of a batch by their losses. What it chose is held fixed in derivatives.

    value = sum_i v_i r_i L_i / sum_i v_i r_i omega(i),   v = rule(L_1, ..., L_n),   L_i without sample weights

The batch is what one call is given: all rows of a call of the loss and of `linear_value_and_grad`, each mini-batch of an `SGD`. Of equal
losses the earlier row is the harder one. Rows of weight 0 and ignored ones take no part.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from softgrad import arrays
from softgrad.losses.part import AbstractMining, Floats


@dataclass(frozen=True)
class TopK(AbstractMining):
    """Average top-k loss: only the k rows with the largest losses count; all, if there are fewer.

    v_i = 1 for the k largest L_i, else 0. A convex loss stays convex: it is the largest mean of any k rows, for rows of equal weights.
    k >= 1. Raises SoftgradError for a k below. Fan et al. 2017, arXiv 1705.08826.

    >>> from softgrad import losses
    >>> loss = losses.compose(losses.TopK(1))
    >>> print(round(loss([[2.0, 1.0], [1.0, 2.0]], [0, 0]), 6))
    1.313262
    """

    k: int

    def __post_init__(self) -> None:
        arrays.whole("TopK(k)", self.k, 1)

    def weights(self, losses: Floats) -> Floats:
        return hardest(losses, self.k)


@dataclass(frozen=True)
class OHEM(AbstractMining):
    """Online hard-example mining: the hardest share of the rows counts, and every row above a threshold.

    v_i = 1 for the max(at_least, ceil(share n)) largest of n losses, and where exp(-L_i) <= threshold, else 0

    share in [0, 1], default 0.25; at_least >= 1 row, default 1; threshold in [0, 1], default 0 (none): for cross-entropy of labels exp(-L)
    is the label's probability, so that share = 0, threshold = 0.7, at_least = 100000 is the rule usual in segmentation.
    Raises SoftgradError for numbers outside. Shrivastava et al. 2016, arXiv 1604.03540.

    >>> from softgrad import losses
    >>> loss = losses.compose(losses.OHEM(share=0.5))
    >>> print(loss([[2.0, 1.0], [1.0, 2.0]], [0, 0], reduction="none").round(6))
    [0.       1.313262]
    """

    share: float = 0.25
    at_least: int = 1
    threshold: float = 0.0

    def __post_init__(self) -> None:
        arrays.number("OHEM(share)", self.share, 0, 1)
        arrays.whole("OHEM(at_least)", self.at_least, 1)
        arrays.number("OHEM(threshold)", self.threshold, 0, 1)

    def weights(self, losses: Floats) -> Floats:
        v = hardest(losses, max(self.at_least, math.ceil(self.share * len(losses))))
        if self.threshold > 0:
            v[losses >= -math.log(self.threshold)] = 1.0
        return v


@dataclass(frozen=True)
class SelfPaced(AbstractMining):
    """Self-paced learning, the opposite: rows that are still too hard do not count.

    v_i = 1 where L_i < threshold, else 0

    threshold > 0 is raised from fit to fit, until all rows are in. Where no row is below it, value and gradient are 0.
    Raises SoftgradError for a threshold of 0 or below. Kumar, Packer, Koller 2010, NIPS.

    >>> from softgrad import losses
    >>> print(losses.compose(losses.SelfPaced(1.0))([[2.0, 1.0], [1.0, 2.0]], [0, 0], reduction="none").round(6))
    [0.313262 0.      ]
    """

    threshold: float

    def __post_init__(self) -> None:
        arrays.number("SelfPaced(threshold)", self.threshold, 0, open_low=True)

    def weights(self, losses: Floats) -> Floats:
        return (losses < self.threshold).astype(np.float64)


@dataclass(frozen=True)
class SoftSelfPaced(AbstractMining):
    """Self-paced learning whose weights fall with the loss.

    v_i = max(0, 1 - L_i / threshold)

    threshold > 0, as in `SelfPaced`. The weights minimise sum_i v_i L_i + threshold (v_i^2 / 2 - v_i) over v in [0, 1].
    Raises SoftgradError for a threshold of 0 or below. Jiang et al. 2014, doi 10.1145/2647868.2654918.

    >>> from softgrad import losses
    >>> print(round(losses.compose(losses.SoftSelfPaced(2.0))([[2.0, 1.0], [1.0, 2.0]], [0, 0]), 6))
    0.6026
    """

    threshold: float

    def __post_init__(self) -> None:
        arrays.number("SoftSelfPaced(threshold)", self.threshold, 0, open_low=True)

    def weights(self, losses: Floats) -> Floats:
        return np.maximum(0.0, 1 - losses / self.threshold)


def hardest(losses: Floats, k: int) -> Floats:
    """1 for the k largest, the earlier one of equal ones; else 0."""
    v = np.zeros(len(losses))
    v[np.argsort(-losses, kind="stable")[:k]] = 1.0
    return v
