"""One pass over the data: blocks x kernel, divided by the weights that count, plus the penalty.

    f(W, b) = 1/S sum_i r_i L(W x_i + b, y_i) + l2/2 |W|^2,   S the weights of the rows that count

The solver works on theta = (W, beta) with beta = b + W mu: scores are W (x - mu) + beta, features centred without touching X. Scaling is
left to the metric, which does more. Neither moves the optimum, since b is not penalised.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from softgrad import arrays, blocks, kernels, threads
from softgrad.blocks.block import AbstractRowBlocks, Block
from softgrad.kernels.fused import AbstractKernel, Head, compute_type
from softgrad.kernels.tiled import row_losses
from softgrad.losses import cross_entropy
from softgrad.losses.loss import Loss, Rows
from softgrad.solvers.vectors import add, inner

Vector = NDArray[np.floating]


def sums(block: Block, kernel: AbstractKernel, loss: Loss, coef: NDArray[Any], intercept: NDArray[Any], scale: float) -> tuple[Any, ...]:
    """What `AbstractRowBlocks.sum` adds up; a free function, so that a block can travel to another process with it."""
    return kernel.sums(block, loss, coef, intercept, scale)


@dataclass
class LinearObjective:
    """Mean loss of a linear head over rows, plus the penalty, as a function of one vector theta = (W in `order`, beta)."""

    rows: AbstractRowBlocks
    kernel: AbstractKernel
    loss: Loss
    shape: tuple[int, int]  # (C, D)
    total: float  # S
    l2: float
    fit_intercept: bool
    dtype: np.dtype[Any]  # of the passes
    mu: NDArray[np.float64] | None = None
    passes: int = field(default=0, init=False)

    @property
    def noise(self) -> float:
        """Relative rounding error of a value: that of one row, the sum is in float64."""
        return 2e-7 if self.dtype == np.float32 else 1e-14

    @property
    def order(self) -> Any:
        return self.kernel.order

    @property
    def state_type(self) -> np.dtype[Any]:
        """Float64, but float32 where a pass is in float32 and the pairs of L-BFGS would be hundreds of megabytes."""
        large = self.shape[0] * self.shape[1] > 1 << 18
        return np.dtype(np.float32 if large and self.dtype == np.float32 else np.float64)

    def split(self, theta: Vector) -> tuple[Vector, Vector]:
        """Views of W (C, D) and beta (C,)."""
        C, D = self.shape
        return theta[: C * D].reshape(self.shape, order=self.order), theta[C * D :]

    def join(self, W: NDArray[Any], beta: NDArray[Any]) -> Vector:
        return np.concatenate([W.ravel(order=self.order), beta]).astype(self.state_type, copy=False)

    def to_users(self, theta: Vector) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """coef (C, D) and intercept (C,) for raw features: b = beta - W mu."""
        W, beta = self.split(theta)
        W, beta = W.astype(np.float64), beta.astype(np.float64)
        return W, beta if self.mu is None else beta - W @ self.mu

    def from_users(self, coef: NDArray[Any], intercept: NDArray[Any]) -> Vector:
        return self.join(coef, intercept if self.mu is None else intercept + coef @ self.mu)

    def value_gradient(self, theta: Vector) -> tuple[float, Vector]:
        self.passes += 1
        head = self.head(theta)
        return self.finish(theta, *self.rows.sum(sums, self.kernel, self.loss, head.coef, head.intercept, head.scale))

    def losses(self, theta: Vector) -> NDArray[np.float64]:
        """L_i of every row that counts, else 0: N floats; NaN where scores are not finite."""
        head = self.head(theta)
        return np.concatenate(list(self.rows.each(lambda block: row_losses(block, self.loss, head.coef, head.intercept))))

    def head(self, theta: Vector, fold: int = 0) -> Head:
        """What a pass takes: coefficients for raw features, in the type of the pass."""
        W, b = self.to_users(theta) if self.mu is not None else self.split(theta)
        coef = W.astype(self.dtype, order=self.order, copy=False)
        return Head(coef, b.astype(self.dtype), fold, self.loss.weights.share(self.total))

    def finish(self, theta: Vector, value: Any, G: NDArray[Any], g: NDArray[Any]) -> tuple[float, Vector]:
        """Value and gradient by theta, from the sums of a pass."""
        if not self.fit_intercept:
            g = np.zeros_like(g)
        elif self.mu is not None:
            G -= np.outer(g, self.mu)
        gradient = self.join(G, g)
        flat = theta[: G.size]
        add(gradient[: G.size], self.l2, flat)
        return float(value) * self.loss.weights.share(self.total) + 0.5 * self.l2 * inner(flat, flat), gradient

    def norm(self, gradient: Vector) -> float:
        """Max-norm of the gradient by the user's coef and intercept: dW = dW_centred + dbeta mu'."""
        G, g = self.split(gradient)
        if self.mu is not None:
            G = G + np.outer(g, self.mu)
        return float(max(G.max(initial=0.0), -G.min(initial=0.0), g.max(initial=0.0), -g.min(initial=0.0)))


def linear_value_and_grad(
    X: Any,
    y: ArrayLike,
    coef: ArrayLike,
    intercept: ArrayLike | None = None,
    *,
    loss: Loss | None = None,
    l2: float = 0.0,
    sample_weight: ArrayLike | None = None,
) -> tuple[float, NDArray[Any], NDArray[Any]]:
    """Loss of a linear head and its gradients in one pass over X, without keeping the N x C scores.

    value = 1/S sum_i r_i L(coef x_i + intercept, y_i) + l2/2 |coef|^2,   S the weights of the rows that count

    Parameters: X (N, D) dense float16/32/64 or uint8, read as it is, SciPy CSR, or rows on disk
    (`softgrad.data.stream`); y (N,) class numbers or (N, C) distributions; coef (C, D); intercept (C,) or None for zeros; loss, default
    cross_entropy(); l2 >= 0; sample_weight (N,). Float64 rows are computed in float64, all others in float32 with sums over blocks in
    float64.
    With hard-example mining X is read twice: N losses are kept, then the rows chosen are summed over.
    Returns: value, gradient by coef (C, D) and by intercept (C,), in coef's type. Same bits for any number of threads.
    Raises SoftgradError for shapes that do not fit, labels out of range, NaN or inf in a row that counts.

    >>> import numpy as np, softgrad
    >>> value, dcoef, dintercept = softgrad.linear_value_and_grad([[1.0, 2.0]], [0], np.zeros((2, 2)), l2=0.1)
    >>> print(round(value, 6), dcoef.tolist(), dintercept.tolist())
    0.693147 [[-0.5, -1.0], [0.5, 1.0]] [-0.5, 0.5]
    """
    call, loss = "linear_value_and_grad", cross_entropy() if loss is None else loss
    rows_X = arrays.features(f"{call}(X)", X)
    W = arrays.matrix(f"{call}(coef)", coef, "(C, D)")
    b = np.zeros(len(W)) if intercept is None else arrays.floats(f"{call}(intercept)", intercept)
    if len(W) == 0:
        arrays.refuse(f"{call}(coef)", "must have a row for at least one class", f"shape {W.shape}", "pass shape (C, D)")
    if W.shape[1] != rows_X.shape[1] or b.shape != (len(W),):
        came = f"X {rows_X.shape}, coef {W.shape}, intercept {b.shape}"
        arrays.refuse(f"{call}(coef)", "X (N, D), coef (C, D) and intercept (C,) must fit", came, "transpose or reshape one of them")
    like_scores = np.broadcast_to(np.zeros((), compute_type(rows_X)), (rows_X.shape[0], len(W)))
    rows, l2 = loss.prepare(call, like_scores, y, sample_weight, name="y"), arrays.number(f"{call}(l2)", l2, 0)

    def over(rows: Rows) -> LinearObjective:
        kernel, total, dtype = kernels.choose(rows_X, len(W), loss), loss.total(rows), compute_type(rows_X)
        return LinearObjective(blocks.rows(rows_X, rows.y, rows.r, len(W)), kernel, loss, W.shape, total, l2, True, dtype)

    objective = over(rows)
    theta = objective.join(W, b)
    with threads.blas(1):  # else the threads of a scalar product spin on into the user's next call
        if loss.mining is not None and not np.isnan(losses := objective.losses(theta)).any():
            objective = over(replace(rows, r=loss.mined(rows.r, losses)))
        value, gradient = objective.value_gradient(theta)
    G, g = objective.split(gradient)
    if not (np.isfinite(value) and np.isfinite(g).all()):
        arrays.finite_features(f"{call}(X)", rows_X, rows.r)
        arrays.finite_features(f"{call}(coef)", W)
        arrays.finite_features(f"{call}(intercept)", np.atleast_2d(b))
        rule, do = "scores must stay finite in the type of the pass", "scale X or coef down, or pass X in float64"
        arrays.refuse(f"{call}(X)", rule, "scores that overflow", do)
    return value, np.ascontiguousarray(G, W.dtype), g.astype(W.dtype)
