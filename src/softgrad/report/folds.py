"""What each fold's models say of rows: how many they take for what they are, and how sure they are of those held out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from softgrad.kernels.tiled import linear_scores
from softgrad.linear_classifier import class_log_probabilities
from softgrad.losses.loss import Loss

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
    def right(z: NDArray[Any], labels: NDArray[Any]) -> NDArray[Any]:
        number = (z[..., 0] > 0).astype(int) if z.shape[2] == 1 else z.argmax(axis=2)
        return classes[number] == labels[:, None]

    known = ~np.isnan(coefs[:, :, 0, 0]).any(axis=0)
    found = np.full((2, *coefs.shape[:2]), np.nan)
    for j, parts in enumerate(folds):
        for part, rows in enumerate(parts):
            found[part, j, known] = _means(X, y, coefs[j, known], np.asarray(rows), right)
    return found[0], found[1]


def fold_log_losses(
    X: Any, y: NDArray[Any], classes: NDArray[Any], coefs: NDArray[np.float64], folds: Sequence[tuple[Rows, Rows]], loss: Loss
) -> NDArray[np.float64]:
    """Mean -log p of the labels of held-out rows (F, K), NaN where there are no coefficients; probabilities are those of the loss's link.

    >>> from softgrad.losses import cross_entropy
    >>> coefs = np.array([[[[0.0, 0.0]]]])
    >>> folds = [(np.array([0]), np.array([1]))]
    >>> fold_log_losses(np.array([[-1.0], [1.0]]), np.array([0, 1]), np.array([0, 1]), coefs, folds, cross_entropy()).round(6).tolist()
    [[0.693147]]
    """

    def lost(z: NDArray[Any], labels: NDArray[Any]) -> NDArray[Any]:
        both = np.concatenate([-z / 2, z / 2], axis=2) if z.shape[2] == 1 else z
        log_p = class_log_probabilities(loss, both.reshape(-1, both.shape[2]).astype(np.float64)).reshape(both.shape)
        return -np.take_along_axis(log_p, np.searchsorted(classes, labels)[:, None, None], axis=2)[..., 0]

    known = ~np.isnan(coefs[:, :, 0, 0]).any(axis=0)
    found = np.full(coefs.shape[:2], np.nan)
    for j, (_, rows) in enumerate(folds):
        found[j, known] = _means(X, y, coefs[j, known], np.asarray(rows), lost)
    return found


def _means(X: Any, y: NDArray[Any], W: NDArray[np.float64], rows: Rows, of: Callable[..., NDArray[Any]]) -> NDArray[np.float64]:
    """Mean over rows of what is said of the scores (n, K, C) of all K models, made in one product."""
    K, C, _ = W.shape
    coef, intercept = W[..., :-1].reshape(K * C, -1), W[..., -1].ravel()
    total, step = np.zeros(K), max(64, SCORES // (K * C))
    for i in range(0, len(rows), step):
        part = rows[i : i + step]
        total += of(linear_scores(X, coef, intercept, part).reshape(len(part), K, C), y[part]).sum(axis=0)
    return total / len(rows)
