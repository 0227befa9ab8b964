"""One fit: rows, loss and penalty in; coefficients and how the solver ended out. The estimator's engine; knows no users.

The metric is chosen by shape: a Gram matrix of a sample of rows where D allows, a diagonal where it does not, and the sampled Hessian
on top where C x D allows. Where N < D the rows span at most N directions, and the penalised optimum lies in them: the fit is done there,
on the N x N triangle of a QR decomposition, exactly; not for rows on disk, of which there is never a copy in memory.
"""

from __future__ import annotations

import functools
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from softgrad import arrays, blocks, kernels, threads
from softgrad.blocks.block import Block
from softgrad.cholesky import gram
from softgrad.kernels.fused import compute_type
from softgrad.losses.loss import Loss, Rows, second_order
from softgrad.losses.softmax import Softmax
from softgrad.objective import LinearObjective, Rotation
from softgrad.precondition import GRAM_FEATURES, HESSIAN_SIZE, SPARSE_GRAM_FEATURES, Diagonal, Following, Gram, Newton, Staged, sample
from softgrad.row_source import AbstractRowSource
from softgrad.solvers.solver import AbstractMetric, AbstractSolver, Callback, Result

Start = tuple[NDArray[np.float64], NDArray[np.float64]]


@dataclass(frozen=True)
class Problem:
    """Rows X (N, D) dense or CSR, targets y, row weights r, and what is to be minimised over them."""

    X: Any
    y: NDArray[Any]
    r: NDArray[np.float64]
    n_classes: int
    loss: Loss
    l2: float
    fit_intercept: bool
    seed: int
    rotation: Rotation | None = None  # of the user's rows into X

    def __post_init__(self) -> None:
        if not self.loss.head.linear:
            do = "use Linear(), or linear_value_and_grad in a loop of your own"
            arrays.refuse("fit(loss)", "an estimator has a linear head", arrays.shown(self.loss.head), do)

    @property
    def targets(self) -> int:
        """Classes that the targets tell apart; n_classes counts scores, which a tree has more of."""
        return self.loss.link.classes(self.n_classes)

    @property
    def dense(self) -> bool:
        return not hasattr(self.X, "indptr")

    @property
    def on_disk(self) -> bool:
        return isinstance(self.X, AbstractRowSource)

    @property
    def room(self) -> float:
        """Bytes that a metric may take: half the memory limit of rows on disk, any number for rows in memory."""
        return self.X.memory_limit // 2 if self.on_disk else np.inf


@dataclass(frozen=True)
class Fit:
    """coef (C, D), intercept (C,), and the solver's result."""

    coef: NDArray[np.float64]
    intercept: NDArray[np.float64]
    result: Result


def fit(
    problem: Problem, solver: AbstractSolver, start: Start | None = None, callback: Callback | None = None, seen: Moments | None = None
) -> Fit:
    """Take the problem to its optimum from `start` (zeros if None); `seen`, moments of the same rows, which are used up."""
    (n, d), began = problem.X.shape, time.perf_counter()
    with threads.blas(1):  # solves and scalar products too: a spinning BLAS would hold up the next pass
        if problem.dense and not problem.on_disk and n < d and problem.l2 > 0 and start is None:
            return _in_row_space(problem, solver, callback, began)
        return _fit(problem, solver, start, callback, began, moments(problem) if seen is None else seen)


def _fit(
    problem: Problem, solver: AbstractSolver, start: Start | None, callback: Callback | None, began: float, seen: Moments
) -> Fit:
    objective = plain_objective(problem, seen.mu)
    metric = metric_for(problem, objective, seen, solver)
    del seen
    shape = objective.shape
    theta = objective.from_users(*(start if start is not None else (np.zeros(shape), np.zeros(shape[0]))))
    return fitted(objective, solver.minimize(objective, theta, metric, callback, began))


def fitted(objective: LinearObjective, result: Result) -> Fit:
    """coef and intercept of a result; of all equal ones those that sum to 0 over the classes: the optimum's, whatever the path to it."""
    coef, intercept = objective.to_users(result.parameters)
    if objective.loss.shift_invariant:
        coef, intercept = (objective.loss.link.centred(W) for W in (coef, intercept))
    return Fit(np.ascontiguousarray(coef), intercept, result)


def _in_row_space(problem: Problem, solver: AbstractSolver, callback: Callback | None, began: float) -> Fit:
    small, back = row_space(problem)
    return back(_fit(small, solver, None, callback, began, moments(small)))


