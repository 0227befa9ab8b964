"""How many rows each fold's models take for what they are: those they were trained on, and those held out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from softgrad.kernels.tiled import linear_scores

SCORES = 1 << 22  # kept at a time

Rows = NDArray[np.intp]


def fold_accuracies(
    X: Any, y: NDArray[Any], classes: NDArray[Any], coefs: NDArray[np.float64], folds: Sequence[tuple[Rows, Rows]]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Shares of (training, held-out) rows that are classified right, each (F, K), NaN where there are no coefficients.

    X (N, D); y (N,); classes (C,) ascending; coefs (F, K, C or 1, D + 1), the intercept last, as `SoftmaxClassifierCV.coefs_paths_`;
    folds, F pairs of row numbers. All K models of a fold are scored in one product.

    >>> X, y = np.array([[-1.0], [1.0], [2.0]]), np.array([0, 1, 1])
    >>> coefs = np.array([[[[1.0, 0.0]], [[1.0, -1.5]]]])
    >>> train, held_out = fold_accuracies(X, y, np.array([0, 1]), coefs, [(np.array([0, 1]), np.array([2]))])
    >>> train.tolist(), held_out.tolist()
    ([[1.0, 0.5]], [[1.0, 1.0]])
    """
    known = ~np.isnan(coefs[:, :, 0, 0]).any(axis=0)
    found = np.full((2, *coefs.shape[:2]), np.nan)
    for j, parts in enumerate(folds):
        for part, rows in enumerate(parts):
            found[part, j, known] = _accuracies(X, y, classes, coefs[j, known], np.asarray(rows))
    return found[0], found[1]


def _accuracies(X: Any, y: NDArray[Any], classes: NDArray[Any], W: NDArray[np.float64], rows: Rows) -> NDArray[np.float64]:
    K, C, _ = W.shape
    coef, intercept = W[..., :-1].reshape(K * C, -1), W[..., -1].ravel()
    right, step = np.zeros(K), max(64, SCORES // (K * C))
    for i in range(0, len(rows), step):
        part = rows[i : i + step]
        z = linear_scores(X, coef, intercept, part).reshape(len(part), K, C)
        number = (z[..., 0] > 0).astype(int) if C == 1 else z.argmax(axis=2)
        right += (classes[number] == y[part, None]).sum(axis=0)
    return right / len(rows)
