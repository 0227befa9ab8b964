"""Same quality for both sides: how many iterations each needs until its objective is within (1 + gap) of the best.

    f(W, b) = mean_i (logsumexp(W x_i + b) - (W x_i + b)_y_i) + l2/2 |W|^2,        gap = f / f* - 1

One judge for all: f in float64, from the coefficients that a fit hands out. f* is softgrad's own fit to a tiny gradient, and
the gradient that the judge (not the fit) finds there bounds how far it may still be above the optimum.
"""

from __future__ import annotations

import contextlib
import time
import warnings
from dataclasses import dataclass
from functools import lru_cache
from typing import Any
from unittest import mock

import numpy as np
import scipy.optimize
from sklearn.exceptions import ConvergenceWarning

import softgrad
from bench import peers
from bench.problems import Problem, load
from bench.timing import two_threads

CELLS = 1 << 23  # values of X, or of scores, that the judge holds in float64 at a time
MOST = 20_000  # iterations


@dataclass(frozen=True)
class Best:
    """f* and an upper bound of f* - min f, by strong convexity: |dW|^2 / (2 l2), intercepts being at their optimum."""

    value: float
    bound: float
    gradient_norm: float


def value(problem: Problem, coef: np.ndarray, intercept: np.ndarray) -> float:
    """f in float64."""
    return value_gradient(problem, coef, intercept, with_gradient=False)[0]


def value_gradient(
    problem: Problem, coef: np.ndarray, intercept: np.ndarray, *, with_gradient: bool = True
) -> tuple[float, np.ndarray, np.ndarray]:
    """f, df/dW (C, D) and df/db (C,) in float64, plain lines."""
    W, b, N = coef.astype(np.float64), intercept.astype(np.float64), problem.X.shape[0]
    total, G, g = 0.0, problem.l2 * W, np.zeros(len(b))
    step = max(1, CELLS // max(len(b), 1 if hasattr(problem.X, "indptr") else W.shape[1]))
    for i in range(0, N, step):
        X, y = problem.X[i : i + step].astype(np.float64), problem.y[i : i + step]
        Z = np.asarray(X @ W.T) + b
        Z -= Z.max(axis=1, keepdims=True)
        picked = Z[np.arange(len(y)), y]
        P = np.exp(Z, out=Z)
        sums = P.sum(axis=1)
        total += float(np.sum(np.log(sums) - picked))
        if with_gradient:
            P /= sums[:, None]
            P[np.arange(len(y)), y] -= 1
            G += np.asarray(X.T @ P).T / N
            g += P.sum(axis=0) / N
    return total / N + 0.5 * problem.l2 * float(np.vdot(W, W)), G, g


@lru_cache(maxsize=8)
def best(name: str, small: bool, tol: float, wide: bool) -> Best:
    """f* of a problem, by a fit in float64 (wide) or in the problem's own type."""
    problem = load(name, small)
    with two_threads():
        model = _softgrad(problem, problem.X.astype(np.float64) if wide else problem.X, tol, MOST)
        found, G, g = value_gradient(problem, model.coef_, model.intercept_)
    norm = float(max(np.abs(G).max(), np.abs(g).max()))
    return Best(found, float(np.vdot(G, G)) / (2 * problem.l2), norm)


def softgrad_fit(problem: Problem, max_iter: int) -> softgrad.SoftmaxClassifier:
    """A fit stopped by max_iter alone."""
    return _softgrad(problem, problem.X, 1e-12, max_iter)


def _softgrad(problem: Problem, X: Any, tol: float, max_iter: int) -> softgrad.SoftmaxClassifier:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return softgrad.SoftmaxClassifier(C=problem.C, tol=tol, max_iter=max_iter).fit(X, problem.y)


class _Reached(Exception):
    """Thrown out of a fit at the iteration in question."""


def softgrad_iterations(problem: Problem, goal: float) -> int | None:
    """The smallest max_iter whose fit has f <= goal; None if there is none."""
    reached = 0

    def callback(state: Any) -> None:
        nonlocal reached
        reached = state.iteration
        if state.value <= goal:
            raise _Reached

    with two_threads(), warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        model = softgrad.SoftmaxClassifier(C=problem.C, tol=1e-12, max_iter=MOST, callback=callback)
        with contextlib.suppress(_Reached):
            model.fit(problem.X, problem.y)
        for k in range(max(1, reached - 1), reached + 6):  # the pass's value is in float32, the judge's is not
            fit = softgrad_fit(problem, k)
            if value(problem, fit.coef_, fit.intercept_) <= goal:
                return k
    return None


@dataclass(frozen=True)
class Watched:
    """Iterations of a fit until f <= goal, or until it ended by itself (reached is False); seconds with the watching."""

    iterations: int
    reached: bool
    seconds: float


def sklearn_iterations(problem: Problem, X: Any, goal: float) -> Watched:
    """The smallest max_iter of scikit-learn's lbfgs on X (the problem's, in some type) with f <= goal, from one watched run."""
    n_classes, iterations, begin = int(problem.y.max()) + 1, 0, time.perf_counter()

    def callback(intermediate_result: Any) -> None:
        nonlocal iterations
        iterations += 1
        if intermediate_result.fun <= goal * (1 + 1e-6):  # the rounding of its float32 sums; the judge decides
            theta = intermediate_result.x.reshape((n_classes, -1), order="F")
            if value(problem, theta[:, :-1], theta[:, -1]) <= goal:
                raise _Reached

    minimize = scipy.optimize.minimize

    def watched(*args: Any, **kwargs: Any) -> Any:
        return minimize(*args, **(kwargs | {"callback": callback}))

    with two_threads(), mock.patch.object(scipy.optimize, "minimize", watched):
        try:
            peers.sklearn_fit(X, problem.y, problem.C, MOST)
        except _Reached:
            return Watched(iterations, True, time.perf_counter() - begin)
    return Watched(iterations, False, time.perf_counter() - begin)
