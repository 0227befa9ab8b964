"""A search by stochastic training: every learning rate with every strength of the penalty, in one stream of mini-batches for each fold.

Scaling never touches X. With features x / s and weights w = s v, steps w <- w - rate dL/dw are v <- v - rate / s^2 dL/dv on x, and
reg/2 |w|^2 = s^2 reg/2 |v|^2.
"""

from __future__ import annotations

import warnings
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from softgrad.cli import console
from softgrad.cli.live import Live
from softgrad.cli.parser import Arguments
from softgrad.cli.record import Record
from softgrad.cli.states import States
from softgrad.cli.tried import DIVERGED, DONE, STOPPED, Found, folds_of, row


def grid(arguments: Arguments, dataset: Any, scale: float, states: States, record: Path) -> Found:
    """Run it; the best by accuracy on the rows held out, then by log loss (or by --scoring), is trained once more on all rows.

    Ctrl-C ends it with the best so far: of the folds that are complete, or of the first as it is.
    """
    from softgrad.path import LaneState

    folds, points = folds_of(arguments, dataset), _points(arguments)
    live = Live(points, len(folds), scale, wanted=not arguments.quiet)
    with Record(record, scale, resumed=arguments.resume) as written:

        def told(j: int, p: int, state: Any) -> None:
            written.write(points[p], j, state)
            live(LaneState(**vars(state), k=p, j=j))

        tried, interrupted = [], False
        try:
            for j, fold in enumerate(folds):
                trials = _fold(arguments, dataset, scale, states, points, fold, j, told)
                interrupted = any(_status(trial) == STOPPED for trial in trials)
                if not (interrupted and tried):
                    tried.append(trials)
                    live.over |= {(p, j) for p in range(len(points))}
                if interrupted:
                    break
        except KeyboardInterrupt:
            if not tried:
                raise
            interrupted = True
        finally:
            live.clear()
        table = _table(points, tried, _scores(arguments, dataset, folds, tried))
        best = _point_of(table[0])
        classifier = _classifier(arguments, dataset, scale, best, lambda state: written.write(best, None, state))
        interrupted = interrupted or not _trained(classifier, dataset, states, resumed=arguments.resume)
        if interrupted:
            _averaged(classifier, [trials[points.index(best)] for trials in tried], dataset.n_features)
    passes = sum(max(trial.fit.result.passes for trial in trials) for trials in tried)
    return Found(table, classifier, classifier.C * scale**2, len(tried), passes, interrupted, arguments.scoring)


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


def _fold(
    arguments: Arguments, dataset: Any, scale: float, states: States, points: list[dict[str, Any]], fold: Any, j: int, told: Any
) -> list[Any]:
    """The trials of one fold in the order of the points."""
    from sklearn.utils.class_weight import compute_sample_weight

    from softgrad import stochastic

    train, held_out = fold
    weight = np.zeros(len(dataset.y))
    weight[train] = 1.0 if arguments.class_weight is None else compute_sample_weight(arguments.class_weight, dataset.y[train])
    strengths = list(dict.fromkeys(point["reg"] * scale**2 if "reg" in point else point["C"] / scale**2 for point in points))
    trials = stochastic.grid(
        dataset.X,
        dataset.y,
        learning_rates=list(dict.fromkeys(_rate(point, scale) for point in points)),
        regs=strengths if "reg" in points[0] else None,
        Cs=None if "reg" in points[0] else strengths,
        solver=_solver(arguments, None),
        held_out=held_out,
        sample_weight=weight,
        loss=_loss(arguments),
        fit_intercept=not arguments.no_intercept,
        seed=arguments.seed,
        callback=lambda p, state: told(j, p, state),
        checkpoint=states.of(f"fold-{j}"),
        resume=arguments.resume,
    )
    return sorted(trials, key=lambda trial: trial.number)


def _status(trial: Any) -> str:
    from softgrad.solvers.solver import Status

    return {Status.DIVERGED: DIVERGED, Status.INTERRUPTED: STOPPED}.get(trial.status, DONE)


def _scores(arguments: Arguments, dataset: Any, folds: Any, tried: list[list[Any]]) -> list[Any]:
    """What --scoring says of each point on each fold (P, F), None where it was not given."""
    if arguments.scoring is None:
        return [None] * len(tried[0])
    from softgrad.held_out import scoring_for
    from softgrad.training import Problem

    classes, numbers = np.unique(dataset.y, return_inverse=True)
    problem = Problem(dataset.X, numbers, np.ones(len(numbers)), len(classes), _loss(arguments), 0.0, not arguments.no_intercept, 0)
    scoring = scoring_for(arguments.scoring, problem, classes, dataset.y, {})
    return [
        [scoring(trial.fit, np.sort(held_out)) for trial, (_, held_out) in zip(trials, folds, strict=False)]
        for trials in zip(*tried, strict=True)
    ]


def _table(points: list[dict[str, Any]], tried: list[list[Any]], scores: list[Any]) -> list[dict[str, Any]]:
    """A row for each point, the best first, those that diverged on some fold last."""
    rows = []
    for point, scored, *trials in zip(points, scores, *tried, strict=True):
        losses, held_out, train = (
            np.array([getattr(trial, name) for trial in trials]) for name in ("log_loss", "validation_accuracy", "train_accuracy")
        )
        results = [trial.fit.result for trial in trials]
        passes, seconds = (float(np.mean([getattr(result, name) for result in results])) for name in ("passes", "seconds"))
        told = {_status(trial) for trial in trials}
        status = next(status for status in (DIVERGED, STOPPED, DONE) if status in told)
        rows.append(row(point, losses, held_out, train, passes, seconds, status, scored))
    return sorted(rows, key=lambda row: (row["status"] == DIVERGED, -row.get("score", row["validation_accuracy"]), row["log_loss"]))


def _classifier(arguments: Arguments, dataset: Any, scale: float, best: dict[str, Any], told: Any) -> Any:
    """A classifier of the best point: reg = 1 / (C S), twice that for two classes."""
    import softgrad

    both = 2 if len(np.unique(dataset.y)) == 2 else 1
    C = best["C"] / scale**2 if "C" in best else both / (best["reg"] * scale**2 * len(dataset.y))
    return softgrad.SoftmaxClassifier(
        C=C,
        solver=_solver(arguments, _rate(best, scale)),
        loss=_loss(arguments),
        fit_intercept=not arguments.no_intercept,
        class_weight=arguments.class_weight,
        random_state=arguments.seed,
        callback=told,
    )


def _trained(classifier: Any, dataset: Any, states: States, *, resumed: bool) -> bool:
    """Train it on all rows; whether that came to its end."""
    from softgrad.solvers.solver import Status

    classifier.set_params(checkpoint=states.of("refit"), resume=resumed)
    try:
        with warnings.catch_warnings(record=True) as later:
            classifier.fit(dataset.X, dataset.y)
    except KeyboardInterrupt:
        return False
    interrupted = classifier.result_.status is Status.INTERRUPTED
    for warning in () if interrupted else later:
        console.say(f"warning: {warning.message}")
    return not interrupted


def _averaged(classifier: Any, trials: list[Any], n_features: int) -> None:
    """The mean of the folds' coefficients in place of those of all rows."""
    from softgrad.linear_classifier import as_one_row

    coef, intercept = (np.mean([getattr(trial.fit, name) for trial in trials], axis=0) for name in ("coef", "intercept"))
    classifier.coef_, classifier.intercept_ = as_one_row(coef, intercept, classifier.loss)
    classifier.classes_, classifier.n_features_in_, classifier.result_ = trials[0].classes, n_features, trials[0].fit.result
