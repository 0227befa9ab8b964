"""The truth of every test: float64, plain lines; and the article's two versions of the linear softmax loss.

loss = 1/N sum_i -log softmax(x_i W)_{y_i} + reg/2 sum W^2,     dW = X'(P - Y)/N + reg W        (W is (D, C), the article's layout)
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from softgrad import arrays
from softgrad.blocks.block import Block
from softgrad.kernels.fused import AbstractKernel, Sums
from softgrad.losses.loss import Loss, Rows, plain
from softgrad.losses.margins import AbstractMargin
from softgrad.losses.part import Floats


class Reference(AbstractKernel):
    """All scores at once in float64, by the plain formula."""

    name = "reference"

    def refuses(self, X: Any, n_classes: int, loss: Loss) -> str:
        return ""

    def sums(self, block: Block, loss: Loss, coef: NDArray[Any], intercept: NDArray[Any], scale: float) -> Sums:
        X = np.asarray(block.X.toarray() if hasattr(block.X, "indptr") else block.X, np.float64)
        X = np.where((block.r > 0)[:, None], X, 0.0)
        if not loss.head.linear:
            return _cosines(X, block, loss, coef.astype(np.float64), intercept, scale)
        z = X @ coef.T.astype(np.float64) + intercept
        g, losses = np.empty_like(z), np.empty(len(z))
        bad = plain(loss, Rows(z, block.y, block.r), g, scale, losses)
        return np.nan if bad >= 0 else float(losses.sum()), g.T @ X, g.sum(axis=0)


def _cosines(X: Floats, block: Block, loss: Loss, coef: Floats, intercept: NDArray[Any], scale: float) -> Sums:
    """All cosines at once and the chain rule by them, slopes of margins and all."""
    x_length, w_length = (np.sqrt((A**2).sum(axis=1, keepdims=True)) for A in (X, coef))
    x, w = X / np.where(x_length > 0, x_length, 1), coef / np.where(w_length > 0, w_length, 1) if loss.head.unit_classes else coef
    c = x @ w.T
    phi, slope, rest = c, 1.0, loss
    if loss.scores and isinstance(loss.scores[0], AbstractMargin):
        pair = c, np.zeros_like(c)
        phi, slope = loss.scores[0].forward(pair, block.y)[0], loss.scores[0].slope(pair, block.y)
        rest = replace(loss, scores=loss.scores[1:])
    row = 1.0 if loss.head.features else x_length  # type: ignore[attr-defined] - of Cosine
    g, losses = np.empty_like(c), np.empty(len(c))
    bad = plain(rest, Rows(row * phi + intercept, block.y, block.r), g, scale, losses)
    value, dW = np.nan if bad >= 0 else float(losses.sum()), (row * slope * g).T @ x
    if not loss.head.unit_classes:
        return value, dW, g.sum(axis=0)
    dW -= (dW * w).sum(axis=1, keepdims=True) * w
    return value, dW / np.where(w_length > 0, w_length, np.inf), np.zeros(len(coef))


def softmax_loss_naive(W: Any, X: Any, y: Any, reg: float) -> tuple[float, NDArray[np.float64]]:
    """Softmax loss and gradient of a linear classifier by loops over rows and classes, as the article writes it.

    loss = 1/N sum_i (log sum_j exp(z_ij - m_i) - (z_{i y_i} - m_i)) + reg/2 sum W^2,   z_i = x_i W,  m_i = max z_i

    Parameters: W (D, C), X (N, D), y (N,) class numbers, reg >= 0. Returns loss and dW (D, C).
    Raises SoftgradError for shapes that do not fit or labels out of range. Slow on purpose.

    >>> import numpy as np, softgrad
    >>> loss, dW = softgrad.reference.softmax_loss_naive(np.zeros((2, 4)), [[1.0, 2.0]], [3], 0.1)
    >>> print(round(loss, 6), dW[1].tolist())
    1.386294 [0.5, 0.5, 0.5, -1.5]
    """
    W, X, y, reg = _article("softmax_loss_naive", W, X, y, reg)
    loss, dW = 0.0, np.zeros_like(W)
    for i in range(len(X)):
        z = X[i] @ W
        z -= z.max()
        total = 0.0
        for j in range(W.shape[1]):
            total += np.exp(z[j])
        loss += np.log(total) - z[y[i]]
        for j in range(W.shape[1]):
            dW[:, j] += (np.exp(z[j]) / total - (j == y[i])) * X[i]
    n = max(len(X), 1)
    return float(loss / n + 0.5 * reg * np.sum(W * W)), dW / n + reg * W


def softmax_loss_vectorized(W: Any, X: Any, y: Any, reg: float) -> tuple[float, NDArray[np.float64]]:
    """Softmax loss and gradient of a linear classifier in matrix form, as the article writes it.

    dW = X'(P - Y)/N + reg W;  formula, parameters and errors as `softmax_loss_naive`.

    >>> import numpy as np, softgrad
    >>> loss, dW = softgrad.reference.softmax_loss_vectorized(np.zeros((2, 4)), [[1.0, 2.0]], [3], 0.1)
    >>> print(round(loss, 6), dW[1].tolist())
    1.386294 [0.5, 0.5, 0.5, -1.5]
    """
    W, X, y, reg = _article("softmax_loss_vectorized", W, X, y, reg)
    rows, n = np.arange(len(X)), max(len(X), 1)
    z = X @ W
    z -= z.max(axis=1, keepdims=True, initial=-np.inf)
    P = np.exp(z)
    total = P.sum(axis=1, keepdims=True)
    loss = np.sum(np.log(total[:, 0]) - z[rows, y]) / n
    P /= total
    P[rows, y] -= 1
    return float(loss + 0.5 * reg * np.sum(W * W)), X.T @ P / n + reg * W


def _article(call: str, W: Any, X: Any, y: Any, reg: float) -> tuple[Any, Any, Any, float]:
    w = arrays.matrix(f"{call}(W)", W, "(D, C)").astype(np.float64, copy=False)
    x = arrays.matrix(f"{call}(X)", X, "(N, D)").astype(np.float64, copy=False)
    if x.shape[1] != w.shape[0]:
        arrays.refuse(f"{call}(W)", f"must have one row for each of the {x.shape[1]} features", f"shape {w.shape}", "pass W as (D, C)")
    t = arrays.targets(f"{call}(y)", y, len(x), w.shape[1])
    if t.ndim != 1:
        arrays.refuse(f"{call}(y)", "must be class numbers (N,)", f"shape {t.shape}", "take their argmax")
    return w, x, t, arrays.number(f"{call}(reg)", reg, 0)
