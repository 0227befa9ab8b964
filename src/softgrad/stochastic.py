"""A grid of stochastic trainings, side by side: learning rates x penalties x temperatures in one stream of mini-batches."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import product
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from softgrad import arrays
from softgrad.checkpoint import keep
from softgrad.descent import Descent, Point
from softgrad.kernels.tiled import linear_scores
from softgrad.linear_classifier import one_row
from softgrad.losses import cross_entropy
from softgrad.losses.loss import Loss, log_probabilities
from softgrad.solvers.sgd import SGD
from softgrad.solvers.solver import State, Status
from softgrad.training import Fit, Problem

CELLS = 1 << 22  # scores that are judged at a time


@dataclass(frozen=True)
class Trial:
    """One point of a grid and what became of it; coef and intercept of `fit` have a row for each of `classes`.

    log_loss is the mean of -log p of the labels, on the validation rows where there are some, else on the training rows. `number` is the
    p of the callback.
    """

    learning_rate: float
    reg: float
    temperature: float
    train_accuracy: float
    validation_accuracy: float  # NaN without validation rows
    log_loss: float
    status: Status
    fit: Fit = field(repr=False)
    classes: NDArray[Any] = field(repr=False)
    number: int = field(repr=False)


def grid(
    X: Any,
    y: ArrayLike,
    *,
    learning_rates: Sequence[float | None] = (None,),
    regs: Sequence[float] | None = None,
    Cs: Sequence[float] | None = None,
    temperatures: Sequence[float] = (1.0,),
    solver: SGD | None = None,
    X_val: Any = None,
    y_val: ArrayLike | None = None,
    held_out: ArrayLike | None = None,
    sample_weight: ArrayLike | None = None,
    loss: Loss | None = None,
    fit_intercept: bool = True,
    seed: int = 0,
    callback: Callable[[int, State], None] | None = None,
    checkpoint: str | os.PathLike[str] | None = None,
    resume: bool = False,
) -> list[Trial]:
    """Train every combination of learning rate, penalty and temperature in one stream of mini-batches, the best one first.

    f(W, b) = 1/S sum_i r_i L((W x_i + b) / T, y_i) + reg/2 |W|^2

    Parameters: X (N, D) dense, CSR or on disk (`softgrad.data.stream`), y (N,) labels of any type; learning_rates, None for the solver's or
    a safe one; regs, penalties as above (the article's reg), or Cs, inverse strengths as in `SoftmaxClassifier` (reg = 1 / (C S), twice
    that for two classes), default Cs=(1,); temperatures T > 0; solver, an `SGD`; X_val, y_val, rows that rank the trials, by accuracy, then
    by log loss (else the training rows do), or held_out, numbers of rows of X that do so and are not trained on; sample_weight (N,); loss,
    default cross_entropy(); fit_intercept; seed of the shuffles; callback(p, state), called after each pass of trial p; p counts rates,
    penalties, temperatures, the last one fastest; checkpoint, a file that keeps the state, resume, go on from it, to the same bits. Ctrl-C
    ends all trials where they are, with the status INTERRUPTED.
    Rows on disk are not shuffled all together: chunks from all over the file make a pile of an eighth of the memory limit, whose rows are.
    Returns a list of `Trial`. A trial that diverges says so in its status and comes last; the others go on. The coefficients
    are divided by T: they predict as they were trained. Raises SoftgradError for values out of range, NaN in X.

    >>> from sklearn.datasets import load_digits
    >>> from softgrad.solvers import SGD
    >>> from softgrad.stochastic import grid
    >>> X, y = load_digits(return_X_y=True)
    >>> trials = grid(X, y, learning_rates=(0.01, 0.0001), regs=(0.1, 0.01), solver=SGD(epochs=5), X_val=X[1500:], y_val=y[1500:])
    >>> print(len(trials), trials[0].learning_rate, trials[0].status.name)
    4 0.01 ITERATIONS
    """
    solver = SGD() if solver is None else solver
    if not isinstance(solver, SGD):
        arrays.refuse("grid(solver)", "must be an SGD", arrays.shown(solver), "pass softgrad.solvers.SGD()")
    rows = arrays.features("grid(X)", X)
    labels = np.asarray(y)
    if labels.shape != rows.shape[:1]:
        rule = f"must have one label for each of the {rows.shape[0]} rows of X"
        arrays.refuse("grid(y)", rule, f"shape {labels.shape}", "align them")
    classes, numbers = arrays.classes("grid(y)", labels)
    weights = arrays.row_weight("grid(sample_weight)", sample_weight, rows.shape[0])
    trained, validation = _parts(rows, numbers, classes, X_val, y_val, held_out)
    r = np.zeros(rows.shape[0])
    r[trained] = 1.0 if weights is None else weights[trained]
    if not r.any():
        arrays.refuse("grid(sample_weight)", "at least one row must count", "weights that are all zero", "weigh some row above zero")
    loss = cross_entropy() if loss is None else loss
    points = _points(learning_rates, _penalties(regs, Cs, float(r.sum()), one_row=one_row(loss, len(classes))), temperatures)
    problem = Problem(rows, numbers, r, len(classes), loss, 0.0, bool(fit_intercept), arrays.whole("grid(seed)", seed, 0))
    descent = Descent(problem, points, solver, watch=callback)
    keep(checkpoint, descent, resumed=resume)
    fits = descent.run()
    if any(fit.result.status is Status.DIVERGED for fit in fits):
        arrays.finite_features("grid(X)", rows, r)
    train, losses = _judge(fits, loss, Rows(rows, numbers, trained), with_loss=validation is None)
    ranked = train
    if validation is not None:
        ranked, losses = _judge(fits, loss, validation, with_loss=True)
    seen = ranked if validation is not None else np.full(len(fits), np.nan)
    trials = [
        Trial(fit.result.stride.learning_rate, point.l2, point.temperature, *map(float, row), fit.result.status, fit, classes, p)  # type: ignore[union-attr]
        for p, (fit, point, *row) in enumerate(zip(fits, points, train, seen, losses, strict=True))
    ]
    order = sorted(range(len(fits)), key=lambda p: (trials[p].status is Status.DIVERGED, -ranked[p], losses[p]))
    return [trials[p] for p in order]


def _penalties(regs: Sequence[float] | None, Cs: Sequence[float] | None, total: float, *, one_row: bool) -> list[float]:
    if regs is not None and Cs is not None:
        arrays.refuse("grid(regs)", "takes the place of Cs", "both", "pass one of them")
    if regs is not None:
        return [arrays.number("grid(regs)", reg, 0) for reg in regs]
    both = 2 if one_row else 1
    return [both / (arrays.number("grid(Cs)", C, 0, open_low=True) * total) for C in ((1.0,) if Cs is None else Cs)]


def _points(rates: Sequence[float | None], penalties: Sequence[float], temperatures: Sequence[float]) -> list[Point]:
    rates = [None if rate is None else arrays.number("grid(learning_rates)", rate, 0, open_low=True) for rate in rates]
    Ts = [arrays.number("grid(temperatures)", T, 0, open_low=True) for T in temperatures]
    points = [Point(reg, rate, T) for rate, reg, T in product(rates, penalties, Ts)]
    if not points:
        arrays.refuse("grid", "needs at least one rate, one penalty and one temperature", "an empty list", "name some")
    return points


class Rows(NamedTuple):
    """Some rows of X, and class numbers of all, -1 for labels that training has not seen."""

    X: Any
    y: NDArray[np.int64]
    picked: NDArray[np.intp]


def _parts(
    X: Any, numbers: NDArray[np.int64], classes: NDArray[Any], X_val: Any, y_val: ArrayLike | None, held_out: ArrayLike | None
) -> tuple[NDArray[np.intp], Rows | None]:
    """Numbers of the rows to train on, and the rows that rank the trials, if there are any."""
    N, every = X.shape[0], np.arange(X.shape[0])
    if held_out is None:
        return every, _validation(X_val, y_val, classes, X.shape[1])
    if X_val is not None or y_val is not None:
        arrays.refuse("grid(held_out)", "takes the place of X_val and y_val", "both", "pass one of them")
    picked = np.unique(np.asarray(held_out))
    if picked.dtype.kind not in "iu" or not len(picked) or picked[0] < 0 or picked[-1] >= N:
        arrays.refuse("grid(held_out)", f"must be numbers of rows from 0 to {N - 1}", arrays.shown(held_out), "check the split")
    arrays.finite_features("grid(X)", X, np.isin(every, picked))
    return np.setdiff1d(every, picked), Rows(X, numbers, picked)


def _validation(X: Any, y: ArrayLike | None, classes: NDArray[Any], D: int) -> Rows | None:
    if (X is None) != (y is None):
        arrays.refuse("grid(X_val)", "comes with y_val", "one of them", "pass both or none")
    if X is None or y is None:
        return None
    rows, labels = arrays.features("grid(X_val)", X), np.asarray(y)
    if rows.shape[1] != D or labels.shape != rows.shape[:1] or len(labels) == 0:
        came = f"shape {rows.shape} and y_val {labels.shape}"
        arrays.refuse("grid(X_val)", f"must have {D} features, and as many rows as y_val has labels", came, "align them")
    arrays.finite_features("grid(X_val)", rows)
    numbers = np.minimum(np.searchsorted(classes, labels), len(classes) - 1)
    return Rows(rows, np.where(classes[numbers] == labels, numbers, -1), np.arange(len(labels)))


def _judge(fits: list[Fit], loss: Loss, rows: Rows, *, with_loss: bool) -> tuple[NDArray[Any], NDArray[Any]]:
    """Accuracy of every fit, and mean -log p of the labels that training has seen; scores of all fits in one product."""
    coef, intercept = np.vstack([fit.coef for fit in fits]), np.concatenate([fit.intercept for fit in fits])
    right, lost, P, N = np.zeros(len(fits)), np.zeros(len(fits)), len(fits), len(rows.picked)
    step = max(1, CELLS // len(coef))
    for i in range(0, N, step):
        some = rows.picked[i : i + step]
        labels = rows.y[some]
        z = linear_scores(rows.X, coef, intercept, some).reshape(len(labels), P, -1)
        right += (z.argmax(axis=2) == labels[:, None]).sum(axis=0)
        if with_loss:
            known = np.flatnonzero(labels >= 0)
            log_p = log_probabilities(loss, z[known].reshape(-1, z.shape[2]).astype(np.float64)).reshape(len(known), P, -1)
            lost -= np.take_along_axis(log_p, labels[known, None, None], axis=2).sum(axis=(0, 2))
    return right / N, lost / max(int((rows.y[rows.picked] >= 0).sum()), 1)
