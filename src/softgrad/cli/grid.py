"""A search by stochastic training: every learning rate with every strength of the penalty, in one stream of mini-batches for each fold.

Scaling never touches X. With features x / s and weights w = s v, steps w <- w - rate dL/dw are v <- v - rate / s^2 dL/dv on x, and
reg/2 |w|^2 = s^2 reg/2 |v|^2.
"""

from __future__ import annotations

from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from softgrad.cli.parser import Arguments
from softgrad.cli.record import Record
from softgrad.cli.tried import Found, folds_of, row


def grid(arguments: Arguments, dataset: Any, scale: float, record: Path) -> Found:
    """Run it; the best by accuracy on the rows held out, then by log loss, is trained once more on all rows."""
    from softgrad.progress import Bar

    folds, points = folds_of(arguments, dataset), _points(arguments)
    bar = Bar(arguments.tol * scale)
    with Record(record, scale, resumed=False) as written:

        def told(fold: int | None, point: dict[str, Any], state: Any) -> None:
            written.write(point, fold, state)
            if not arguments.quiet:
                bar(state)

        try:
            tried = [_fold(arguments, dataset, scale, points, fold, j, told) for j, fold in enumerate(folds)]
            table = _table(points, tried)
            classifier = _trained(arguments, dataset, scale, table[0], lambda state: told(None, _point_of(table[0]), state))
        finally:
            bar.clear()
    passes = sum(max(trial.fit.result.passes for trial in trials) for trials in tried)
    return Found(table, classifier, classifier.C * scale**2, len(folds), passes)


def _points(arguments: Arguments) -> list[dict[str, Any]]:
    name, strengths = ("C", arguments.Cs) if arguments.regs is None else ("reg", arguments.regs)
    return [{"learning_rate": rate, name: strength} for rate, strength in product(arguments.learning_rates or [None], strengths)]


def _point_of(row: dict[str, Any]) -> dict[str, Any]:
    return {name: row[name] for name in ("learning_rate", "C", "reg") if name in row}


def _rate(point: dict[str, Any], scale: float) -> float | None:
    return None if point["learning_rate"] is None else point["learning_rate"] / scale**2


def _solver(arguments: Arguments, rate: float | None) -> Any:
    from softgrad.solvers import SGD

    return SGD(learning_rate=rate, batch_size=arguments.batch_size, iterations=arguments.iterations, momentum=arguments.momentum)


def _loss(arguments: Arguments) -> Any:
    from softgrad.losses import cross_entropy

    return cross_entropy(label_smoothing=arguments.label_smoothing, temperature=arguments.temperature)


def _fold(arguments: Arguments, dataset: Any, scale: float, points: list[dict[str, Any]], fold: Any, j: int, told: Any) -> list[Any]:
    """The trials of one fold in the order of the points."""
    from sklearn.utils.class_weight import compute_sample_weight

    from softgrad import stochastic

    train, held_out = fold
    y = dataset.y[train]
    weight = None if arguments.class_weight is None else compute_sample_weight(arguments.class_weight, y)
    strengths = list(dict.fromkeys(point["reg"] * scale**2 if "reg" in point else point["C"] / scale**2 for point in points))
    trials = stochastic.grid(
        dataset.X[train],
        y,
        learning_rates=list(dict.fromkeys(_rate(point, scale) for point in points)),
        regs=strengths if "reg" in points[0] else None,
        Cs=None if "reg" in points[0] else strengths,
        solver=_solver(arguments, None),
        X_val=dataset.X[held_out],
        y_val=dataset.y[held_out],
        sample_weight=weight,
        loss=_loss(arguments),
        fit_intercept=not arguments.no_intercept,
        seed=arguments.seed,
        callback=lambda p, state: told(j, points[p], state),
    )
    # back from best first to the order of the points; penalties fall as C rises
    penalties = sorted({trial.reg for trial in trials}, reverse="C" in points[0])
    return sorted(trials, key=lambda trial: (trial.learning_rate if arguments.learning_rates else 0, penalties.index(trial.reg)))


def _table(points: list[dict[str, Any]], tried: list[list[Any]]) -> list[dict[str, Any]]:
    """A row for each point, the most accurate first, those that diverged on some fold last."""
    from softgrad.solvers.solver import Status

    rows = []
    for point, *trials in zip(points, *tried, strict=True):
        losses, held_out, train = (
            np.array([getattr(trial, name) for trial in trials]) for name in ("log_loss", "validation_accuracy", "train_accuracy")
        )
        results = [trial.fit.result for trial in trials]
        passes, seconds = (float(np.mean([getattr(result, name) for result in results])) for name in ("passes", "seconds"))
        status = "diverged" if any(result.status is Status.DIVERGED for result in results) else "done"
        rows.append(row(point, losses, held_out, train, passes, seconds, status))
    return sorted(rows, key=lambda row: (row["status"] == "diverged", -row["validation_accuracy"], row["log_loss"]))


def _trained(arguments: Arguments, dataset: Any, scale: float, best: dict[str, Any], told: Any) -> Any:
    """A classifier at the best point on all rows: reg = 1 / (C S), twice that for two classes."""
    import softgrad

    both = 2 if len(np.unique(dataset.y)) == 2 else 1
    C = best["C"] / scale**2 if "C" in best else both / (best["reg"] * scale**2 * len(dataset.y))
    classifier = softgrad.SoftmaxClassifier(
        C=C,
        solver=_solver(arguments, _rate(best, scale)),
        loss=_loss(arguments),
        fit_intercept=not arguments.no_intercept,
        class_weight=arguments.class_weight,
        random_state=arguments.seed,
        callback=told,
    )
    return classifier.fit(dataset.X, dataset.y)
