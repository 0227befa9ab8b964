"""Stochastic training of a grid: problems that differ in penalty, learning rate and temperature, in one stream of mini-batches.

    f_p(W, b) = 1/S sum_i r_i L((W x_i + b) / T_p, y_i) + l2_p/2 |W|^2

A mini-batch of B of n rows has the loss n/(B S) sum_{i in batch} r_i L_i, the data's on average. Where the loss mines hard rows, those
chosen stand for their mini-batch, and value and gradient norm at the end are means over the mini-batches of one pass. What the heads are
multiplied with is x~ = (x - mu, s): see `curvature` for mu and s, which move no optimum, and for the rate of a point that names none.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from softgrad import arrays, curvature, threads
from softgrad.blocks.block import Block
from softgrad.blocks.minibatches import MiniBatch, MiniBatches
from softgrad.heads import Heads, pieces
from softgrad.kernels.fused import compute_type
from softgrad.losses.loss import Rows, schedule_for
from softgrad.solvers.sgd import SGD
from softgrad.solvers.solver import Result, State, Status, Stride
from softgrad.training import Fit, Problem, Start, steepness

LOST = 10.0  # times the loss of zero coefficients
JUDGED = 1000  # rows at least that are judged at a time
LARGEST, WHOLE = 16, 64  # the parts of the memory limit of rows on disk that a mini-batch may take, and that rows judged at a time do

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
    are exact there; on the way, those of the mini-batches since the last record, one for each pass over the rows. Rows on disk are drawn in
    piles (see `minibatches`).
    """
    return Descent(problem, points, solver, start, watch).run()


