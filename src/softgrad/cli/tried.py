"""What a search tries: points on folds of the training rows, a row of numbers for each point, the table of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from softgrad.arrays import SoftgradError
from softgrad.cli import console
from softgrad.cli.parser import Arguments

Folds = list[tuple[np.ndarray, np.ndarray]]
LEFT_OUT, DONE, DIVERGED, STOPPED = "left out", "done", "diverged", "stopped"
NAMES = {"learning_rate": "learning rate", "C": "C", "reg": "reg"}


@dataclass(frozen=True)
class Found:
    """What a search found: the table, best first; the classifier fitted at the best, and its C; passes over the rows that fits shared."""

    table: list[dict[str, Any]]
    classifier: Any
    C: float
    n_folds: int
    passes: int
    interrupted: bool = False
    scoring: str | None = None  # what --scoring names

    @property
    def strength(self) -> str:
        """C or reg."""
        return "C" if "C" in self.table[0] else "reg"

    @property
    def at_an_end(self) -> list[str]:
        """Which of the best point's numbers are the smallest or the largest tried, so that a better one may lie beyond."""
        scored = [row for row in self.table if row["status"] != LEFT_OUT]
        ends = {name: {row[name] for row in scored} for name in NAMES if name in self.table[0]}
        return [name for name, tried in ends.items() if len(tried) > 1 and self.table[0][name] in (min(tried), max(tried))]


def row(
    point: Mapping[str, Any],
    losses: np.ndarray,
    held_out: np.ndarray,
    train: np.ndarray,
    passes: float,
    seconds: float,
    status: str,
    scores: Any = None,
) -> dict[str, Any]:
    """A point and the mean and spread of its folds' (F,) numbers; scores are those of --scoring, where it was given."""
    scored = {} if scores is None else {"score": float(np.mean(scores)), "score_spread": float(np.std(scores))}
    return {
        **point,
        **scored,
        "log_loss": float(np.mean(losses)),
        "log_loss_spread": float(np.std(losses)),
        "validation_accuracy": float(np.mean(held_out)),
        "validation_accuracy_spread": float(np.std(held_out)),
        "train_accuracy": float(np.mean(train)),
        "passes": passes,
        "seconds": seconds,
        "status": status,
        **({} if scores is None else {"scores": np.asarray(scores).tolist()}),
        "log_losses": np.asarray(losses).tolist(),
        "validation_accuracies": np.asarray(held_out).tolist(),
        "train_accuracies": np.asarray(train).tolist(),
    }


def folds_of(arguments: Arguments, dataset: Any) -> Folds:
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


def shown(found: Found) -> str:
    """The table for people; spreads only where there is more than one fold."""
    points = {name: words for name, words in NAMES.items() if name in found.table[0]}

    def spread(row: dict[str, Any], name: str, form: str) -> str:
        value, around = row[name], row[f"{name}_spread"]
        if np.isnan(value):
            return "-"
        return f"{value:{form}} ± {around:{form}}" if found.n_folds > 1 else f"{value:{form}}"

    lines = [
        (
            *("safe" if row[name] is None else f"{row[name]:g}" for name in points),
            *([] if found.scoring is None else [spread(row, "score", ".5f")]),
            spread(row, "log_loss", ".5f"),
            spread(row, "validation_accuracy", ".2%"),
            console.percent(row["train_accuracy"]),
            "-" if np.isnan(row["passes"]) else f"{row['passes']:.1f}",
            "-" if np.isnan(row["seconds"]) else f"{row['seconds']:.1f}",
            row["status"],
        )
        for row in found.table
    ]
    scored = [] if found.scoring is None else [f"{found.scoring}, held out"]
    head = (*points.values(), *scored, "log loss, held out", "accuracy, held out", "accuracy, train", "passes", "seconds", "status")
    return console.columns(head, lines)
