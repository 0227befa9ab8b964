"""Metrics for the solver: what the Hessian of the linear softmax looks like, cheaply.

    H = 1/S sum_i r_i (diag(p_i) - p_i p_i') (x) x_i x_i' + l2 I  <=  1/2 (I - 11'/C) (x) Gram + l2 I          (Bohning 1992)

so that M = I (x) (alpha Gram + l2 I), alpha near the mean of p (1 - p), is a metric that serves every class with one Cholesky factor; it
holds the features' scales and correlations. Where C x D allows, the Hessian itself on a sample of rows takes over. Where D is too large for
a Gram matrix the diagonal of H alone, taken again as the loss falls. None of them moves the optimum. Other losses have their own rows'
Hessians J_i in the place of diag(p) - pp', or what of them cannot be negative (`row_hessians`); alpha is the mean of their diagonals where
classes have the data's shares.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from softgrad import threads
from softgrad.blocks.block import Block
from softgrad.cholesky import factorise
from softgrad.kernels.fused import counted
from softgrad.kernels.tiled import scores_of
from softgrad.losses.loss import Loss, Rows, probabilities
from softgrad.losses.part import Floats
from softgrad.losses.row_hessians import row_hessians
from softgrad.objective import LinearObjective
from softgrad.solvers.conjugate import newton_step
from softgrad.solvers.lbfgs import LEAST
from softgrad.solvers.solver import AbstractMetric, State
from softgrad.solvers.vectors import add
from softgrad.widening import widened

Vector = NDArray[np.floating]

Columns = Callable[[int], Floats]  # j -> column j of every row's Hessian J_i (n, C), weighted

GRAM_FEATURES = 8192  # a Gram matrix of 256 MB in float32
SPARSE_GRAM_FEATURES = 2048  # the sample is made dense for it; and sparse features are less correlated
HESSIAN_SIZE = 9000  # rows of a subsampled Hessian: 324 MB in float32
PASS_SPEED, DENSE_SPEED = 60e9, 100e9  # flops a second that a pass and BLAS reach on two cores; only their ratio matters
PASS_START = 2e-4  # seconds that a pass costs however short it is
LAST = 0.25  # a Newton step leaves undone what is less than this part of the gap
WINDOW = 8  # passes over which the rate of convergence is seen
LEFT = 25  # passes that a fit still takes with a Hessian
FORESIGHT = 16  # passes to come that one pass can foretell
CELLS = 1 << 22  # probabilities that are held at a time: the sum over rows is as large as coef, and not made for each thousand of them


def sample(X: Any, r: NDArray[np.float64], n: int, seed: int, dtype: np.dtype[Any]) -> tuple[NDArray[np.intp], NDArray[Any]]:
    """n of the rows that count (all, if there are fewer), in ascending order, and their X in dtype."""
    counted = np.flatnonzero(r)
    if len(counted) > n:
        counted = np.sort(np.random.default_rng(seed).choice(counted, n, replace=False))
    picked = X[:] if len(counted) == X.shape[0] else X[counted]
    rows = picked.toarray() if hasattr(picked, "indptr") else picked
    return counted, rows.copy() if rows.dtype == dtype else widened(rows, dtype)


class Diagonal(AbstractMetric):
    """M = diag(H + l2) for coef (C, D) and diag(h) for the intercepts (C,): no matrix at all."""

    def __init__(self, objective: LinearObjective, H: NDArray[Any], h: NDArray[np.float64]):
        self.inverse = 1 / objective.join(np.maximum(H + objective.l2, 1e-12), np.maximum(h, 1e-12))

    def solve(self, gradients: Sequence[Vector]) -> list[Vector]:
        return [gradient * self.inverse for gradient in gradients]


class Gram(AbstractMetric):
    """M = I (x) (alpha Gram + l2 I), and alpha for the intercepts, which centred features leave apart."""

    def __init__(self, objective: LinearObjective, G: NDArray[Any], alpha: float):
        self.objective, self.alpha = objective, alpha
        A = np.multiply(G, G.dtype.type(alpha), out=G)  # in its place: nobody else needs it
        A[np.diag_indices_from(A)] += A.dtype.type(objective.l2)
        self.factor = factorise(A)

    def solve(self, gradients: Sequence[Vector]) -> list[Vector]:
        both, C = [self.objective.split(gradient) for gradient in gradients], self.objective.shape[0]
        solved = self.factor.solve(np.hstack([G.T for G, _ in both])).T  # (k C, D)
        return [self.objective.join(solved[i * C : (i + 1) * C], g / self.alpha) for i, (_, g) in enumerate(both)]


class Hessian(AbstractMetric):
    """The Hessian on a sample of rows, all classes together, intercepts included where they are fitted."""

    def __init__(self, objective: LinearObjective, X: NDArray[Any], J: Columns):
        self.objective, C = objective, objective.shape[0]
        ones = np.ones((len(X), 1 if objective.fit_intercept else 0), X.dtype)
        penalty = np.append(np.full(X.shape[1], objective.l2), np.zeros(ones.shape[1]))
        H = hessian(np.hstack([X, ones]), J, C, penalty)
        if objective.fit_intercept and objective.loss.link.shift_invariant:  # parts of scores may break it, but little
            b = np.arange(C) * (X.shape[1] + 1) + X.shape[1]
            held = H[b, b].mean()  # nothing holds a constant added to all intercepts: some curvature there keeps H well conditioned
            for k in objective.loss.link.shifts(C):
                H[np.ix_(b[k], b[k])] += held
        self.factor = factorise(H)

    def solve(self, gradients: Sequence[Vector]) -> list[Vector]:
        both = [self.objective.split(gradient) for gradient in gradients]
        if not self.objective.fit_intercept:
            d = self.factor.solve(np.stack([G.ravel() for G, _ in both]).T).T
            return [self.objective.join(W.reshape(G.shape), g) for W, (G, g) in zip(d, both, strict=True)]
        d = self.factor.solve(np.stack([np.column_stack([G, g]).ravel() for G, g in both]).T).T
        W = d.reshape(len(both), len(both[0][1]), -1)
        return [self.objective.join(w[:, :-1], w[:, -1]) for w in W]


def hessian(X: NDArray[Any], J: Columns, C: int, penalty: NDArray[np.float64]) -> NDArray[Any]:
    """H[c, k] = sum_i J_ick x_i x_i' + [c = k] diag(penalty), a (C D, C D) matrix with rows (c, d)."""
    D = X.shape[1]
    H = np.empty((C, D, C, D), X.dtype)

    def column(c: int) -> None:
        w = J(c)
        for k in range(c, C):
            H[c, :, k] = H[k, :, c] = weighted_gram(X, np.maximum(w[:, k], 0)) - weighted_gram(X, np.maximum(-w[:, k], 0))
        H[c, np.arange(D), c, np.arange(D)] += penalty.astype(X.dtype)

    with threads.blas(1):
        for _ in threads.in_order(column, range(C)):
            pass
    return H.reshape(C * D, C * D)


