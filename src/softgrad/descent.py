"""Stochastic training of a grid: problems that differ in penalty, learning rate and temperature, side by side in one stream of mini-batches.

    f_p(W, b) = 1/S sum_i r_i L((W x_i + b) / T_p, y_i) + l2_p/2 |W|^2

A mini-batch of B of n rows has the loss n/(B S) sum_{i in batch} r_i L_i, the data's on average. What the heads are multiplied with is
x~ = (x - mu, s): see `curvature` for mu and s, which move no optimum, and for the rate of a point that names none.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from softgrad import curvature, threads
from softgrad.blocks.block import Block
from softgrad.blocks.minibatches import MiniBatch, MiniBatches
from softgrad.heads import Heads
from softgrad.kernels.fused import compute_type
from softgrad.losses.loss import Rows, schedule_for
from softgrad.solvers.sgd import SGD
from softgrad.solvers.solver import Result, State, Status, Stride
from softgrad.training import Fit, Problem, Start, plain_objective

LOST = 10.0  # times the loss of zero coefficients

Watch = Callable[[int, State], None]  # number of the point, and its state


@dataclass(frozen=True)
class Point:
    """One training of a grid: its penalty, its learning rate (None: the solver's), its temperature."""

    l2: float
    learning_rate: float | None = None
    temperature: float = 1.0


def descend(problem: Problem, points: Sequence[Point], solver: SGD, start: Start | None = None, watch: Watch | None = None) -> list[Fit]:
    """Train all points (problem.l2 is not read) from `start`, zeros if None; one that diverges goes back there, the others go on.

    The coefficients handed out are W / T with T the last temperature: they predict as the last step saw them. Value and gradient norm
    are exact there; on the way, those of the mini-batches since the last record, one for each pass over the rows.
    """
    began = time.perf_counter()
    with threads.blas(1):
        return Descent(problem, points, solver, start, watch, began).run()


class Descent:
    """A run: the heads that are still trained (`alive` are their points), and what was seen of all."""

    def __init__(self, problem: Problem, points: Sequence[Point], solver: SGD, start: Start | None, watch: Watch | None, began: float):
        self.problem, self.points, self.solver, self.watch, self.began = problem, points, solver, watch, began
        rows, counted, dtype = Block(problem.X, problem.y, problem.r), np.flatnonzero(problem.r), compute_type(problem.X)
        self.curvature = curvature.measure(rows, _weights(problem), problem.fit_intercept, problem.seed, dtype)
        self.batches = MiniBatches(rows, counted, self.curvature.mu, self.curvature.s)
        self.n, self.size, self.steps = len(counted), min(solver.batch_size, len(counted)), solver.steps(len(counted))
        weights = problem.loss.weights
        self.scale = weights.share(weights.total(problem.y, problem.r, problem.n_classes)) * self.n / self.size
        self.l2, self.T = np.array([p.l2 for p in points]), np.array([p.temperature for p in points])
        self.rate = np.array([self._rate(p) for p in points])
        self.zeros = np.zeros((problem.n_classes, problem.X.shape[1])), np.zeros(problem.n_classes)
        self.start = self.zeros if start is None else start
        W = np.vstack([self._inwards(T) for T in self._last_temperature(self.T)]).astype(dtype, order="C" if problem.dense else "F")
        self.heads = Heads(problem.loss, solver.direction, W, len(points), solver.averaged > 0)
        self.alive, P = np.arange(len(points)), len(points)
        self.traces: list[list[State]] = [[] for _ in points]
        self.sums, self.summed, self.nothing = np.zeros(P), 0, np.inf
        self.clipped, self.largest, self.results = np.zeros(P), np.zeros(P), dict[int, Fit]()

    def run(self) -> list[Fit]:
        stream = self.batches.stream(self.size, self.steps, self.problem.seed)
        for k, batch in enumerate(threads.in_order(self.batches.gather, stream)):
            self.nothing = self._loss_of_zeros(batch) if k == 0 else self.nothing
            self.step(k, batch)
            if len(self.alive) == 0:
                break
        for i, p in enumerate(self.alive):
            self.results[p] = self._fit(i, p)
        return [self.results[p] for p in range(len(self.points))]

    def step(self, k: int, batch: MiniBatch) -> None:
        """Step k = 0, 1, ..., K - 1."""
        t, a = k / max(self.steps - 1, 1), self.alive
        heat = self.solver.temperature_schedule.at(t)
        losses = self.heads.loss_gradient(batch, self.scale, self.T[a] * heat, self.l2[a])
        if np.isnan(losses).any():
            self.drop(np.isnan(losses), k)
            return self.step(k, batch) if len(self.alive) else None
        self.sums[a] += losses
        self.summed += 1
        seen = (k + 1) * self.size
        if seen // self.n > (seen - self.size) // self.n or k == self.steps - 1:
            self.record(k)
        self.clip(k)
        if len(self.alive):
            averaged = k >= self.steps - round(self.solver.averaged * self.steps)
            self.heads.move(self.rate[self.alive] * self.solver.schedule.at(t), k + 1, averaged)
        return None

    def clip(self, k: int) -> None:
        """G <- G min(1, clip_norm / |G|); a norm that is not finite ends the point's training."""
        bound = self.solver.clip_norm
        if bound is None or len(self.alive) == 0:
            return
        norms = self.heads.norms()
        if not np.isfinite(norms).all():
            self.drop(~np.isfinite(norms), k)
            norms = norms[np.isfinite(norms)]
        self.largest[self.alive] = np.maximum(self.largest[self.alive], norms)
        self.clipped[self.alive] += norms > bound
        if (norms > bound).any():
            self.heads.shorten(bound / np.maximum(norms, bound))

    def record(self, k: int) -> None:
        """A state for every point from what was seen since the last; who is lost is dropped."""
        lost = np.zeros(len(self.alive), bool)
        for i, p in enumerate(self.alive):
            W = self.heads.of(i, self.heads.W)[:, :-1].astype(np.float64)
            value = float(self.sums[p] / self.summed + 0.5 * self.l2[p] * np.vdot(W, W))
            self._tell(p, k, value, float(np.abs(self.heads.of(i, self.heads.G)).max()))
            lost[i] = not value <= LOST * self.nothing
        self.sums[:], self.summed = 0, 0
        if lost.any():
            self.drop(lost, k)

    def drop(self, dead: NDArray[np.bool_], k: int) -> None:
        """Freeze points at the start and go on without them."""
        for p in self.alive[dead]:
            self.results[p] = Fit(*self.start, self._result(p, Status.DIVERGED, State(self._passes(k), k, np.inf, np.inf, self._seconds())))
        self.alive = self.alive[~dead]
        self.heads.keep(~dead)

    def _fit(self, i: int, p: int) -> Fit:
        """Coefficients of point p for raw features, and the exact value there: W = T coef has the gradient dcoef / T."""
        T = float(self._last_temperature(self.T[p]))
        W = self.heads.of(i, self.heads.W if self.heads.mean is None else self.heads.mean).astype(np.float64) / T
        coef = np.ascontiguousarray(W[:, :-1])
        intercept = self.curvature.s * W[:, -1] - coef @ self.curvature.mu.astype(np.float64)
        if self.problem.loss.shift_invariant:
            coef, intercept = coef - coef.mean(axis=0), intercept - intercept.mean()
        objective = plain_objective(replace(self.problem, l2=self.l2[p] * T * T))
        value, gradient = objective.value_gradient(objective.join(coef, intercept))
        state = self._tell(p, self.steps - 1, value, objective.norm(gradient) / T)
        return Fit(coef, intercept, self._result(p, Status.ITERATIONS, state))

    def _result(self, p: int, status: Status, last: State) -> Result:
        parameters = np.empty(0)  # the coefficients are in the fit
        stride = Stride(float(self.rate[p]), float(self.clipped[p] / max(last.iteration, 1)), float(self.largest[p]))
        trace = tuple(self.traces[p])
        return Result(parameters, last.value, status, last.gradient_norm, last.passes, last.iteration, last.seconds, trace, stride)

    def _tell(self, p: int, k: int, value: float, norm: float) -> State:
        state = State(self._passes(k), k + 1, value, norm, self._seconds())
        self.traces[p].append(state)
        if self.watch is not None:
            self.watch(int(p), state)
        return state

    def _passes(self, k: int) -> int:
        return max(1, round((k + 1) * self.size / self.n))

    def _seconds(self) -> float:
        return time.perf_counter() - self.began

    def _rate(self, point: Point) -> float:
        """The point's own, the solver's, or the safe one at the lowest temperature to come, where the Hessian is largest."""
        given = self.solver.learning_rate if point.learning_rate is None else point.learning_rate
        if given is not None:
            return given
        heat = self.solver.temperature_schedule
        T = point.temperature * min(heat.at(0.0), heat.at(1.0))
        return self.solver.direction.safe_rate(self.curvature.reach(self.size, T, point.l2))

    def _last_temperature(self, T: NDArray[np.float64] | float) -> NDArray[np.float64]:
        return np.multiply(T, self.solver.temperature_schedule.at(1.0))

    def _inwards(self, T: float) -> NDArray[np.float64]:
        """The start as coefficients of x~ at the temperature T."""
        coef, intercept = self.start
        s, beta = self.curvature.s, intercept + coef @ self.curvature.mu.astype(np.float64)
        return T * np.hstack([coef, (beta / s if s > 0 else np.zeros_like(beta))[:, None]])

    def _loss_of_zeros(self, batch: MiniBatch) -> float:
        z, losses = np.zeros((len(batch.r), self.problem.n_classes), self.curvature.mu.dtype), np.empty(len(batch.r))
        schedule_for(self.problem.loss, z.dtype)(self.problem.loss, Rows(z, batch.y, batch.r), None, 1.0, losses)
        return float(losses.sum()) * self.scale


def _weights(problem: Problem) -> NDArray[np.float64]:
    """w_i = r_i omega(y_i): what row i counts."""
    y, omega = problem.y, problem.loss.weights.omega(problem.n_classes)
    return problem.r * (y @ omega if y.ndim == 2 else np.where(y >= 0, omega[y], 0.0))
