"""L-BFGS with a metric in its middle: pairs of the last steps on top of M, a preconditioner for the whole run.

    q = g;  q -= a_i y_i  (newest to oldest);  q = gamma M^-1 q;  q += (a_i - b_i) s_i  (oldest to newest);  d = -q
    gamma = s'y / y'M^-1 y  of the newest pair                 (Nocedal & Wright 2006, algorithm 7.4, with H0 = gamma M^-1)

One step costs one pass over the data unless the line search has to try again, which it seldom does: M gives the scale. And it costs one
solve with M: M^-1 is linear, so M^-1 q and M^-1 y are put together from the gradients' M^-1 g (`Pairs`).

A run is a conversation (`Run`): it asks for value and gradient at a point, is told them, and turns. So who drives it may answer many runs
by one pass over the data (`path`), or stop and go on another day (`checkpoint`).
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from softgrad.solvers.solver import AbstractMetric, AbstractSolver, Callback, Objective, Result, State, Status
from softgrad.solvers.vectors import add, combined, inner, products

Vector = NDArray[np.floating]
STEPS, ROUGH = 100, 10  # a step a hundredth as long, and a change that fell to no less than a tenth: of rounding, not of the function
VANISHED = 1e-280  # |y|^2 whose quotients may be no numbers: an optimum at infinity is so flat in the end
LEAST = 1e-2  # a value that goes to 0 need not be followed there
HOLD = 1 << 31  # bytes of pairs at most: very long vectors get fewer than `memory`
NEAR, FAR = 1 << 26, 8  # bytes of pairs beyond which there are no more than 8: a step goes through all of them, and took longer than a pass


class Point(NamedTuple):
    """A parameter vector with value and gradient there."""

    theta: Vector
    value: float
    gradient: Vector


class Pair(NamedTuple):
    """A step s, the gradient's change y along it, v = M^-1 y, and rho = 1 / s'y."""

    s: Vector
    y: Vector
    v: Vector
    rho: float


class Pairs:
    """The last `memory` pairs, and the direction that they make with a metric.

    It is a combination of M^-1 g, the s_i and the v_i, whose coefficients need nothing but scalar products (i from old to new):

        a_i = rho_i (s_i'g - sum_{j > i} a_j s_i'y_j)
        b_i = rho_i (gamma (v_i'g - sum_j a_j v_i'y_j) + sum_{k < i} (a_k - b_k) s_k'y_i)
        -d  = gamma (M^-1 g - sum_i a_i v_i) + sum_i (a_i - b_i) s_i

    That is the recursion at the top of this room without its intermediate vectors: s and v go through memory twice for each step instead
    of six times, which is what a step costs where there are millions of coefficients (Chen, Wang & Zhou 2014, Large-scale L-BFGS).
    """

    def __init__(self, memory: int, nbytes: int):
        self.memory = max(3, min(memory, max(FAR, NEAR // (3 * nbytes)), HOLD // (3 * nbytes)))
        self.kept: list[Pair] = []
        self.sy = self.vy = np.empty((0, 0))  # s_i'y_j for i <= j, and v_i'y_j

    def add(self, s: Vector, y: Vector, v: Vector) -> None:
        sy, yy = inner(s, y), inner(y, y)
        if yy < VANISHED or sy <= 1e-12 * math.sqrt(inner(s, s) * yy):  # no curvature seen along s (non-convex, or noise)
            return
        old = 1 if len(self.kept) == self.memory else 0
        kept = self.kept[old:]
        with_y, m = products([*(pair.s for pair in kept), *(pair.v for pair in kept), v], [y])[:, 0], len(kept)
        if not with_y[-1] > 0:  # y'M^-1 y, lost to rounding
            return
        self.kept, self.sy, self.vy = kept, self.sy[old:, old:], self.vy[old:, old:]
        self.kept.append(Pair(s, y, v, 1 / sy))
        self.sy = np.block([[self.sy, with_y[:m, None]], [np.zeros((1, m)), np.full((1, 1), sy)]])
        self.vy = np.block([[self.vy, with_y[m:-1, None]], [with_y[None, m:]]])

    def forget(self) -> None:
        self.kept, self.sy, self.vy = [], np.empty((0, 0)), np.empty((0, 0))

    def direction(self, gradient: Vector, solved: Vector) -> Vector:
        """d = -H gradient, where solved = M^-1 gradient."""
        m = len(self.kept)
        if m == 0:
            return -solved
        s, v, rho = [pair.s for pair in self.kept], [pair.v for pair in self.kept], [pair.rho for pair in self.kept]
        with_g = products([*s, *v], [gradient])[:, 0]
        a, b = np.zeros(m), np.zeros(m)
        for i in reversed(range(m)):
            a[i] = rho[i] * (with_g[i] - self.sy[i, i + 1 :] @ a[i + 1 :])
        gamma = self.sy[-1, -1] / self.vy[-1, -1]
        for i in range(m):
            b[i] = rho[i] * (gamma * (with_g[m + i] - self.vy[i] @ a) + (a - b)[:i] @ self.sy[:i, i])
        return combined([solved, *v, *s], [-gamma, *(gamma * a), *(b - a)])


@dataclass(frozen=True)
class Search:
    """Step length t along d: weak Wolfe, or the approximate form (right where f is flat to rounding), slope rises.

    phi(t) = f(theta + t d):  phi(t) <= phi(0) + c1 t phi'(0)  or  phi(t) <= phi(0) + noise |phi(0)| and phi'(t) <= (2 c1 - 1) phi'(0);
    phi'(t) >= c2 phi'(0). On a convex f the slope brackets the step; trial points cost a pass each.
    """

    c1: float = 1e-4
    c2: float = 0.9
    trials: int = 25


@dataclass
class Line:
    """A search under way: from `at` along d, the step between low and high, t to be tried next; trials are pairs (t, phi(t) - phi(0))."""

    rule: Search
    noise: float
    at: Point
    d: Vector
    slope: float
    low: float = 0.0
    high: float = math.inf
    t: float = 1.0
    trials: list[tuple[float, float]] = field(default_factory=list)
    best: Point | None = None

    def asked(self) -> Vector:
        theta = self.at.theta.copy()
        add(theta, self.t, self.d)
        return theta

    def over(self, new: Point) -> bool:
        """Judge the point at t: True when the search is over, with `best` (or without any)."""
        slope = inner(new.gradient, self.d)
        self.trials.append((self.t, new.value - self.at.value))
        if self.falls(new, slope):
            self.best = new if new.value < self.at.value or slope >= self.rule.c2 * self.slope else self.best
            if slope >= self.rule.c2 * self.slope:
                return True
            self.low, self.t = self.t, 2 * self.t if self.high == math.inf else (self.t + self.high) / 2
        else:
            self.high, self.t = self.t, self.between(new.value - self.at.value)
        return len(self.trials) >= self.rule.trials or self.high - self.low < 1e-10 * self.high

    @property
    def rough(self) -> float:
        """The largest change of the value that cannot be the function's, as it did not shrink where t did: rounding, whatever `noise` says.

        The step to t / STEPS changes a function by about a STEPS-th of what the step to t does. Where scores are large, as on the way to an
        optimum at infinity, the value is rounded more coarsely than its own size tells.
        """
        pairs = [(abs(near), abs(far)) for t, near in self.trials for s, far in self.trials if t * STEPS <= s]
        return max((near for near, far in pairs if near * ROUGH > far), default=0.0)

    def falls(self, new: Point, slope: float) -> bool:
        if not (math.isfinite(new.value) and math.isfinite(slope)):
            return False
        flat = new.value <= self.at.value + self.noise * abs(self.at.value) and slope <= (2 * self.rule.c1 - 1) * self.slope
        return flat or new.value <= self.at.value + self.rule.c1 * self.t * self.slope

    def between(self, rise: float) -> float:
        """The minimum of the parabola through phi(0), phi'(0), phi(t), kept well inside (low, t)."""
        low, t, slope = self.low, self.t, self.slope
        guess = -0.5 * slope * t * t / (rise - slope * t) if math.isfinite(rise) and rise > slope * t else 0.0
        return min(max(guess, low + 0.1 * (t - low)), low + 0.5 * (t - low))


@dataclass(frozen=True)
class LBFGS(AbstractSolver):
    """Preconditioned L-BFGS.

    tol bounds the max-norm of the gradient, max_iter the steps, memory the pairs; gap bounds the decrease that the next step promises,
    relative to the value (where the start is warm, a small gradient alone says little of how far the optimum is). Reference: Nocedal &
    Wright 2006, chapter 7; Hager & Zhang 2005, doi 10.1137/030601880.
    """

    tol: float = 1e-5
    max_iter: int = 200
    memory: int = 20
    gap: float = math.inf
    search: Search = Search()

    def minimize(
        self, objective: Objective, start: Vector, metric: AbstractMetric, callback: Callback | None = None, began: float | None = None
    ) -> Result:
        run = Run(self, start, objective.noise, objective.norm, time.perf_counter() if began is None else began)
        while run.status is None:
            if not run.tell(Point(run.asked, *objective.value_gradient(run.asked))):
                continue
            if callback is not None:
                callback(run.trace[-1])
            if run.status is None:
                if metric.update(run.at.theta, run.trace[-1]):
                    run.renew(metric)
                run.turn(*metric.solve([run.at.gradient]))
        return run.result()


class Run:
    """One run of L-BFGS: where it is, what it remembers, and the point `asked` at which it wants to be told value and gradient."""

    def __init__(self, solver: LBFGS, start: Vector, noise: float, norm: Callable[[Vector], float], began: float):
        self.solver, self.asked, self.noise, self.norm, self.began = solver, start, noise, norm, began
        self.pairs, self.trace, self.passes, self.stalled = Pairs(solver.memory, start.nbytes), [], 0, 0
        self.status: Status | None = None
        self.line: Line | None = None

    def tell(self, new: Point, passes: int = 1) -> bool:
        """Value and gradient at `asked`, and what they cost. True: a step is done; `turn` has to follow, unless the run has ended."""
        self.passes += passes
        if self.line is None:
            self.at = new
        elif not self.line.over(new):
            self.asked = self.line.asked()
            return False
        elif self.line.best is None:
            self.forget_or_give_up()
            return False
        else:
            self.at = self.line.best
        self.record()
        return True

    def record(self) -> None:
        norm, iteration = self.norm(self.at.gradient), len(self.trace)
        state = State(self.passes, iteration, self.at.value, norm, time.perf_counter() - self.began)
        self.trace.append(state)
        if not (math.isfinite(self.at.value) and math.isfinite(norm)):
            self.status = Status.NOT_FINITE
        elif norm <= self.solver.tol and (norm == 0 or self.solver.gap == math.inf):
            self.status = Status.CONVERGED
        elif iteration >= self.solver.max_iter:
            self.status = Status.MAX_ITER
        if self.line is None:
            self.best = state, self.at
        else:
            self.watch(state, -self.line.slope)

    def turn(self, solved: Vector) -> None:
        """M^-1 gradient at the point that `tell` has reached: remember the step, and ask for the next."""
        if self.line is not None:
            before = self.line.at
            self.pairs.add(self.at.theta - before.theta, self.at.gradient - before.gradient, solved - self.solved)
        self.solved = solved
        self.aim()

    def aim(self) -> None:
        d = self.pairs.direction(self.at.gradient, self.solved)
        self.line = Line(self.solver.search, self.noise, self.at, d, inner(self.at.gradient, d))
        if self.line.slope >= 0:
            self.forget_or_give_up()
        elif self.trace[-1].gradient_norm <= self.solver.tol and -self.line.slope <= self.solver.gap * max(self.at.value, LEAST):
            self.status = Status.CONVERGED
        else:
            self.asked = self.line.asked()

    def go_on(self, d: Vector) -> bool:
        """Where a run without pairs has just begun: a step d that others know of, if it leads down. False: `turn` has to follow."""
        slope = inner(self.at.gradient, d)
        if slope < 0:
            self.solved = -d  # as of a metric that leads there
            self.line = Line(self.solver.search, self.noise, self.at, d, slope)
            self.asked = self.line.asked()
        return slope < 0

    def renew(self, metric: AbstractMetric) -> None:
        """Another metric from here on: what the old one solved is solved anew."""
        if metric.exact:
            self.pairs.forget()
            self.line = None
            return
        kept, at = self.pairs.kept, [] if self.line is None else [self.line.at.gradient]
        if not (kept or at):
            return
        solved = metric.solve([*(pair.y for pair in kept), *at])
        self.pairs.forget()
        for pair, v in zip(kept, solved[: len(kept)], strict=True):
            self.pairs.add(pair.s, pair.y, v)
        if at:
            self.solved = solved[-1]

    def forget_or_give_up(self) -> None:
        """No step: without the pairs there may be one; else f is flat to rounding, or something is wrong."""
        assert self.line is not None
        if self.pairs.kept:
            self.pairs.forget()
            self.aim()
            return
        self.status = Status.PRECISION if self.flat(-self.line.slope, self.line.rough) else Status.LINE_SEARCH

    def watch(self, state: State, promised: float) -> None:
        """Steps that promise less than the value's rounding and leave the gradient as it was: the type's precision is reached."""
        better = state.gradient_norm < 0.9 * self.best[0].gradient_norm
        if state.gradient_norm < self.best[0].gradient_norm:
            self.best = state, self.at
        self.stalled = 0 if better or not self.flat(promised) else self.stalled + 1
        if self.stalled >= 5 and self.status is None:
            self.status, self.at = Status.PRECISION, self.best[1]
            self.trace.append(replace(self.best[0], passes=state.passes, iteration=state.iteration, seconds=state.seconds))

    def flat(self, promised: float, rough: float = 0.0) -> bool:
        return 0 < promised <= max(self.noise * abs(self.at.value), rough)

    def result(self) -> Result:
        last = self.trace[-1]
        assert self.status is not None
        return Result(
            self.at.theta, self.at.value, self.status, last.gradient_norm, last.passes, last.iteration, last.seconds, tuple(self.trace)
        )
