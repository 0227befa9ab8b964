"""Stochastic gradient descent, put together from its parts; `descent` runs it on many problems side by side.

W_{k+1} = W_k - rate schedule(t_k) rule(clip(1/|B_k| sum_{i in B_k} g_i(W_k; T_k) + l2 W_k)),     t_k = k / (K - 1),  k = 0 .. K - 1
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from softgrad import arrays
from softgrad.solvers.rules import AbstractRule, Momentum
from softgrad.solvers.schedules import STEADY, TO_ZERO, AbstractSchedule


@dataclass(frozen=True)
class SGD:
    """Stochastic training on mini-batches: `SoftmaxClassifier(solver=SGD())`, or many at once with `stochastic.grid`.

    Parameters: learning_rate, None for a safe one from the bound on the Hessian; batch_size, rows of a mini-batch (all, if there are
    fewer); epochs, passes over the rows, or iterations, steps, which takes their place; momentum beta in [0, 1), or rule, any other way to
    make a direction of a gradient (`Nesterov`, `Adam`); schedule, a factor of the rate over time; clip_norm, the largest Euclidean norm
    of a gradient, longer ones are shortened to it; temperature_schedule, a factor of the scores' temperature over time; average, the
    share of the last steps whose iterates are averaged (Polyak & Juditsky 1992), True for the last half.
    Rows are shuffled anew for every epoch, from the classifier's random_state. Rows on disk (`softgrad.data.stream`) are shuffled in piles
    of an eighth of the memory limit: chunks of neighbouring rows are drawn from all over the files until the pile is full, its rows are
    shuffled, and mini-batches are cut from one pile after the other; files that fit into a pile are shuffled as rows in memory are.
    Raises SoftgradError for values out of range.
    Reference: Bottou, Curtis, Nocedal 2018, arXiv 1606.04838; Gower et al. 2019, arXiv 1901.09401, for the safe rate.

    >>> import softgrad
    >>> from sklearn.datasets import load_digits
    >>> from softgrad.solvers import SGD
    >>> model = softgrad.SoftmaxClassifier(solver=SGD(epochs=10)).fit(*load_digits(return_X_y=True))
    >>> print(model.result_.status.name, round(model.score(*load_digits(return_X_y=True)), 1))
    ITERATIONS 1.0
    """

    learning_rate: float | None = None
    batch_size: int = 200
    epochs: float = 20.0
    iterations: int | None = None
    momentum: float = 0.9
    rule: AbstractRule | None = None
    schedule: AbstractSchedule = TO_ZERO
    clip_norm: float | None = None
    temperature_schedule: AbstractSchedule = STEADY
    average: float | bool = False

    def __post_init__(self) -> None:
        for name in ("learning_rate", "clip_norm"):
            if getattr(self, name) is not None:
                arrays.number(f"SGD({name})", getattr(self, name), 0, open_low=True)
        arrays.whole("SGD(batch_size)", self.batch_size, 1)
        arrays.number("SGD(epochs)", self.epochs, 0, open_low=True)
        if self.iterations is not None:
            arrays.whole("SGD(iterations)", self.iterations, 1)
        arrays.number("SGD(momentum)", self.momentum, 0, 1, open_high=True)
        arrays.number("SGD(average)", self.average, 0, 1)
        self._parts()

    def _parts(self) -> None:
        if not (self.rule is None or isinstance(self.rule, AbstractRule)):
            arrays.refuse("SGD(rule)", "must be a rule of softgrad.solvers, or None", arrays.shown(self.rule), "pass Adam()")
        for name in ("schedule", "temperature_schedule"):
            part = getattr(self, name)
            if not isinstance(part, AbstractSchedule):
                arrays.refuse(f"SGD({name})", "must be a schedule of softgrad.solvers", arrays.shown(part), "pass Linear(1, 0)")
        for t in (0.0, 1.0):  # the end points; every schedule is monotone between them
            arrays.number("SGD(schedule)", self.schedule.at(t), 0)
            arrays.number("SGD(temperature_schedule)", self.temperature_schedule.at(t), 0, open_low=True)

    @property
    def direction(self) -> AbstractRule:
        """The rule in use."""
        return Momentum(self.momentum) if self.rule is None else self.rule

    @property
    def averaged(self) -> float:
        """Share of the last steps that are averaged."""
        return 0.5 if self.average is True else float(self.average)

    def steps(self, n_rows: int) -> int:
        """K: iterations, or epochs in mini-batches."""
        return self.iterations if self.iterations is not None else math.ceil(self.epochs * n_rows / min(self.batch_size, n_rows))
