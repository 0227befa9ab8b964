"""`softgrad sweep`: data set -> every strength on every fold -> the best one on all rows -> test rows -> files -> table.

While it runs, its state lies in sweep.ckpt (by stochastic training in sweep-fold-0.ckpt, ...), which goes when all results are written; a
stopped or killed sweep goes on from there.
"""

from __future__ import annotations

import platform
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from softgrad.arrays import SoftgradError
from softgrad.cli import console
from softgrad.cli.grid import grid
from softgrad.cli.machine import machine
from softgrad.cli.notes import description, facts, outcome
from softgrad.cli.parser import Arguments
from softgrad.cli.read import read
from softgrad.cli.results import Results, default_folder, expect_writable
from softgrad.cli.search import search
from softgrad.cli.states import States
from softgrad.cli.tried import NAMES, Found, shown
from softgrad.saved_models import FILE

PASSES = "passes.jsonl"


def sweep(arguments: Arguments) -> None:
    """Run the verb. A sweep that is interrupted writes the best so far, and then ends as what is interrupted ends."""
    began = time.perf_counter()
    if arguments.out:
        expect_writable(Path(arguments.out))  # before the data are read, which may take long
    if arguments.checkpoint:
        expect_writable(Path(arguments.checkpoint), "--checkpoint")
    dataset = read(arguments)
    results = Results(Path(arguments.out or default_folder(dataset.name)))
    scale = dataset.unit if arguments.scale == "auto" else arguments.scale
    states = _states(arguments, results.folder)
    began -= states.seconds()  # of the processes that came before this one
    found = _searched(arguments, dataset, scale, states, results)
    metrics, measured, part = _measure(arguments, dataset, found, scale)
    results.begin()
    found.classifier.save(results.place(FILE), metadata=description(arguments, dataset, scale, found.C))
    curve = [step.value for step in found.classifier.result_.trace]
    results.numbers(curve, measured)
    metrics["seconds"] = time.perf_counter() - began
    results.finish(metrics, "sweep.json")
    if not arguments.no_pictures:
        results.pictures(dataset, found.classifier, curve, measured, part, scale)
        results.picture("sweep.png", _picture(dataset.name, found))
    if not found.interrupted:
        states.remove()
    _tell(arguments, metrics, measured, found, results)
    if found.interrupted:
        raise KeyboardInterrupt


def _states(arguments: Arguments, folder: Path) -> States:
    """The files of the state; raises SoftgradError where a stopped sweep's would be lost."""
    states = States(Path(arguments.checkpoint) if arguments.checkpoint else folder)
    states.folder.mkdir(parents=True, exist_ok=True)
    if states.files and not arguments.resume:
        raise SoftgradError(f"{states.files[0]}: is the state of a sweep that did not end: go on with --resume, or remove the file")
    if arguments.resume and not states.files:
        console.say(f"no state of a sweep at {states.of()}: it begins anew")
        arguments.resume = False
    return states


def _searched(arguments: Arguments, dataset: Any, scale: float, states: States, results: Results) -> Found:
    """The search; what it leaves behind when it fails is only what it can go on from."""
    record, resumed = results.place(PASSES), arguments.resume
    try:
        if arguments.solver == "sgd":
            return grid(arguments, dataset, scale, states, record)
        return search(arguments, dataset, scale, states, record)
    except SoftgradError:  # nothing to go on with: the data or the options have to change
        if not resumed:
            states.remove()
            record.unlink(missing_ok=True)
            results.drop()
        raise
    except KeyboardInterrupt:
        if not states.files:
            record.unlink(missing_ok=True)
            results.drop()
        else:
            console.say(f"no strength is complete yet; --resume goes on from {states.files[0]}")
        raise


