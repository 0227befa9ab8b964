"""One fit: rows, loss and penalty in; coefficients and how the solver ended out. The estimator's engine; knows no users.

The metric is chosen by shape: a Gram matrix of a sample of rows where D allows, a diagonal where it does not, and the sampled Hessian
on top where C x D allows. Where N < D the rows span at most N directions, and the penalised optimum lies in them: the fit is done there,
on the N x N triangle of a QR decomposition, exactly.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from softgrad import arrays, kernels, threads
from softgrad.blocks.memory import in_memory
from softgrad.cholesky import gram
from softgrad.kernels.fused import compute_type
from softgrad.losses.loss import Loss
from softgrad.objective import LinearObjective
from softgrad.precondition import GRAM_FEATURES, HESSIAN_SIZE, SPARSE_GRAM_FEATURES, Diagonal, Gram, Staged, sample
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

    @property
    def dense(self) -> bool:
        return not hasattr(self.X, "indptr")


@dataclass(frozen=True)
class Fit:
    """coef (C, D), intercept (C,), and the solver's result."""

    coef: NDArray[np.float64]
    intercept: NDArray[np.float64]
    result: Result


def fit(problem: Problem, solver: AbstractSolver, start: Start | None = None, callback: Callback | None = None) -> Fit:
    """Take the problem to its optimum from `start` (zeros if None)."""
    (n, d), began = problem.X.shape, time.perf_counter()
    with threads.blas(1):  # solves and scalar products too: a spinning BLAS would hold up the next pass
        if problem.dense and n < d and problem.l2 > 0 and start is None:
            return _in_row_space(problem, solver, callback, began)
        return _fit(problem, solver, start, callback, began)


def _fit(problem: Problem, solver: AbstractSolver, start: Start | None, callback: Callback | None, began: float) -> Fit:
    objective, metric = _centred_objective(problem, solver.tol)
    shape = objective.shape
    theta = objective.from_users(*(start if start is not None else (np.zeros(shape), np.zeros(shape[0]))))
    result = solver.minimize(objective, theta, metric, callback, began)
    coef, intercept = objective.to_users(result.parameters)
    if problem.loss.shift_invariant:  # of all equal fits the one that sums to 0 over the classes: the optimum's, whatever the path to it
        coef, intercept = coef - coef.mean(axis=0), intercept - intercept.mean()
    return Fit(np.ascontiguousarray(coef), intercept, result)


def _in_row_space(problem: Problem, solver: AbstractSolver, callback: Callback | None, began: float) -> Fit:
    """(X - mu)' = Q R:  scores W (x_i - mu) = (W Q) R_i with |W Q| = |W| for every W spanned by the rows; W = V Q' comes back."""
    from scipy.linalg import qr

    X = problem.X.astype(np.float64 if compute_type(problem.X) == np.float64 else np.float32)
    counted = problem.r > 0
    X = X[counted]
    mu = _mean(problem, X, np.full(len(X), 1 / len(X))) if problem.fit_intercept else np.zeros(X.shape[1])
    Q, R = (np.asarray(M) for M in qr((X - mu.astype(X.dtype)).T, mode="economic", overwrite_a=True, check_finite=False))
    small = replace(problem, X=np.ascontiguousarray(R.T), y=problem.y[counted], r=problem.r[counted])
    found = _fit(small, solver, None, callback, began)
    coef = found.coef @ Q.T.astype(np.float64)
    return Fit(coef, found.intercept - coef @ mu, found.result)


