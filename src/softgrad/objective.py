"""One pass over the data: blocks x kernel, divided by the weights that count, plus the penalty.

    f(W, b) = 1/S sum_i r_i L(W x_i + b, y_i) + l2/2 |W|^2,   S the weights of the rows that count

The solver works on theta = (W, beta) with beta = b + W mu: scores are W (x - mu) + beta, features centred without touching X. Scaling is
left to the metric, which does more. Neither moves the optimum, since b is not penalised.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from softgrad.blocks.block import AbstractRowBlocks
from softgrad.kernels.fused import AbstractKernel, Head
from softgrad.losses.loss import Loss
from softgrad.solvers.vectors import add, inner

Vector = NDArray[np.floating]


def state_type(size: int, dtype: np.dtype[Any]) -> np.dtype[Any]:
    """Float64, but float32 where a pass is in float32 and the pairs of L-BFGS would be hundreds of megabytes."""
    return np.dtype(np.float32 if size > 1 << 18 and dtype == np.float32 else np.float64)


class Rotation(NamedTuple):
    """Rows are Q'(x - mu) of the user's x; Q (D, d) has orthonormal columns."""

    Q: NDArray[Any]
    mu: NDArray[np.float64]


def penalise(value: float, gradient: Vector, l2: float, w: Vector) -> float:
    """value + l2/2 |w|^2; its part of the gradient is added in place."""
    add(gradient, l2, w)
    return value + 0.5 * l2 * inner(w, w)


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
    rotation: Rotation | None = None  # of the user's rows into these
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
        return state_type(self.shape[0] * self.shape[1], self.dtype)

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
        return self.finish(theta, *self.kernel.over(self.rows, self.loss, self.head(theta)))

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
            G = G.astype(np.float64, copy=False)
            G -= np.outer(g, self.mu)
        gradient, CD = self.join(G, g), G.size
        return penalise(float(value) * self.loss.weights.share(self.total), gradient[:CD], self.l2, theta[:CD]), gradient

    def norm(self, gradient: Vector) -> float:
        """Max-norm of the gradient by the user's coef and intercept: dW = dW_centred + dbeta mu'."""
        G, g = self.split(gradient)
        if self.mu is not None:
            G = G + np.outer(g, self.mu)
        if self.rotation is not None:
            G = G @ self.rotation.Q.T + np.outer(g, self.rotation.mu)
        return float(max(G.max(initial=0.0), -G.min(initial=0.0), g.max(initial=0.0), -g.min(initial=0.0)))