def _measure(arguments: Arguments, dataset: Any, found: Found, scale: float) -> tuple[dict[str, Any], Any, str]:
    """All numbers, and the confusion of the test rows, or of the training rows where there are no others; and which."""
    from softgrad import __version__
    from softgrad.report.confusion import confusion

    classifier = found.classifier
    on_train = confusion(dataset.y, classifier.predict(dataset.X), dataset.classes)
    has_test = len(dataset.y_test) > 0
    measured = confusion(dataset.y_test, classifier.predict(dataset.X_test), dataset.classes) if has_test else on_train
    log_loss, unseen = _log_loss(classifier, dataset.X_test, dataset.y_test) if has_test else (None, 0)
    metrics = {
        **facts(arguments, dataset, scale),
        "cv": arguments.cv if arguments.holdout is None else None,
        "holdout": arguments.holdout,
        "max_iter": arguments.max_iter,
        "early_stopping": arguments.early_stopping,
        "scoring": arguments.scoring,
        "solver": arguments.solver,
        **({name: getattr(arguments, name) for name in ("iterations", "batch_size", "momentum")} if arguments.solver == "sgd" else {}),
        "interrupted": found.interrupted,
        "table": found.table,
        "chosen": found.table[0],
        "refit": outcome(classifier.result_, scale),
        "shared_passes": found.passes,
        "train_accuracy": on_train.accuracy,
        "test_accuracy": measured.accuracy if has_test else None,
        "test_log_loss": log_loss,
        "test_rows_of_unseen_classes": unseen,
        "recall": dict(zip(measured.classes, measured.recall.tolist(), strict=True)),
        "worst_pairs": [asdict(pair) for pair in measured.worst(10)],
        "versions": {"softgrad": __version__, "python": platform.python_version(), **machine()},
    }
    return metrics, measured, "test" if has_test else "training"


def _log_loss(classifier: Any, X: Any, y: np.ndarray) -> tuple[float, int]:
    """Mean -log p of the labels that training has seen, NaN without one; and how many rows have another label."""
    at = np.minimum(np.searchsorted(classifier.classes_, y), len(classifier.classes_) - 1)
    known = np.flatnonzero(classifier.classes_[at] == y)
    log_p = classifier.predict_log_proba(X)[known, at[known]]
    return -float(log_p.mean()) if len(known) else float("nan"), len(y) - len(known)


def _picture(name: str, found: Found) -> bytes:
    """Curves of one number that was varied, a map of two."""
    from softgrad.report import pictures

    strength, best = found.strength, found.table[0]
    if len({row.get("learning_rate") for row in found.table}) > 1:
        return pictures.grid_map(found.table, strength, title=f"{name}: accuracy of held-out rows")
    rows = sorted(found.table, key=lambda row: row[strength])
    columns = (np.array([row[name] for row in rows]).T for name in ("log_losses", "validation_accuracies", "train_accuracies"))
    title = f"{name}: held-out rows against the strength of the penalty"
    return pictures.strengths([row[strength] for row in rows], *columns, chosen=best[strength], name=strength, title=title)


def _tell(arguments: Arguments, metrics: dict[str, Any], measured: Any, found: Found, results: Results) -> None:
    if arguments.json:
        print(console.as_json(metrics))
    else:
        chosen, on = metrics["chosen"], f" on features / {metrics['scale']:g}" if metrics["scale"] != 1 else ""
        held_out = " (held out)" if metrics["test_rows"] and not metrics["own_test"] else ""
        early = " (of those done before the interrupt)" if found.interrupted else ""
        rows = [
            ("rows", f"{metrics['rows']} + {metrics['test_rows']} test{held_out}"),
            (f"best {found.strength}", f"{chosen[found.strength]:g}{on}{early}"),
            *([("best learning rate", f"{chosen['learning_rate']:g}{on}")] if chosen.get("learning_rate") else []),
            ("shared passes", f"{metrics['shared_passes']} for {found.n_folds} x {len(found.table)} fits"),
            ("seconds", f"{metrics['seconds']:.2f}"),
            ("train accuracy", console.percent(metrics["train_accuracy"])),
            ("test accuracy", console.percent(metrics["test_accuracy"])),
            ("test log loss", "-" if metrics["test_log_loss"] is None else f"{metrics['test_log_loss']:.6f}"),
        ]
        print(shown(found), console.table(rows) + console.pairs_table(measured.worst(5)), sep="\n\n")
    sys.stdout.flush()
    if metrics["test_rows_of_unseen_classes"]:
        console.say(f"warning: {console.unseen(metrics['test_rows_of_unseen_classes'], 'test rows')}")
    if arguments.quiet:
        return
    for name in found.at_an_end:
        console.say(f"the best {NAMES[name]} is at an end of those tried, {metrics['chosen'][name]:g}; one beyond it may be better")
    console.say(f"wrote {', '.join(results.written)} to {results.folder}")