def softmax_columns(P: Floats, r: NDArray[np.float64]) -> Columns:
    """J_i = r_i (diag(p_i) - p_i p_i'), without asking a loss for it."""
    e = np.eye(P.shape[1])
    return lambda c: (r * P[:, c])[:, None] * (e[c] - P)


def weighted_gram(X: NDArray[Any], w: NDArray[np.float64]) -> NDArray[Any]:
    """sum_i w_i x_i x_i' for w >= 0, by half the products, since it is symmetric.

    Only rows whose weight vanishes beside the mean in floating point are left out. Leaving out those below 1e-4 of the mean was tried:
    three times faster on confident classes, but badly scaled features lost directions and steps went astray.
    """
    kept = np.flatnonzero(w > np.finfo(X.dtype).eps * w.mean())
    S = X[kept] * np.sqrt(w[kept])[:, None].astype(X.dtype)
    return S.T @ S


@dataclass
class AbstractStaged(AbstractMetric):
    """A cheap metric first; one that is taken of the Hessian at a point on the way takes over. A checkpoint keeps the place."""

    now: AbstractMetric
    objective: LinearObjective
    bought: Vector | None = field(default=None, init=False)  # where the Hessian was taken
    bought_at: int = field(default=0, init=False)  # after so many passes
    seen: list[float] = field(default_factory=list, init=False)  # what `update` goes by

    def solve(self, gradients: Sequence[Vector]) -> list[Vector]:
        return self.now.solve(gradients)

    def buy(self, theta: Vector, passes: int) -> None:
        """The Hessian at theta, after so many passes."""
        self.bought, self.bought_at = theta, passes
        self.now = self.taken(theta)

    @abstractmethod
    def taken(self, theta: Vector) -> AbstractMetric:
        """The metric of the Hessian there."""


