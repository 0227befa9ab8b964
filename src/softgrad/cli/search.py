"""A search for the strength of the penalty: every C on every fold in shared passes, a table of what came out, the best refitted.

Scaling never touches X: as in a fit, C counts on features x / s and stands for C / s^2 on x, tol for s tol.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from softgrad.cli import console
from softgrad.cli.live import Live
from softgrad.cli.parser import Arguments
from softgrad.cli.record import Record
from softgrad.cli.tried import LEFT_OUT, Folds, Found, folds_of, row


def search(arguments: Arguments, dataset: Any, scale: float, state: Path, record: Path) -> Found:
    """Run it, with its state in one file and its passes in another; Ctrl-C ends it with the best so far, if there is one."""
    from softgrad.report.folds import fold_accuracies

    Cs, folds = arguments.Cs, folds_of(arguments, dataset)
    live = Live(Cs, len(folds), scale, wanted=not arguments.quiet)
    with Record(record, scale, resumed=arguments.resume) as written:

        def told(step: Any) -> None:
            written.write({"C": Cs[step.k]}, step.j, step)
            live(step)

        classifier = _classifier(arguments, scale, folds, told, state)
        try:
            with warnings.catch_warnings(record=True) as later:  # told below, when the table has gone
                classifier.fit(dataset.X, dataset.y)
        finally:
            live.clear()
        for warning in later:
            console.say(f"warning: {warning.message}")
        train, held_out = fold_accuracies(dataset.X, dataset.y, classifier.classes_, classifier.coefs_paths_, folds)
        table = _table(Cs, classifier, train, held_out)
        for step in classifier.result_.trace if not classifier.interrupted_ else ():
            written.write({"C": table[0]["C"]}, None, step)
    return Found(table, classifier, table[0]["C"], len(folds), classifier.passes_, classifier.interrupted_)


def _classifier(arguments: Arguments, scale: float, folds: Folds, told: Callable[[Any], None], state: Path) -> Any:
    import softgrad
    from softgrad.losses import cross_entropy

    return softgrad.SoftmaxClassifierCV(
        [C / scale**2 for C in arguments.Cs],
        cv=folds,
        fit_intercept=not arguments.no_intercept,
        class_weight=arguments.class_weight,
        loss=cross_entropy(label_smoothing=arguments.label_smoothing, temperature=arguments.temperature),
        tol=arguments.tol * scale,
        max_iter=arguments.max_iter,
        early_stopping=arguments.early_stopping,
        random_state=arguments.seed,
        callback=told,
        checkpoint=state,
        resume=arguments.resume,
    )


def _table(Cs: Sequence[float], classifier: Any, train: np.ndarray, held_out: np.ndarray) -> list[dict[str, Any]]:
    """A row for each C, the lowest mean log loss first, those left out last."""
    path, losses = classifier.path_, -classifier.scores_
    rows = []
    for k, C in enumerate(Cs):
        status = LEFT_OUT if np.isnan(path["passes"][k]) else "converged" if path["converged"][k] else "ended early"
        spent = float(path["passes"][k]), float(path["seconds"][k])
        rows.append(row({"C": C}, losses[:, k], held_out[:, k], train[:, k], *spent, status))
    return sorted(rows, key=lambda row: (row["status"] == LEFT_OUT, row["log_loss"]))
