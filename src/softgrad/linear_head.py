"""The head inside a network, or a solver of one's own: value and gradients of one pass, by coefficients and by features."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from softgrad import arrays, blocks, kernels, losses, result_memory, threads
from softgrad.blocks.block import AbstractRowBlocks
from softgrad.kernels import cosine, tiled
from softgrad.kernels.fused import Head, compute_type
from softgrad.losses.loss import Loss
from softgrad.objective import penalise, state_type
from softgrad.row_source import AbstractRowSource


def linear_value_and_grad(
    X: Any,
    y: ArrayLike,
    coef: ArrayLike,
    intercept: ArrayLike | None = None,
    *,
    loss: Loss | None = None,
    l2: float = 0.0,
    sample_weight: ArrayLike | None = None,
    wrt_X: bool = False,
) -> tuple[Any, ...]:
    """Loss of a linear head, or one of cosines, and its gradients in one pass over X, without keeping the N x C scores.

    value = 1/S sum_i r_i L(coef x_i + intercept, y_i) + l2/2 |coef|^2,   S the weights of the rows that count

    Parameters: X (N, D) dense float16/32/64 or uint8, read as it is, SciPy CSR, or rows on disk
    (`softgrad.data.stream`); y (N,) class numbers or (N, C) distributions; coef (C, D); intercept (C,) or None for zeros; loss, default
    cross_entropy(), with any head (`losses.Cosine`); l2 >= 0; sample_weight (N,); wrt_X, whether the gradient by X is wanted too, for rows
    in memory. Float64 rows are computed in float64, all others in float32 with sums over blocks in float64. With hard-example mining X is
    read twice: N losses are kept, then the rows chosen are summed over.
    Returns: value, gradient by coef (C, D) and by intercept (C,), in coef's type; with wrt_X also by X, (N, D) dense, float64 for float64
    rows, else float32, 0 in rows that do not count. Same bits for any number of threads.
    Raises SoftgradError for shapes that do not fit, labels out of range, NaN or inf in a row that counts, an intercept beside normalised
    class vectors.

    >>> import numpy as np, softgrad
    >>> value, dcoef, dintercept = softgrad.linear_value_and_grad([[1.0, 2.0]], [0], np.zeros((2, 2)), l2=0.1)
    >>> print(round(value, 6), dcoef.tolist(), dintercept.tolist())
    0.693147 [[-0.5, -1.0], [0.5, 1.0]] [-0.5, 0.5]
    >>> softgrad.linear_value_and_grad([[1.0, 2.0]], [0], np.eye(2), wrt_X=True)[3].round(4)
    array([[-0.7311,  0.7311]])
    """
    call, loss = "linear_value_and_grad", _plain() if loss is None else loss
    rows_X, W, b = _fitting(call, X, coef, intercept, loss, wrt_X=wrt_X)
    dtype = compute_type(rows_X)
    like_scores = np.broadcast_to(np.zeros((), dtype), (rows_X.shape[0], len(W)))
    rows = loss.prepare(call, like_scores, y, sample_weight, name="y")
    dX, l2 = result_memory.empty(rows_X.shape, np.dtype(dtype)) if wrt_X else None, arrays.number(f"{call}(l2)", l2, 0)
    kernel = kernels.choose(rows_X, len(W), loss, wrt_X=wrt_X)
    head = Head(W.astype(dtype, order=kernel.order, copy=False), b.astype(dtype), 0, 1.0)
    # one thread of BLAS, or those of a scalar product spin on into the user's next call; what inf in coef makes invalid is told below
    with threads.blas(1), np.errstate(invalid="ignore"):
        if loss.mining is not None and not np.isnan(found := _losses(blocks.rows(rows_X, rows.y, rows.r, len(W)), loss, head)).any():
            rows = replace(rows, r=loss.mined(rows.r, found))
        share = loss.weights.share(loss.total(rows))
        total, G, g = kernel.over(blocks.rows(rows_X, rows.y, rows.r, len(W), dX), loss, head._replace(scale=share))
        value, G = _penalised(total * share, G, W, l2)
    if not (np.isfinite(value) and np.isfinite(g).all()):
        arrays.finite_features(f"{call}(X)", rows_X, rows.r)
        arrays.finite_features(f"{call}(coef)", W)
        arrays.finite_features(f"{call}(intercept)", np.atleast_2d(b))
        rule, do = "scores must stay finite in the type of the pass", "scale X or coef down, or pass X in float64"
        arrays.refuse(f"{call}(X)", rule, "scores that overflow", do)
    gradients = np.ascontiguousarray(G, W.dtype), g.astype(W.dtype)
    return (value, *gradients) if dX is None else (value, *gradients, dX)


@cache
def _plain() -> Loss:
    return losses.cross_entropy()


def _losses(rows: AbstractRowBlocks, loss: Loss, head: Head) -> NDArray[np.float64]:
    """L_i of every row that counts, else 0: N floats; NaN where scores are not finite."""
    of = (tiled if loss.head.linear else cosine).row_losses
    return np.concatenate(list(rows.each(lambda block: of(block, loss, head.coef, head.intercept))))


def _penalised(value: float, G: NDArray[Any], W: NDArray[Any], l2: float) -> tuple[float, NDArray[Any]]:
    """Value and gradient with l2/2 |W|^2, in the type that a fit would keep them in."""
    if l2 == 0:
        return value, G
    dtype = state_type(W.size, G.dtype)
    G = np.ascontiguousarray(G, dtype)
    return penalise(value, G.ravel(), l2, np.ascontiguousarray(W, dtype).ravel()), G


def _fitting(
    call: str, X: Any, coef: ArrayLike, intercept: ArrayLike | None, loss: Loss, *, wrt_X: bool
) -> tuple[Any, NDArray[Any], NDArray[Any]]:
    """Features and head, checked against each other."""
    rows_X = arrays.features(f"{call}(X)", X)
    W = arrays.matrix(f"{call}(coef)", coef, "(C, D)")
    b = np.zeros(len(W)) if intercept is None else arrays.floats(f"{call}(intercept)", intercept)
    if len(W) == 0:
        arrays.refuse(f"{call}(coef)", "must have a row for at least one class", f"shape {W.shape}", "pass shape (C, D)")
    if W.shape[1] != rows_X.shape[1] or b.shape != (len(W),):
        came = f"X {rows_X.shape}, coef {W.shape}, intercept {b.shape}"
        arrays.refuse(f"{call}(coef)", "X (N, D), coef (C, D) and intercept (C,) must fit", came, "transpose or reshape one of them")
    if intercept is not None and loss.head.unit_classes:
        arrays.refuse(f"{call}(intercept)", "a head of cosines has none", arrays.shown(loss.head), "leave it at None")
    if wrt_X and isinstance(rows_X, AbstractRowSource):
        arrays.refuse(f"{call}(wrt_X)", "there is a gradient by rows in memory", "rows on disk", "pass X[i:j]")
    return rows_X, W, b