class Descent:
    """A run: the heads that are still trained, in groups that threads work on side by side, and what was seen of all points.

    `after(descent)` is told of each step, and of the end. After KeyboardInterrupt what was reached so far is handed out, unless no step
    was done.
    """

    def __init__(
        self, problem: Problem, points: Sequence[Point], solver: SGD, start: Start | None = None, watch: Watch | None = None
    ):
        self.problem, self.points, self.solver, self.watch, self.began = problem, points, solver, watch, time.perf_counter()
        self.after: Callable[[Descent], None] = lambda _: None
        rows, counted, dtype = Block(problem.X, problem.y, problem.r), np.flatnonzero(problem.r), compute_type(problem.X)
        with threads.blas(1):
            self.curvature = curvature.measure(rows, _weights(problem), problem.fit_intercept, problem.seed, dtype)
        if not np.isfinite(self.curvature.mu).all():  # the sample was the first to see it
            arrays.finite_features("fit(X)", problem.X, problem.r)
        self.batches = MiniBatches(rows, counted, self.curvature.mu, self.curvature.s)
        self.n, self.size, self.steps = len(counted), min(solver.batch_size, len(counted)), solver.steps(len(counted))
        self.share = problem.loss.weights.share(problem.loss.weights.total(problem.y, problem.r, problem.n_classes))
        self.scale = self.share * self.n / self.size
        self.judged = self._judged(dtype)
        shape = problem.n_classes, problem.X.shape[1]
        self.start = (np.zeros(shape), np.zeros(shape[0])) if start is None else start
        self.groups = self._grouped(dtype)
        self.rate = np.concatenate([heads.rate for heads in self.groups])
        self.traces: list[list[State]] = [[] for _ in points]
        self.results: dict[int, Fit] = {}
        self.done, self.interrupted = 0, False
        P = len(points)
        self.sums, self.summed, self.nothing = np.zeros(P), 0, np.inf
        self.squares, self.steepest, self.clipped, self.largest = np.zeros(P), np.zeros(P), np.zeros(P), np.zeros(P)

    def _grouped(self, dtype: np.dtype[Any]) -> list[Heads]:
        points, (C, D) = self.points, self.start[0].shape
        groups = np.array_split(np.arange(len(points)), min(len(points), pieces(self.size, (len(points) * C, D + 1))))
        solver, order, made = self.solver, "C" if self.problem.dense else "F", []
        for numbers in groups:
            l2, T = (np.array([getattr(points[p], name) for p in numbers]) for name in ("l2", "temperature"))
            W = np.vstack([self._inwards(t * solver.temperature_schedule.at(1.0)) for t in T]).astype(dtype, order=order)
            rate = np.array([self._rate(points[p]) for p in numbers])
            made.append(Heads(self.problem.loss, solver.direction, W, numbers, l2, T, rate, averaged=solver.averaged > 0))
        made[0].alone = len(made) == 1
        return made

    def run(self) -> list[Fit]:
        """All steps, or those that are left of them."""
        with threads.blas(1):
            try:
                self.walk()
            except KeyboardInterrupt:
                if not self.done:
                    raise
                self.interrupted = True
            self.finish()
        if not self.interrupted:
            self.after(self)
        return [self.results[p] for p in range(len(self.points))]

    def walk(self) -> None:
        """The steps, as long as a point is trained."""
        stream = self.batches.stream(self.size, self.steps if self.groups else self.done, self.problem.seed, self.done)
        for batch in threads.in_order(self.batches.gather, stream):
            self.nothing = self._loss_of_zeros(batch) if self.done == 0 else self.nothing
            self.step(self.done, batch)
            if not self.groups:
                break
            self.after(self)

    def step(self, k: int, batch: MiniBatch) -> None:
        """Step k = 0, 1, ..., K - 1 of all groups."""
        seen = (k + 1) * self.size
        due = seen // self.n > (seen - self.size) // self.n or k == self.steps - 1
        self.summed += 1
        threads.every(lambda heads: self.step_of(heads, k, batch, due), self.groups)
        if due:
            self.record(k)
        self.groups = [heads for heads in self.groups if len(heads.points)]
        self.done = k + 1

    @property
    def heat(self) -> float:
        """The temperature's factor in the last step that was done."""
        t = 1.0 if self.done == self.steps else (self.done - 1) / max(self.steps - 1, 1)
        return self.solver.temperature_schedule.at(t)

    def step_of(self, heads: Heads, k: int, batch: MiniBatch, due: bool) -> None:
        """Gradient, clipping, move."""
        t, solver = k / max(self.steps - 1, 1), self.solver
        plain = solver.direction.plain and solver.clip_norm is None and not due  # nobody else looks at the gradient
        factor = solver.schedule.at(t)
        losses = heads.loss_gradient(batch, self.scale, solver.temperature_schedule.at(t), factor if plain else None)
        if np.isnan(losses).any():
            self.drop(heads, np.isnan(losses), k)
            if len(heads.points):
                self.step_of(heads, k, batch, due)
            return
        self.sums[heads.points] += losses
        if not plain:
            heads.penalise()
        if due:
            self.squares[heads.points] = [np.vdot(W[:, :-1], W[:, :-1]) for W in heads.of(heads.W)]
            self.steepest[heads.points] = [np.abs(G).max() for G in heads.of(heads.G)]
        if solver.clip_norm is not None:
            self.clip(heads, k, solver.clip_norm)
        if len(heads.points):
            averaged = solver.averaged > 0 and k >= self.steps - max(1, round(solver.averaged * self.steps))
            heads.move(k + 1, factor, plain=plain, averaged=averaged)

    def clip(self, heads: Heads, k: int, bound: float) -> None:
        """G <- G min(1, bound / |G|); a norm that is not finite ends the point's training."""
        norms = heads.norms()
        if not np.isfinite(norms).all():
            self.drop(heads, ~np.isfinite(norms), k)
            norms = norms[np.isfinite(norms)]
        self.largest[heads.points] = np.maximum(self.largest[heads.points], norms)
        self.clipped[heads.points] += norms > bound
        if (norms > bound).any():
            heads.shorten(bound / np.maximum(norms, bound))

    def record(self, k: int) -> None:
        """A state for every point from what was seen since the last; who is lost is dropped."""
        for heads in self.groups:
            values = self.sums[heads.points] / self.summed + 0.5 * heads.l2 * self.squares[heads.points]
            for p, value in zip(heads.points, values, strict=True):
                self._tell(p, k, float(value), float(self.steepest[p]))
            lost = ~(values <= LOST * self.nothing)
            if lost.any():
                self.drop(heads, lost, k)
        self.sums[:], self.summed = 0, 0

    def drop(self, heads: Heads, dead: NDArray[np.bool_], k: int) -> None:
        """Freeze points at the start and go on without them."""
        for p in heads.points[dead].tolist():
            self.results[p] = self._handed(p, *self.start, Status.DIVERGED, State(self._passes(k), k, np.inf, np.inf, self._seconds()))
        heads.keep(~dead)

    def finish(self) -> None:
        """What is handed out, with the exact value and gradient from one more pass, rows in their order."""
        heat, losses = self.heat, np.zeros(len(self.points))
        for heads in self.groups:
            heads.settle()
        totals = {id(heads): np.zeros_like(heads.W, np.float64) for heads in self.groups}

        def add(heads: Heads, batch: MiniBatch) -> None:
            losses[heads.points] += heads.loss_gradient(batch, self.share, heat)
            np.add(totals[id(heads)], heads.G, out=totals[id(heads)])

        rows = self.size if self.problem.loss.mining is not None else max(self.judged, self.size)  # a batch rule judges mini-batches
        parts = np.array_split(self.batches.counted, max(1, self.n // rows))
        for batch in threads.in_order(lambda part: self.batches.gather([self.batches.held(part)]), parts if self.groups else ()):
            threads.every(lambda heads, batch=batch: add(heads, batch), self.groups)
        for heads in self.groups:
            for p, W, G in zip(heads.points.tolist(), heads.of(heads.W), heads.of(totals[id(heads)]), strict=True):
                self.results[p] = self._fit(p, float(losses[p]), W.astype(np.float64), G)
        self.groups = []

    def _fit(self, p: int, loss: float, W: NDArray[np.float64], G: NDArray[np.float64]) -> Fit:
        """Coefficients of point p for raw features, from W and the loss's gradient by it; norm is by coefficients of raw features too."""
        point, s, mu = self.points[p], self.curvature.s, self.curvature.mu.astype(np.float64)
        g = G[:, -1] / s if s > 0 else G[:, -1]
        norm = max(np.abs(G[:, :-1] + np.outer(g, mu) + point.l2 * W[:, :-1]).max(initial=0.0), np.abs(g).max())
        state = self._tell(p, self.done - 1, loss + 0.5 * point.l2 * float(np.vdot(W[:, :-1], W[:, :-1])), float(norm))
        W = W / (point.temperature * self.heat)
        coef = np.ascontiguousarray(W[:, :-1])
        return self._handed(p, coef, s * W[:, -1] - coef @ mu, Status.INTERRUPTED if self.interrupted else Status.ITERATIONS, state)

    def _handed(self, p: int, coef: NDArray[np.float64], intercept: NDArray[np.float64], status: Status, last: State) -> Fit:
        theta = np.append(coef, intercept)
        stride = Stride(float(self.rate[p]), float(self.clipped[p] / max(last.iteration, 1)), float(self.largest[p]))
        trace = tuple(self.traces[p])
        result = Result(theta, last.value, status, last.gradient_norm, last.passes, last.iteration, last.seconds, trace, stride)
        return Fit(coef, intercept, result)

    def _tell(self, p: int, k: int, value: float, norm: float) -> State:
        state = State(self._passes(k), k + 1, value, norm, self._seconds())
        self.traces[p].append(state)
        if self.watch is not None and not self.interrupted:  # who goes on will not pass by there
            self.watch(int(p), state)
        return state

    def _passes(self, k: int) -> int:
        return max(1, round((k + 1) * self.size / self.n))

    def _seconds(self) -> float:
        return time.perf_counter() - self.began

    def _judged(self, dtype: np.dtype[Any]) -> int:
        """Rows that are judged at a time, if a mini-batch has not more."""
        if not self.problem.on_disk:
            return JUDGED
        X, limit = self.problem.X, self.problem.X.memory_limit
        row = (X.shape[1] + 1) * dtype.itemsize if self.problem.dense else 1 + int(X.nbytes(0, X.shape[0])) // X.shape[0]
        if self.size * row > limit // LARGEST:
            rule = f"{LARGEST} mini-batches of {self.size * row} bytes must fit"
            arrays.refuse("memory_limit", rule, f"{limit} bytes", "raise it, or lower batch_size")
        return max(1, min(JUDGED, limit // WHOLE // row))

    def _rate(self, point: Point) -> float:
        """The point's own, the solver's, or the safe one at the lowest temperature to come, where the Hessian is largest."""
        given = self.solver.learning_rate if point.learning_rate is None else point.learning_rate
        if given is not None:
            return given
        heat = self.solver.temperature_schedule
        steep = steepness(self.problem.loss, self.problem.n_classes)  # 1/2 for cross-entropy, its own temperature included
        T = point.temperature * min(heat.at(0.0), heat.at(1.0)) / np.sqrt(2 * steep)
        mining, reach = self.problem.loss.mining, self.curvature.reach(self.size, T, point.l2)
        reach = reach if mining is None else self.curvature.reach_of_chosen(mining.kept(self.size), T, point.l2)
        return self.solver.direction.safe_rate(reach)

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
    y, weights = problem.y, problem.loss.weights
    counted = y >= 0 if y.ndim == 1 else np.ones(len(y), bool)
    w = np.zeros(len(y))
    w[counted] = problem.r[counted] * weights.shares(y[counted], problem.targets)
    return w
