"""Many objectives at once over the same rows: every strength of the penalty on every fold, in shared passes.

    f_kj(W, b) = 1/S_j sum_i r_ij L(W x_i + b, y_i) + l2_kj/2 |W|^2,   r_ij = 0 for the rows that fold j holds out

Each (k, j) is a lane: a run of L-BFGS with its own step, pairs and stop. A pass evaluates all lanes under way, side by side in one product.
A lane begins where that of the next stronger penalty ended. What is known there needs no pass: with c = l2_k+1 - l2_k,

    f_k+1(W) = f_k(W) + c/2 |W|^2,   grad f_k+1(W) = grad f_k(W) + c W,   and for every pair of the stronger run  y_k+1 = y_k + c s.

One Gram matrix of all rows makes the metrics of all lanes; the folds of one strength share theirs, and its factor. Where there is a
diagonal instead, each lane has its own: rows held out are less sure of their class than those trained on, and with one diagonal of all
rows the lanes of C = 1e4 took 170 passes on banking77 instead of 54.

Sparse rows take Newton steps (`precondition.Newton`) and no pairs along. Where classes are told apart W grows like log C: a lane begins by

    d = (log l2_k+1 - log l2_k) / (log l2_k - log l2_k-1) (W_k - W_k-1),   the factor 1 at most, if d leads down

Tried and dropped: beginning weaker lanes before the stronger have ended (26 passes instead of 61 on CIFAR-10 pixels, but 89 evaluations
instead of 61, and evaluations are what costs).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from softgrad import blocks, kernels, threads
from softgrad.blocks.block import Block
from softgrad.kernels.fused import AbstractKernel, Head
from softgrad.losses.loss import Loss
from softgrad.objective import LinearObjective
from softgrad.solvers.lbfgs import LBFGS, Point, Run
from softgrad.solvers.solver import AbstractMetric, State
from softgrad.solvers.vectors import PIECE, add, inner
from softgrad.training import Fit, Problem, fitted, metric_for, moments, plain_objective, row_space

INHERITED = 10  # pairs that a lane takes over, a solve each; none, 5 and 20 made 61, 56 and 45 evaluations on CIFAR-10 at tol 1e-4


def several(block: Block, kernel: AbstractKernel, loss: Loss, heads: Sequence[Head]) -> tuple[Any, ...]:
    """What `AbstractRowBlocks.sum` adds up: value, dcoef, dintercept of every head, one after another."""
    return tuple(term for sums in kernel.several(block, loss, heads) for term in sums)


@dataclass(frozen=True)
class LaneState(State):
    """Where the run of strength k on fold j is; what callbacks receive."""

    k: int
    j: int


@dataclass
class Lane:
    """The run of strength k on fold j."""

    k: int
    j: int
    objective: LinearObjective
    run: Run

    @property
    def state(self) -> LaneState:
        return LaneState(**vars(self.run.trace[-1]), k=self.k, j=self.j)


Callback = Callable[[LaneState], None]


@dataclass
class Path:
    """Lanes under way, and what was found: fits[k, j] for strengths k, the strongest first, and folds j.

    l2 (K, F) falls with k; R (N, F) are the folds' row weights, problem.r (N,) those of all rows. `ended(k)` is asked after each strength
    whether weaker ones are wanted; `after(path)` is told of each pass.
    """

    problem: Problem
    R: NDArray[np.float64]
    l2: NDArray[np.float64]
    solver: LBFGS
    callback: Callback | None = None
    ended: Callable[[int], bool] = lambda _: True
    after: Callable[[Path], None] = lambda _: None
    lanes: list[Lane] = field(default_factory=list)
    fits: dict[tuple[int, int], Fit] = field(default_factory=dict)
    metrics: dict[tuple[int, int], AbstractMetric] = field(default_factory=dict)
    passes: int = 0
    last: int = -1  # the weakest strength that is complete
    interrupted: bool = False

    def __post_init__(self) -> None:
        self.began = time.perf_counter()
        with threads.blas(1):
            self.prepare(self.problem)

    def prepare(self, problem: Problem) -> None:
        """Rows, moments and an objective for each fold."""
        n, d = problem.X.shape
        self.back: Callable[[Fit], Fit] = lambda found: found
        if problem.dense and not problem.on_disk and n < d and self.l2.min() > 0:
            self.problem, self.back = row_space(problem)
        self.rows = blocks.rows(self.problem.X, problem.y, self.R, problem.n_classes * self.R.shape[1])
        self.seen = moments(self.problem)
        whole = plain_objective(self.problem, self.seen.mu)
        self.of_fold = [self.of_weights(whole, r) for r in np.ascontiguousarray(self.R.T)]

    def of_weights(self, whole: LinearObjective, r: NDArray[np.float64]) -> LinearObjective:
        """The objective of one fold: its rows count, the others do not."""
        X, y, C = self.problem.X, self.problem.y, self.problem.n_classes
        return replace(whole, rows=blocks.rows(X, y, r, C), total=self.problem.loss.weights.total(y, r, C))

    def run(self) -> None:
        """All strengths, or as many as are wanted; KeyboardInterrupt ends it with those that are complete, if there are any."""
        if not self.passes:
            self.lanes = [self.first(j) for j in range(self.l2.shape[1])]
        try:
            with threads.blas(1):
                while self.lanes:
                    self.advance()
                    self.after(self)
        except KeyboardInterrupt:
            if self.last < 0:
                raise
            self.interrupted = True

    def advance(self) -> None:
        """One pass over the rows for all lanes."""
        problem, heads = self.problem, [lane.objective.head(lane.run.asked, lane.j) for lane in self.lanes]
        kernel = kernels.choose(problem.X, problem.n_classes, problem.loss, len(heads))
        terms = self.rows.sum(several, kernel, problem.loss, heads)

        def told(p: int) -> bool:
            run, objective = self.lanes[p].run, self.lanes[p].objective
            return run.tell(Point(run.asked, *objective.finish(run.asked, *terms[3 * p : 3 * p + 3])))

        done = self.side_by_side(told, range(len(self.lanes)))
        reached = [lane for lane, over in zip(self.lanes, done, strict=True) if over]
        self.passes += 1
        self.turn(reached)
        while begun := self.follow():
            self.turn(begun)

    def side_by_side(self, part: Callable[[Any], Any], items: Iterable[Any]) -> Iterator[Any]:
        """part(item) for what belongs to different lanes, on all threads where vectors are long: short ones are done before one wakes."""
        long = self.problem.n_classes * self.problem.X.shape[1] > PIECE
        return threads.in_order(part, items) if long else map(part, items)

    def turn(self, reached: list[Lane]) -> None:
        """Lanes that have done a step choose the next; those that share a metric solve together."""
        for lane in reached:
            if self.callback is not None:
                self.callback(lane.state)
        turning: dict[tuple[int, int], list[Lane]] = {}
        for lane in reached:
            if lane.run.status is None and not self.goes_on(lane):
                turning.setdefault(self.key(lane.k, lane.j), []).append(lane)
        for _ in self.side_by_side(self.turn_together, turning.items()):
            pass

    def turn_together(self, item: tuple[tuple[int, int], list[Lane]]) -> None:
        key, turning = item
        metric, worst = self.metric(*key), max(turning, key=lambda lane: lane.run.trace[-1].gradient_norm).run
        if metric.update(worst.at.theta, worst.trace[-1]):
            for lane in self.lanes:
                if self.key(lane.k, lane.j) == key:
                    lane.run.renew(metric)
        solved = metric.solve([lane.run.at.gradient for lane in turning])
        for lane, s in zip(turning, solved, strict=True):
            lane.run.turn(s)

    def follow(self) -> list[Lane]:
        """Lanes that have ended leave; those of the next strength begin there, and have to be turned."""
        begun: list[Lane] = []
        for lane in [lane for lane in self.lanes if lane.run.status is not None]:
            self.fits[lane.k, lane.j] = self.back(fitted(lane.objective, lane.run.result()))
            self.lanes.remove(lane)
            if lane.k + 1 < len(self.l2):
                begun.append(self.begun_at(lane))
        self.lanes = sorted(self.lanes + begun, key=lambda lane: (lane.k, lane.j))
        while self.last + 1 < len(self.l2) and all((self.last + 1, j) in self.fits for j in range(self.l2.shape[1])):
            self.last += 1
            self.metrics = {key: metric for key, metric in self.metrics.items() if key[0] > self.last}
            if not self.ended(self.last):
                self.lanes = begun = []
                break
        return begun

    def goes_on(self, lane: Lane) -> bool:
        """A lane without pairs of the stronger strength begins with the step that the last two foretell; False where it has to turn."""
        k, j = lane.k, lane.j
        if k < 2 or lane.run.passes or not self.metric(k, j).exact or self.l2[k - 2, j] == self.l2[k - 1, j]:
            return False
        before, last, now = np.log(self.l2[k - 2 : k + 1, j])
        ratio = min(1.0, (now - last) / (last - before))
        from_users, end, start = lane.objective.from_users, self.fits[k - 1, j], self.fits[k - 2, j]
        return lane.run.go_on(ratio * (from_users(end.coef, end.intercept) - from_users(start.coef, start.intercept)))

    def key(self, k: int, j: int) -> tuple[int, int]:
        """Whose metric the lane (k, j) has: its own, or that of all folds of its strength."""
        return (k, j) if self.seen.G is None else (k, 0)

    def metric(self, k: int, j: int) -> AbstractMetric:
        key = self.key(k, j)
        if key not in self.metrics:
            G = None if self.seen.G is None else self.seen.G.copy()
            objective = replace(self.of_fold[key[1]], l2=float(self.l2[k].mean()))
            self.metrics[key] = metric_for(self.problem, objective, replace(self.seen, G=G), self.solver, self.l2.shape[1])
        return self.metrics[key]

    def objective(self, k: int, j: int) -> LinearObjective:
        return replace(self.of_fold[j], l2=float(self.l2[k, j]))

    def first(self, j: int) -> Lane:
        objective = self.objective(0, j)
        start = objective.join(np.zeros(objective.shape), np.zeros(objective.shape[0]))
        return Lane(0, j, objective, Run(self.solver, start, objective.noise, objective.norm, self.began))

    def begun_at(self, lane: Lane) -> Lane:
        """The next strength's lane, at the end of this one."""
        objective, (theta, value, gradient) = self.objective(lane.k + 1, lane.j), lane.run.at
        c, size = objective.l2 - lane.objective.l2, objective.shape[0] * objective.shape[1]
        run = Run(self.solver, theta, objective.noise, objective.norm, self.began)

        def plus(g: NDArray[Any], W: NDArray[Any]) -> NDArray[Any]:
            g = g.copy()
            add(g[:size], c, W[:size])
            return g

        run.tell(Point(theta, value + 0.5 * c * inner(theta[:size], theta[:size]), plus(gradient, theta)), passes=0)
        pairs = list(lane.run.pairs.kept)[-INHERITED:]
        if pairs and run.status is None:
            y = [plus(pair.y, pair.s) for pair in pairs]
            for pair, new, v in zip(pairs, y, self.metric(lane.k + 1, lane.j).solve(y), strict=True):
                run.pairs.add(pair.s, new, v)
        return Lane(lane.k + 1, lane.j, objective, run)