@dataclass
class Following(AbstractStaged):
    """The diagonal of the Hessian, taken again where the loss has fallen to half of what it was.

        M = diag(1/S sum_i r_i p_ic (1 - p_ic) x_id^2 + l2)

    p (1 - p) falls with the loss, far below what the class shares say, and not alike for all classes and features: beside a weak penalty
    that is what the scale of a step depends on. On banking77 (10,088 sparse features, 77 classes, 10 strengths up to C = 1e4, one fold) the
    whole path takes 432 passes to 1e-8 with it, and 911 with the shares' diagonal. Single fits from zero gain nothing.
    """

    value: float  # of the loss where `now` was made

    def update(self, theta: Vector, state: State) -> bool:
        if not 0 < state.value <= (self.seen[0] if self.seen else self.value) / 2:
            return False
        self.seen = [state.value]
        self.buy(theta, state.passes)
        return True

    def taken(self, theta: Vector) -> AbstractMetric:
        """One pass, over squares."""
        o, at = self.objective, self.objective.head(theta)
        H, h = o.rows.sum(curvatures, o.loss, at.coef, at.intercept)
        return Diagonal(o, H / o.total, h / o.total)


def curvatures(block: Block, loss: Loss, coef: NDArray[Any], intercept: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
    """sum_i r_i p_ic (1 - p_ic) x_id^2 (C, D), and without the features (C,)."""
    C, dtype = len(coef), coef.dtype
    H, h = np.zeros(coef.shape[::-1], dtype), np.zeros(C)
    step = max(64, CELLS // C)
    for rows in (counted(block.part(slice(i, i + step))) for i in range(0, len(block.r), step)):
        X = rows.X if hasattr(rows.X, "indptr") else widened(rows.X, dtype)
        G, g = _spread(X, probabilities(loss, (X @ coef.T + intercept).astype(np.float64)), rows.r, dtype)
        H += G
        h += g
    return H.T, h


def _spread(X: Any, P: NDArray[Any], r: NDArray[np.float64], dtype: np.dtype[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
    """sum_i r_i p_ic (1 - p_ic) x_id^2 (D, C), and without the features (C,)."""
    Q = r[:, None].astype(P.dtype) * P * (1 - P)
    return (X.multiply(X) if hasattr(X, "indptr") else X * X).T @ Q.astype(dtype, copy=False), Q.sum(axis=0, dtype=np.float64)


@dataclass
class Newton(AbstractStaged):
    """The Hessian where the run is, by conjugate gradients on its products with vectors; the diagonal of it is their metric.

        H V = 1/S sum_i w_i J_i (V x_i + v) (x_i, 1)' + l2 V,   J_i u = p_i (u - p_i'u),   w_i = r_i omega(y_i)

    For sparse rows, where a product takes no longer than a pass, and going through the pairs of L-BFGS much longer than both.
    """

    gap: float  # relative to the value, that the run is to reach
    exact = True

    def update(self, theta: Vector, state: State) -> bool:
        self.seen = [state.value]
        self.buy(theta, state.passes)
        return True

    def taken(self, theta: Vector) -> AbstractMetric:
        """P (N, C), which stand where the targets do in the rows of the products, and the diagonal."""
        o, at = self.objective, self.objective.head(theta)
        P = np.concatenate(list(o.rows.each(lambda block: softmax_rows(block, at.coef, at.intercept))))
        y, weights = o.rows.y, o.loss.weights
        self.rows = replace(o.rows, y=P, r=weights.rows(y, o.rows.r) * weights.shares(y, P.shape[1]))
        H, h = self.rows.sum(spreads)
        return Diagonal(o, H / o.total, h / o.total)

    def solve(self, gradients: Sequence[Vector]) -> list[Vector]:
        assert isinstance(self.now, Diagonal)
        size = max(self.seen[0], LEAST)
        return [newton_step(self.product, g, self.now.inverse, size, LAST * self.gap * size) for g in gradients]

    def product(self, vector: Vector) -> Vector:
        """H times a vector."""
        o = self.objective
        V, v = (part.astype(o.dtype, copy=False) for part in o.split(vector))
        U, u = self.rows.sum(o.kernel.hessian_products, V, v, 1 / o.total)
        product = o.join(U, u if o.fit_intercept else np.zeros_like(u))
        add(product[: U.size], o.l2, vector[: U.size])
        return product


def softmax_rows(block: Block, coef: NDArray[Any], intercept: NDArray[Any]) -> NDArray[Any]:
    """Probabilities (n, C) of the rows that count, else 0, in the type of coef."""
    tile = counted(block)
    P = scores_of(tile.X, coef, intercept)
    P -= P.max(axis=1, keepdims=True)
    np.exp(P, out=P)
    P /= P.sum(axis=1, keepdims=True)
    if tile is block:
        return P
    whole = np.zeros((len(block.r), P.shape[1]), P.dtype)
    whole[block.r > 0] = P
    return whole


def spreads(block: Block) -> tuple[NDArray[Any], NDArray[Any]]:
    """`curvatures` of CSR rows whose probabilities stand where the targets do."""
    tile = counted(block)
    H, h = _spread(tile.X, tile.y, tile.r, tile.y.dtype)
    return H.T, h


@dataclass
class Staged(AbstractStaged):
    """A cheap metric first; the sampled Hessian takes over where that saves time.

    It is bought when the passes still to come, at the rate of the last WINDOW, cost more than it does with the passes it leaves; or at
    the latest when as much time went into passes as it costs (rent, then buy: never more than twice the time of the better choice).
    What is foretold counts up to FORESIGHT times the passes seen, and buys once: a gradient that stays where it is, since float32 cannot
    make it smaller or the sample tells little, foretells any number of passes, and every Hessian makes the run forget its pairs:
    Fashion-MNIST, bytes at C = 1, took 113 s and 21 Hessians to end above what 200 passes without any reach in 5 s. Then only rent buys.
    Time is reckoned from flops, not measured, since the same call has to give the same bits.
    """

    X: Any  # all rows, from which the sample is taken
    r: NDArray[np.float64]
    seed: int
    rows: int
    tol: float
    lanes: int = 1  # runs that share it
    y: NDArray[Any] | None = None  # all targets, where the loss's Hessian asks for them

    def update(self, theta: Vector, state: State) -> bool:
        self.seen.append(state.gradient_norm)
        spent, price, a_pass = state.passes - self.bought_at, self.hessian_seconds(), self.pass_seconds()
        ahead = min(self.passes_ahead(), FORESIGHT * spent) if self.bought is None else 0.0
        if spent * a_pass < price and ahead * a_pass < price + LEFT * 2 * a_pass:
            return False
        self.seen.clear()
        self.buy(theta, state.passes)
        return True

    def taken(self, theta: Vector) -> AbstractMetric:
        """On a sample of rows."""
        coef, intercept = self.objective.to_users(theta)
        picked, X = sample(self.X, self.r, self.rows, self.seed + self.bought_at, self.objective.dtype)
        z = X.astype(np.float64) @ coef.T + intercept
        if self.objective.mu is not None:
            X -= self.objective.mu.astype(X.dtype)
        loss, r = self.objective.loss, self.r[picked] / self.r[picked].sum()
        if self.y is None:
            return Hessian(self.objective, X, softmax_columns(probabilities(loss, z), r))
        return Hessian(self.objective, X, row_hessians(loss, Rows(z, self.y[picked], r)))

    def passes_ahead(self) -> float:
        """Passes until the gradient is below tol, if it goes on falling as it did."""
        if len(self.seen) <= WINDOW:
            return 0.0
        before, now = self.seen[-1 - WINDOW], self.seen[-1]
        rate = max(np.log(before / now) / WINDOW, 1e-3) if now > 0 else np.inf
        return float(np.log(now / self.tol) / rate) if now > self.tol else 0.0

    def pass_seconds(self) -> float:
        C, D = self.objective.shape
        return PASS_START + 4 * self.lanes * self.X.shape[0] * C * D / PASS_SPEED

    def hessian_seconds(self) -> float:
        C, D = self.objective.shape
        return PASS_START + (C * C * self.rows * D * D / 2 + (C * D) ** 3 / 3) / DENSE_SPEED
