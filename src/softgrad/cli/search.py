"""A search for the strength of the penalty: every C on every fold in shared passes, a table of what came out, the best refitted.

Scaling never touches X: as in a fit, C counts on features x / s and stands for C / s^2 on x, tol for s tol.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from softgrad.arrays import SoftgradError
from softgrad.cli import console
from softgrad.cli.live import Live
from softgrad.cli.parser import Arguments
from softgrad.cli.record import Record

Folds = list[tuple[np.ndarray, np.ndarray]]


@dataclass(frozen=True)
class Found:
    """What a search found: rows of the table, the best first; the classifier; (folds, strengths) of what the picture shows."""

    table: list[dict[str, Any]]
    classifier: Any
    log_losses: np.ndarray
    held_out: np.ndarray
    train: np.ndarray
    interrupted: bool

    @property
    def at_an_end(self) -> bool:
        """Whether the best is the smallest or the largest C that was scored, so that a better one may lie beyond."""
        scored = [row["C"] for row in self.table if row["status"] != "left out"]
        return len(scored) > 1 and self.table[0]["C"] in (min(scored), max(scored))


def search(arguments: Arguments, dataset: Any, scale: float, state: Path, record: Path) -> Found:
    """Run it, with its state in one file and its passes in another; Ctrl-C ends it with the best so far, if there is one."""
    import softgrad
    from softgrad.losses import cross_entropy
    from softgrad.report.folds import fold_accuracies

    Cs, folds = arguments.Cs, _folds(arguments, dataset)
    live = Live(Cs, len(folds), scale, wanted=not arguments.quiet)
    with Record(record, Cs, scale, resumed=arguments.resume) as written:

        def told(step: Any) -> None:
            written(step)
            live(step)

        classifier = softgrad.SoftmaxClassifierCV(
            [C / scale**2 for C in Cs],
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
        try:
            classifier.fit(dataset.X, dataset.y)
        finally:
            live.clear()
        train, held_out = fold_accuracies(dataset.X, dataset.y, classifier.classes_, classifier.coefs_paths_, folds)
        table = _table(Cs, classifier, train, held_out)
        for step in classifier.result_.trace if not classifier.interrupted_ else ():
            written.write(table[0]["C"], None, step)
    return Found(table, classifier, -classifier.scores_, held_out, train, classifier.interrupted_)


def _folds(arguments: Arguments, dataset: Any) -> Folds:
    """Pairs (training, held out) of row numbers, stratified."""
    from sklearn.model_selection import StratifiedKFold

    from softgrad.data.split import stratified

    if arguments.holdout is None:
        splitter = StratifiedKFold(arguments.cv, shuffle=True, random_state=arguments.seed)
        try:
            return list(splitter.split(dataset.y, dataset.y))
        except ValueError as error:
            raise SoftgradError(f"--cv: {error}") from error
    # seed + 1: the rows of --test-size were drawn with seed
    train, held_out = stratified(dataset.y, arguments.holdout, arguments.seed + 1)
    if not len(held_out):
        words = f"{arguments.holdout:g} of {len(dataset.y)} training rows must be at least one, got none to spare: raise it"
        raise SoftgradError(f"--holdout: {words}")
    return [(train, held_out)]


def _table(Cs: Sequence[float], classifier: Any, train: np.ndarray, held_out: np.ndarray) -> list[dict[str, Any]]:
    """A row for each C, the lowest mean log loss first, those left out last."""
    path, losses = classifier.path_, -classifier.scores_
    rows = [
        {
            "C": C,
            "log_loss": float(losses[:, k].mean()),
            "log_loss_spread": float(losses[:, k].std()),
            "validation_accuracy": float(held_out[:, k].mean()),
            "validation_accuracy_spread": float(held_out[:, k].std()),
            "train_accuracy": float(train[:, k].mean()),
            "passes": float(path["passes"][k]),
            "seconds": float(path["seconds"][k]),
            "status": "left out" if np.isnan(path["passes"][k]) else "converged" if path["converged"][k] else "ended early",
            "log_losses": losses[:, k].tolist(),
            "validation_accuracies": held_out[:, k].tolist(),
        }
        for k, C in enumerate(Cs)
    ]
    return sorted(rows, key=lambda row: (row["status"] == "left out", row["log_loss"]))


def shown(table: list[dict[str, Any]], n_folds: int) -> str:
    """The table for people; spreads only where there is more than one fold."""

    def spread(row: dict[str, Any], name: str, form: str) -> str:
        value, around = row[name], row[f"{name}_spread"]
        if np.isnan(value):
            return "-"
        return f"{value:{form}} ± {around:{form}}" if n_folds > 1 else f"{value:{form}}"

    lines = [
        (
            f"{row['C']:g}",
            spread(row, "log_loss", ".5f"),
            spread(row, "validation_accuracy", ".2%"),
            console.percent(row["train_accuracy"]),
            "-" if np.isnan(row["passes"]) else f"{row['passes']:.1f}",
            "-" if np.isnan(row["seconds"]) else f"{row['seconds']:.1f}",
            row["status"],
        )
        for row in table
    ]
    return console.columns(("C", "log loss, held out", "accuracy, held out", "accuracy, train", "passes", "seconds", "status"), lines)
