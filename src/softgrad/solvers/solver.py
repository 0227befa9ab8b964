"""What a solver sees, and what it says when it is done. A solver knows no rows: it sees a value, a gradient and a metric."""

from __future__ import annotations

import enum
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray


class Status(enum.Enum):
    """How a run ended; `converged` and `advice` belong to it."""

    CONVERGED = "the gradient is below tol"
    PRECISION = "the value cannot be told apart from its optimum in this floating point type"
    MAX_ITER = "max_iter was reached before the gradient was below tol"
    LINE_SEARCH = "no step along the search direction makes the value smaller"
    NOT_FINITE = "the value or the gradient is not finite"
    ITERATIONS = "all steps that were asked for are done"
    INTERRUPTED = "it was interrupted before all steps were done"
    DIVERGED = "training diverged: the loss rose far above that of zero coefficients, or is not finite"

    @property
    def converged(self) -> bool:
        return self in (Status.CONVERGED, Status.PRECISION)

    @property
    def advice(self) -> str:
        """What to do next; empty where nothing went wrong."""
        return {
            Status.MAX_ITER: "raise max_iter, raise tol, or lower C: weakly regularised, separable classes have their optimum far away",
            Status.LINE_SEARCH: "scale the features to similar ranges, fit in float64, or raise tol; check a loss of your own",
            Status.NOT_FINITE: "scale the features down or lower C: scores overflow",
            Status.INTERRUPTED: "fit again, with resume=True where a checkpoint was kept",
            Status.DIVERGED: "lower learning_rate, or leave it None for one that is safe",
        }.get(self, "")


@dataclass(frozen=True)
class State:
    """Where a run is after `passes` evaluations; what callbacks receive."""

    passes: int
    iteration: int
    value: float
    gradient_norm: float
    seconds: float


@dataclass(frozen=True)
class Stride:
    """How a stochastic training went its way: the rate it started with, the share of its steps that were clipped, the largest norm."""

    learning_rate: float
    clipped: float
    largest_norm: float  # Euclidean, of a mini-batch's gradient; 0 where norms are not asked for


@dataclass(frozen=True)
class Result:
    """What a run found: the parameters, the value there, how it ended and what it cost."""

    parameters: NDArray[np.floating] = field(repr=False)
    value: float
    status: Status
    gradient_norm: float
    passes: int
    iterations: int
    seconds: float
    trace: tuple[State, ...] = field(repr=False)
    stride: Stride | None = None  # of stochastic trainings

    @property
    def converged(self) -> bool:
        return self.status.converged

    @property
    def advice(self) -> str:
        return self.status.advice


class Objective(Protocol):
    """A function to minimise, seen from outside."""

    passes: int  # evaluations so far

    @property
    def noise(self) -> float:
        """Relative rounding error of the value."""
        ...

    def value_gradient(self, theta: NDArray[np.floating]) -> tuple[float, NDArray[np.floating]]: ...

    def norm(self, gradient: NDArray[np.floating]) -> float:
        """The max-norm of the gradient that tol bounds, in the user's coordinates."""
        ...


class AbstractMetric(ABC):
    """A positive definite approximation M of the Hessian."""

    exact: bool = False  # it is the Hessian where `update` was last called: no pairs are needed beside it

    @abstractmethod
    def solve(self, gradients: Sequence[NDArray[np.floating]]) -> list[NDArray[np.floating]]:
        """M^-1 g for each gradient g (n,): many cost little more than one."""

    def update(self, theta: NDArray[np.floating], state: State) -> bool:
        """A chance to become a better one, before the next direction is made; True where it did."""
        return False


Callback = Callable[[State], None]


class AbstractSolver(ABC):
    """An algorithm that takes an objective to its minimum, until the max-norm of the gradient is at most tol."""

    tol: float
    gap: float = math.inf

    @abstractmethod
    def minimize(
        self,
        objective: Objective,
        start: NDArray[np.floating],
        metric: AbstractMetric,
        callback: Callback | None = None,
        began: float | None = None,
    ) -> Result:
        """Minimise from start; never raises for numerical trouble, the status tells. Seconds count from `began`, of perf_counter."""