def row_space(problem: Problem) -> tuple[Problem, Callable[[Fit], Fit]]:
    """(X - mu)' = Q R:  scores W (x_i - mu) = (W Q) R_i with |W Q| = |W| for every W spanned by the rows; W = V Q' comes back."""
    from scipy.linalg import qr

    X = problem.X.astype(np.float64 if compute_type(problem.X) == np.float64 else np.float32)
    X[problem.r == 0] = 0  # never read
    counted = problem.r > 0
    mu = _mean(problem, X[counted], np.full(counted.sum(), 1 / counted.sum())) if problem.fit_intercept else np.zeros(X.shape[1])
    X[counted] -= mu.astype(X.dtype)
    Q, R = (np.asarray(M) for M in qr(X.T, mode="economic", overwrite_a=True, check_finite=False))

    def back(found: Fit) -> Fit:
        coef = found.coef @ Q.T.astype(np.float64)
        return Fit(coef, found.intercept - coef @ mu, found.result)

    return replace(problem, X=np.ascontiguousarray(R.T), rotation=Rotation(Q, mu)), back


@dataclass
class Moments:
    """What metrics of every strength are made from: mean and Gram matrix of a sample, or second moments where D is too large for one."""

    mu: NDArray[np.float64] | None
    shares: NDArray[np.float64]
    G: NDArray[Any] | None
    second: NDArray[np.float64] | None


