"""L-BFGS with a metric in its middle: pairs of the last steps on top of M, a preconditioner for the whole run.

    q = g;  q -= a_i y_i  (newest to oldest);  q = gamma M^-1 q;  q += (a_i - b_i) s_i  (oldest to newest);  d = -q
    gamma = s'y / y'M^-1 y  of the newest pair                 (Nocedal & Wright 2006, algorithm 7.4, with H0 = gamma M^-1)

One step costs one pass over the data unless the line search has to try again, which it seldom does: M gives the scale.
"""

from __future__ import annotations

import math
import time
from collections import deque
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from softgrad.solvers.solver import AbstractMetric, AbstractSolver, Callback, Objective, Result, State, Status
from softgrad.solvers.vectors import add, inner

Vector = NDArray[np.floating]
HOLD = 1 << 31  # bytes of pairs at most: very long vectors get fewer than `memory`


class Point(NamedTuple):
    """A parameter vector with value and gradient there."""

    theta: Vector
    value: float
    gradient: Vector


class Pairs:
    """The last `memory` steps s and gradient changes y, and the direction that they make with a metric."""

    def __init__(self, memory: int, nbytes: int):
        self.kept: deque[tuple[Vector, Vector, float]] = deque(maxlen=max(3, min(memory, HOLD // (2 * nbytes))))

    def add(self, s: Vector, y: Vector) -> None:
        sy = inner(s, y)
        if sy > 1e-12 * math.sqrt(inner(s, s) * inner(y, y)):  # curvature seen along s; else (non-convex, or noise) nothing was learnt
            self.kept.append((s, y, 1 / sy))

    def direction(self, gradient: Vector, metric: AbstractMetric) -> Vector:
        q, along = gradient.copy(), []
        for s, y, rho in reversed(self.kept):
            along.append(rho * inner(s, q))
            add(q, -along[-1], y)
        q = metric.solve(q)
        if self.kept:
            _, y, rho = self.kept[-1]
            q *= q.dtype.type(1 / (rho * inner(y, metric.solve(y))))
        for (s, y, rho), a in zip(self.kept, reversed(along), strict=True):
            add(q, a - rho * inner(y, q), s)
        return np.negative(q, out=q)


@dataclass(frozen=True)
class Search:
    """A step t > 0 along d: f falls (Armijo, or Hager and Zhang's approximate condition where f is flat to rounding), slope rises.

    phi(t) = f(theta + t d):  phi(t) <= phi(0) + c1 t phi'(0)  or  phi(t) <= phi(0) + noise |phi(0)| and phi'(t) <= (2 c1 - 1) phi'(0);
    phi'(t) >= c2 phi'(0). On a convex f the slope brackets the step; trial points cost a pass each.
    """

    c1: float = 1e-4
    c2: float = 0.9
    trials: int = 25

    def step(self, objective: Objective, at: Point, d: Vector) -> Point | None:
        slope, low, high, t = inner(at.gradient, d), 0.0, math.inf, 1.0
        best: Point | None = None
        for _ in range(self.trials):
            theta = at.theta.copy()
            add(theta, t, d)
            new = Point(theta, *objective.value_gradient(theta))
            new_slope = inner(new.gradient, d)
            if self.falls(objective, at, new, t, slope, new_slope):
                if new_slope >= self.c2 * slope:
                    return new
                best = new if new.value < at.value else best
                low, t = t, 2 * t if high == math.inf else (t + high) / 2
            else:
                high, t = t, self.between(low, t, slope, new.value - at.value)
            if high - low < 1e-10 * high:
                break
        return best

    def falls(self, objective: Objective, at: Point, new: Point, t: float, slope: float, new_slope: float) -> bool:
        if not (math.isfinite(new.value) and math.isfinite(new_slope)):
            return False
        flat = new.value <= at.value + objective.noise * abs(at.value) and new_slope <= (2 * self.c1 - 1) * slope
        return flat or new.value <= at.value + self.c1 * t * slope

    @staticmethod
    def between(low: float, t: float, slope: float, rise: float) -> float:
        """The minimum of the parabola through phi(0), phi'(0), phi(t), kept well inside (low, t)."""
        guess = -0.5 * slope * t * t / (rise - slope * t) if math.isfinite(rise) and rise > slope * t else 0.0
        return min(max(guess, low + 0.1 * (t - low)), low + 0.5 * (t - low))


@dataclass(frozen=True)
class LBFGS(AbstractSolver):
    """Preconditioned L-BFGS.

    tol bounds the max-norm of the gradient, max_iter the steps, memory the pairs. Reference: Nocedal & Wright 2006, chapter 7;
    Hager & Zhang 2005, doi 10.1137/030601880.
    """

    tol: float = 1e-5
    max_iter: int = 200
    memory: int = 20
    search: Search = Search()

    def minimize(
        self, objective: Objective, start: Vector, metric: AbstractMetric, callback: Callback | None = None, began: float | None = None
    ) -> Result:
        run = Run(self, objective, metric, callback, time.perf_counter() if began is None else began, start)
        while run.status is None:
            run.advance()
        return run.result()


class Run:
    """One run of L-BFGS: the point it is at, and what it remembers."""

    def __init__(
        self, solver: LBFGS, objective: Objective, metric: AbstractMetric, callback: Callback | None, began: float, start: Vector
    ):
        self.solver, self.objective, self.metric, self.callback = solver, objective, metric, callback
        self.began, self.first_pass = began, objective.passes
        self.pairs, self.trace, self.stalled = Pairs(solver.memory, start.nbytes), [], 0
        self.status: Status | None = None
        self.at = Point(start, *objective.value_gradient(start))
        self.best = self.record()

    def record(self) -> tuple[State, Point]:
        norm = self.objective.norm(self.at.gradient)
        passes, seconds = self.objective.passes - self.first_pass, time.perf_counter() - self.began
        state = State(passes, len(self.trace), self.at.value, norm, seconds)
        self.trace.append(state)
        if self.callback is not None:
            self.callback(state)
        if not (math.isfinite(self.at.value) and math.isfinite(norm)):
            self.status = Status.NOT_FINITE
        elif norm <= self.solver.tol:
            self.status = Status.CONVERGED
        elif state.iteration >= self.solver.max_iter:
            self.status = Status.MAX_ITER
        return state, self.at

    def advance(self) -> None:
        self.metric.update(self.at.theta, self.trace[-1])
        d = self.pairs.direction(self.at.gradient, self.metric)
        promised = -inner(self.at.gradient, d)
        new = self.solver.search.step(self.objective, self.at, d) if promised > 0 else None
        if new is None:
            self.give_up_or_forget(promised)
            return
        self.pairs.add(new.theta - self.at.theta, new.gradient - self.at.gradient)
        self.at = new
        state = self.record()
        self.watch(state, promised)

    def give_up_or_forget(self, promised: float) -> None:
        """No step: without the pairs there may be one; else f is flat to rounding, or something is wrong."""
        if self.pairs.kept:
            self.pairs.kept.clear()
            return
        self.status = Status.PRECISION if self.flat(promised) else Status.LINE_SEARCH

    def watch(self, state: tuple[State, Point], promised: float) -> None:
        """Steps that promise less than the value's rounding and leave the gradient as it was: the type's precision is reached."""
        better = state[0].gradient_norm < 0.9 * self.best[0].gradient_norm
        if state[0].gradient_norm < self.best[0].gradient_norm:
            self.best = state
        self.stalled = 0 if better or not self.flat(promised) else self.stalled + 1
        if self.stalled >= 5 and self.status is None:
            self.status, self.at = Status.PRECISION, self.best[1]
            self.trace.append(replace(self.best[0], passes=state[0].passes, iteration=state[0].iteration, seconds=state[0].seconds))

    def flat(self, promised: float) -> bool:
        return 0 < promised <= self.objective.noise * abs(self.at.value)

    def result(self) -> Result:
        last = self.trace[-1]
        assert self.status is not None
        return Result(
            self.at.theta, self.at.value, self.status, last.gradient_norm, last.passes, last.iteration, last.seconds, tuple(self.trace)
        )
