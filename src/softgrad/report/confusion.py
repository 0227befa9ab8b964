"""Which class is taken for which: counts, accuracy, recall, precision, and the pairs that are confused most.

Conventions: K classes; counts (K, K), row = true class, column = predicted class; a share is a part of the row's sum.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from softgrad.arrays import SoftgradError


@dataclass(frozen=True)
class Pair:
    """Rows of class `true` that were taken for `predicted`: how many, and their share of all rows of class `true`."""

    true: str
    predicted: str
    count: int
    share: float


@dataclass(frozen=True)
class Confusion:
    """Counts of (true, predicted) pairs, and what follows from them.

    counts (K, K) int64, classes K names. Shares of nothing (a class without rows, or never predicted) are NaN.

    >>> table = Confusion(np.array([[3, 1], [0, 4]]), ("cat", "dog"))
    >>> table.accuracy, table.recall.tolist(), table.worst()
    (0.875, [0.75, 1.0], [Pair(true='cat', predicted='dog', count=1, share=0.25)])
    """

    counts: np.ndarray
    classes: tuple[str, ...]

    @property
    def rows(self) -> int:
        """Number of rows counted."""
        return int(self.counts.sum())

    @property
    def accuracy(self) -> float:
        """Share of the rows that were predicted right: trace / sum."""
        return float(_share(np.trace(self.counts), self.counts.sum()))

    @property
    def shares(self) -> np.ndarray:
        """counts / row sum (K, K): where the rows of each true class went."""
        return _share(self.counts, self.counts.sum(axis=1, keepdims=True))

    @property
    def recall(self) -> np.ndarray:
        """Share of each true class that was found (K,)."""
        return _share(np.diagonal(self.counts), self.counts.sum(axis=1))

    @property
    def precision(self) -> np.ndarray:
        """Share of each predicted class that was right (K,)."""
        return _share(np.diagonal(self.counts), self.counts.sum(axis=0))

    def worst(self, n: int = 5) -> list[Pair]:
        """List the n pairs with the largest counts; of equal counts the larger share first, then class order."""
        wrong = self.counts - np.diag(np.diagonal(self.counts))
        true, predicted = np.nonzero(wrong)
        shares = self.shares[true, predicted]
        order = np.lexsort((predicted, true, -shares, -wrong[true, predicted]))[:n]
        return [Pair(self.classes[true[k]], self.classes[predicted[k]], int(wrong[true[k], predicted[k]]), float(shares[k])) for k in order]

    def csv(self) -> str:
        """Give the counts as CSV text: a header with the predicted classes, then one line per true class."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(["true \\ predicted", *self.classes])
        for name, row in zip(self.classes, self.counts.tolist(), strict=True):
            writer.writerow([name, *row])
        return text.getvalue()


def confusion(y: np.ndarray, predicted: np.ndarray, classes: Sequence[str]) -> Confusion:
    """Count how often class j was predicted where class i is true.

    counts[i, j] = #{n: y[n] = i, predicted[n] = j}; y and predicted (N,) class numbers 0..K-1, classes K names.
    Raises SoftgradError when the lengths differ or a number is no class.

    >>> confusion(np.array([0, 0, 1]), np.array([0, 1, 1]), ["cat", "dog"]).counts.tolist()
    [[1, 1], [0, 1]]
    """
    y, predicted, K = np.asarray(y), np.asarray(predicted), len(classes)
    if y.shape != predicted.shape or y.ndim != 1:
        raise SoftgradError(
            f"confusion(y, predicted): both need shape (N,), got {y.shape} and {predicted.shape}: pass one class number per row"
        )
    for name, numbers in (("y", y), ("predicted", predicted)):
        if numbers.size and not (np.issubdtype(numbers.dtype, np.integer) and numbers.min() >= 0 and numbers.max() <= K - 1):
            raise SoftgradError(
                f"confusion({name}): class numbers 0..{K - 1} are needed, "
                f"got {numbers.dtype} from {numbers.min()} to {numbers.max()}: "
                f"number the classes in the order of `classes`"
            )
    counts = np.bincount(y.astype(np.int64) * K + predicted, minlength=K * K).reshape(K, K)
    return Confusion(counts, tuple(map(str, classes)))


def _share(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.true_divide(part, whole)