def moments(problem: Problem) -> Moments:
    """Of the rows that count: all of them, or a sample of 3 D."""
    X, r, D = problem.X, problem.r, problem.X.shape[1]
    dtype = compute_type(X)
    n_gram = int(min(max(3 * D, 8192), problem.room // (D * (X.dtype.itemsize + dtype.itemsize))))  # a row as stored and in floats
    if min(n_gram, GRAM_FEATURES if problem.dense else SPARSE_GRAM_FEATURES) < D:
        return Moments(None, _shares(problem), None, _second_moment(problem))
    picked, S = sample(X, r, min(n_gram, X.shape[0]), problem.seed, dtype)
    w = r[picked] / r[picked].sum()
    mu = None
    if problem.fit_intercept:
        mu = _mean(problem, S, w)
        S -= mu.astype(S.dtype)
    S *= np.sqrt(w)[:, None].astype(S.dtype)
    return Moments(mu, _shares(problem), gram(S), None)


def metric_for(problem: Problem, objective: LinearObjective, seen: Moments, solver: AbstractSolver, lanes: int = 1) -> AbstractMetric:
    """The metric that the shapes allow, for `lanes` runs of one strength; takes seen.G, which becomes its factor."""
    if seen.G is None:
        return _diagonal(problem, objective, seen, solver.gap)
    G, seen.G = seen.G, None
    loss = problem.loss
    metric = Gram(objective, G, max(float(np.mean(loss.link.spread(seen.shares))), 1e-6))
    (C, D), n = objective.shape, problem.X.shape[0]
    large = C * (D + 1) > HESSIAN_SIZE or 2 * objective.dtype.itemsize * (C * (D + 1)) ** 2 > problem.room
    if large or not (loss.link.convex and loss.link.smooth and all(t.convex for t in loss.terms)):
        return metric  # what a term that is not convex adds cannot be told from what it takes away
    y = None if is_cross_entropy(loss, C) else problem.y
    return Staged(metric, objective, problem.X, problem.r, problem.seed, min(max(4 * D, 4000), n), solver.tol, lanes, y)


def is_cross_entropy(loss: Loss, n_classes: int) -> bool:
    """Whether a row's Hessian is diag(p) - pp' itself: a softmax's cross-entropy, smoothed or not."""
    bare = loss.curve.linear and not loss.scores and not loss.terms and bool((loss.weights.omega(n_classes) == 1).all())
    return bare and isinstance(loss.link, Softmax)


def _diagonal(problem: Problem, objective: LinearObjective, seen: Moments, gap: float) -> AbstractMetric:
    """Of alpha_c x_d^2: at first as the class shares p say, whose entropy is the loss there; for a softmax then p (1 - p) on the way.

    Sparse rows of cross-entropy have all of the Hessian, by its products, where there is room for their probabilities.
    """
    assert seen.second is not None
    p, loss = seen.shares, objective.loss
    alpha = np.maximum(loss.link.spread(p), 1e-12)
    shares = Diagonal(objective, alpha[:, None] * seen.second, alpha)
    if not (isinstance(loss.link, Softmax) and loss.curve.linear):
        return shares
    C, unweighted = objective.shape[0], replace(loss, weights=type(loss.weights)())
    held = 2 * objective.dtype.itemsize * problem.X.shape[0] * C
    if gap < math.inf and not problem.dense and is_cross_entropy(unweighted, C) and held <= problem.room:
        return Newton(shares, objective, gap)
    return Following(shares, objective, -float(p @ np.log(np.maximum(p, np.finfo(float).tiny))))


def _mean(problem: Problem, S: NDArray[Any], w: NDArray[np.float64]) -> NDArray[np.float64]:
    with np.errstate(invalid="ignore"):
        mu = w.astype(S.dtype) @ S
    if not np.isfinite(mu).all():  # the sample was the first to see it
        arrays.finite_features("fit(X)", problem.X, problem.r)
    return mu.astype(np.float64)


def _second_moment(problem: Problem) -> NDArray[np.float64]:
    X, r = problem.X, problem.r
    if problem.dense:
        n = max(1, int(min(4096, problem.room // (24 * X.shape[1]))))  # as stored, in floats, in float64 twice
        picked, S = sample(X, r, n, problem.seed, compute_type(X))
        return (r[picked] / r[picked].sum()) @ (S.astype(np.float64) ** 2)
    return blocks.rows(X, problem.y, r, problem.n_classes).sum(_squares)[0] / r.sum()


def _squares(block: Block) -> tuple[NDArray[np.float64]]:
    return (np.asarray(block.r @ block.X.multiply(block.X)).ravel(),)


def _shares(problem: Problem) -> NDArray[np.float64]:
    """Share of every class among the rows that count."""
    y, r = problem.y, problem.r
    shares = r @ y if y.ndim == 2 else np.bincount(y[y >= 0], weights=r[y >= 0], minlength=problem.targets)
    return shares / max((r if problem.loss.weights.many else shares).sum(), np.finfo(float).tiny)


@dataclass(frozen=True)
class Steps:
    """What stochastic steps remember: how many there were, the weight they saw, the sum of weight x |x|^2."""

    count: int = 0
    seen: float = 0.0
    moment: float = 0.0


def step(problem: Problem, start: Start | None, so_far: Steps) -> tuple[NDArray[np.float64], NDArray[np.float64], Steps]:
    """One stochastic step down the gradient of a batch: rate 1 / (L sqrt(t)), L = 2 s mean |x|^2 + l2 for coef, 2 s for the intercepts.

    J <= s (`steepness`) and (x, 1)(x, 1)' <= 2 diag(|x|^2 I, 1): L bounds the Hessian, so that no step is too long and none is
    uselessly short, whatever the features' scale.
    """
    shape = (problem.n_classes, problem.X.shape[1])
    objective = plain_objective(problem)
    coef, intercept = start if start is not None else (np.zeros(shape), np.zeros(shape[0]))
    X, weight = problem.X, float(problem.r.sum())
    squares = np.einsum("ij,ij->i", X, X, dtype=np.float64) if problem.dense else np.asarray(X.multiply(X).sum(axis=1)).ravel()
    now = Steps(so_far.count + 1, so_far.seen + weight, so_far.moment + float(problem.r @ squares))
    _, gradient = objective.value_gradient(objective.from_users(coef, intercept))
    G, g = objective.split(gradient)
    rate, steep = 1 / np.sqrt(now.count), 2 * steepness(problem.loss, problem.n_classes)
    return coef - rate / max(steep * now.moment / now.seen + problem.l2, np.finfo(float).tiny) * G, intercept - rate / steep * g, now


@functools.lru_cache(maxsize=16)
def steepness(loss: Loss, n_scores: int) -> float:
    """What bounds the Hessian J of a row's loss: 1/2 slope^2 for cross-entropy (Bohning 1992), else the largest |J v| / |v| found.

    It is looked for at scores of several sizes, v turned towards the steepest direction by a few products. Class weights are left out:
    they weigh rows.
    """
    loss, classes, rng = replace(loss, weights=type(loss.weights)()), loss.link.classes(n_scores), np.random.default_rng(0)
    n = max(64, min(512, (1 << 17) // n_scores))
    y = loss.targets.enter("y", rng.integers(classes, size=n), n, classes, None)
    if is_cross_entropy(replace(loss, scores=()), classes) and all(phi.affine for phi in loss.scores):
        zeros = np.zeros((n, n_scores))
        return 0.5 * math.prod(float(np.max(phi.slope((zeros, zeros), y))) for phi in loss.scores) ** 2
    z, v, largest = rng.normal(size=(n, n_scores)) * rng.choice([0.0, 0.1, 1.0, 4.0], (n, 1)), rng.normal(size=(n, n_scores)), 0.5
    for _ in range(8):
        v /= np.maximum(np.linalg.norm(v, axis=1, keepdims=True), np.finfo(float).tiny)
        v = second_order(loss, Rows(z, y, np.ones(n)), v, 1.0)
        largest = max(largest, float(np.linalg.norm(v, axis=1).max()))
    return largest


def plain_objective(problem: Problem, mu: NDArray[np.float64] | None = None) -> LinearObjective:
    """The problem as a function of theta, features centred at mu."""
    X, C = problem.X, problem.n_classes
    total = problem.loss.weights.total(problem.y, problem.r, problem.targets)
    kernel, rows = kernels.choose(X, C, problem.loss), blocks.rows(X, problem.y, problem.r, C)
    shape, dtype = (C, X.shape[1]), compute_type(X)
    return LinearObjective(rows, kernel, problem.loss, shape, total, problem.l2, problem.fit_intercept, dtype, mu, problem.rotation)
