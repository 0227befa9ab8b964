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
from softgrad.cli.states import States
from softgrad.cli.tried import LEFT_OUT, Folds, Found, folds_of, row


def search(arguments: Arguments, dataset: Any, scale: float, states: States, record: Path) -> Found:
    """Run it, with its state in one file and its passes in another; Ctrl-C ends it with the best so far, if there is one."""
    from softgrad.report.folds import fold_accuracies, fold_log_losses

    Cs, folds = arguments.Cs, folds_of(arguments, dataset)
    live = Live([{"C": C} for C in Cs], len(folds), scale, wanted=not arguments.quiet)
    with Record(record, scale, resumed=arguments.resume) as written:

        def told(step: Any) -> None:
            written.write({"C": Cs[step.k]}, step.j, step)
            live.over |= {(k, step.j) for k in range(step.k)}  # a weaker penalty begins where the stronger one has ended
            live(step)

        classifier = _classifier(arguments, scale, folds, told, states.of())
        try:
            with warnings.catch_warnings(record=True) as later:  # told below, when the table has gone
                classifier.fit(dataset.X, dataset.y)
        finally:
            live.clear()
        for warning in later:
            console.say(f"warning: {warning.message}")
        seen = dataset.X, dataset.y, classifier.classes_, classifier.coefs_paths_, folds
        losses = -classifier.scores_ if arguments.scoring is None else fold_log_losses(*seen, classifier.loss)
        table = _table(Cs, classifier, losses, *fold_accuracies(*seen), scored=arguments.scoring is not None)
        for step in classifier.result_.trace if not classifier.interrupted_ else ():
            written.write({"C": table[0]["C"]}, None, step)
    return Found(table, classifier, table[0]["C"], len(folds), classifier.passes_, classifier.interrupted_, arguments.scoring)


def _classifier(arguments: Arguments, scale: float, folds: Folds, told: Callable[[Any], None], state: Path) -> Any:
    import softgrad
    from softgrad.losses import cross_entropy

    return softgrad.SoftmaxClassifierCV(
        [C / scale**2 for C in arguments.Cs],
        cv=folds,
        scoring=arguments.scoring or "neg_log_loss",
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


def _table(
    Cs: Sequence[float], classifier: Any, losses: np.ndarray, train: np.ndarray, held_out: np.ndarray, *, scored: bool
) -> list[dict[str, Any]]:
    """A row for each C, the lowest mean log loss or the highest score first, those left out last."""
    path, rows = classifier.path_, []
    for k, C in enumerate(Cs):
        status = LEFT_OUT if np.isnan(path["passes"][k]) else "converged" if path["converged"][k] else "ended early"
        spent = float(path["passes"][k]), float(path["seconds"][k])
        scores = classifier.scores_[:, k] if scored else None
        rows.append(row({"C": C}, losses[:, k], held_out[:, k], train[:, k], *spent, status, scores))
    return sorted(rows, key=lambda row: (row["status"] == LEFT_OUT, -row.get("score", -row["log_loss"])))