def _centred_objective(problem: Problem, tol: float) -> tuple[LinearObjective, AbstractMetric]:
    X, r, C = problem.X, problem.r, problem.n_classes
    objective, D = _plain_objective(problem), X.shape[1]
    dtype = objective.dtype
    if (GRAM_FEATURES if problem.dense else SPARSE_GRAM_FEATURES) < D:
        return objective, _diagonal(problem, objective)
    n_gram = max(3 * D, 8192)
    picked, S = sample(X, r, min(n_gram, X.shape[0]), problem.seed, dtype)
    w = r[picked] / r[picked].sum()
    if problem.fit_intercept:
        objective.mu = _mean(problem, S, w)
        S -= objective.mu.astype(dtype)
    S *= np.sqrt(w)[:, None].astype(dtype)
    shares = _shares(problem)
    G = gram(S)
    del S  # the largest thing that a fit makes
    metric = Gram(objective, G, max(float(np.mean(shares * (1 - shares))), 1e-6))
    if C * (D + 1) > HESSIAN_SIZE:
        return objective, metric
    return objective, Staged(metric, objective, X, r, problem.seed, min(max(4 * D, 4000), X.shape[0]), tol)


def _mean(problem: Problem, S: NDArray[Any], w: NDArray[np.float64]) -> NDArray[np.float64]:
    with np.errstate(invalid="ignore"):
        mu = w.astype(S.dtype) @ S
    if not np.isfinite(mu).all():  # the sample was the first to see it
        arrays.finite_features("fit(X)", problem.X, problem.r)
    return mu.astype(np.float64)


def _diagonal(problem: Problem, objective: LinearObjective) -> Diagonal:
    X, r = problem.X, problem.r
    if problem.dense:
        picked, S = sample(X, r, 4096, problem.seed, objective.dtype)
        moment = (r[picked] / r[picked].sum()) @ (S.astype(np.float64) ** 2)
    else:
        moment = np.asarray((r / r.sum()) @ X.multiply(X)).ravel().astype(np.float64)
    return Diagonal(objective, _shares(problem), moment)


def _shares(problem: Problem) -> NDArray[np.float64]:
    """Share of every class among the rows that count."""
    y, r = problem.y, problem.r
    shares = r @ y if y.ndim == 2 else np.bincount(y[y >= 0], weights=r[y >= 0], minlength=problem.n_classes)
    return shares / max(shares.sum(), np.finfo(float).tiny)


@dataclass(frozen=True)
class Steps:
    """What stochastic steps remember: how many there were, the weight they saw, the sum of weight x |x|^2."""

    count: int = 0
    seen: float = 0.0
    moment: float = 0.0


def step(problem: Problem, start: Start | None, so_far: Steps) -> tuple[NDArray[np.float64], NDArray[np.float64], Steps]:
    """One stochastic step down the gradient of a batch: rate 1 / (L sqrt(t)), L = mean |x|^2 + l2 for coef, 1 for the intercepts.

    diag(p) - pp' <= 1/2 (Bohning) and (x, 1)(x, 1)' <= 2 diag(|x|^2 I, 1): L bounds the Hessian, so that no step is too long and none is
    uselessly short, whatever the features' scale.
    """
    shape = (problem.n_classes, problem.X.shape[1])
    objective = _plain_objective(problem)
    coef, intercept = start if start is not None else (np.zeros(shape), np.zeros(shape[0]))
    X, weight = problem.X, float(problem.r.sum())
    squares = np.einsum("ij,ij->i", X, X, dtype=np.float64) if problem.dense else np.asarray(X.multiply(X).sum(axis=1)).ravel()
    now = Steps(so_far.count + 1, so_far.seen + weight, so_far.moment + float(problem.r @ squares))
    _, gradient = objective.value_gradient(objective.from_users(coef, intercept))
    G, g = objective.split(gradient)
    rate = 1 / np.sqrt(now.count)
    return coef - rate / max(now.moment / now.seen + problem.l2, np.finfo(float).tiny) * G, intercept - rate * g, now


def _plain_objective(problem: Problem) -> LinearObjective:
    X, C = problem.X, problem.n_classes
    total = problem.loss.weights.total(problem.y, problem.r, C)
    kernel, rows = kernels.choose(X, C, problem.loss), in_memory(X, problem.y, problem.r, C)
    shape = (C, X.shape[1])
    return LinearObjective(rows, kernel, problem.loss, shape, total, problem.l2, problem.fit_intercept, compute_type(X))
