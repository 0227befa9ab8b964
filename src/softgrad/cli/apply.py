"""`softgrad predict` and `softgrad evaluate`: a stored model applied to a data set. Classes are matched by name."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from softgrad.arrays import SoftgradError
from softgrad.cli import console
from softgrad.cli.parser import Arguments
from softgrad.cli.read import read
from softgrad.row_source import AbstractRowSource

ROWS_AT_ONCE = 10_000  # whose scores are kept at a time
SHARE = 16  # of the memory limit, for the rows of a block: their numbers as floats, the scores and the probabilities come on top


class Model(NamedTuple):
    """A fitted classifier, the names of its columns in the order of `classes_`, and what the fit noted down."""

    classifier: Any
    names: tuple[str, ...]
    notes: dict[str, Any]

    def columns(self, X: Any) -> np.ndarray:
        """Predicted column numbers (N,) of rows X."""
        return np.searchsorted(self.classifier.classes_, self.classifier.predict(X))


def predict(arguments: Arguments) -> None:
    """Run the verb."""
    model = read_model(arguments.model)
    rows = _unlabelled(arguments, model) if arguments.unlabelled else read_rows(arguments, model)
    if arguments.json:
        shown: dict[str, Any] = {"classes": model.names, "predicted": []} | ({"probabilities": []} if arguments.proba else {})
        for X, _ in rows.blocks():
            shown["predicted"] += [model.names[k] for k in model.columns(X)]
            if arguments.proba:
                shown["probabilities"] += model.classifier.predict_proba(X).tolist()
        print(console.as_json(shown))
        return
    if arguments.proba:
        print("\t".join(map(_one_cell, model.names)))
    for X, _ in rows.blocks():
        if arguments.proba:
            np.savetxt(sys.stdout, model.classifier.predict_proba(X), fmt="%.9g", delimiter="\t")
        else:
            print("\n".join(_one_cell(model.names[k]) for k in model.columns(X)))


def evaluate(arguments: Arguments) -> None:
    """Run the verb."""
    from softgrad.report.confusion import confusion

    model = read_model(arguments.model)
    rows = read_rows(arguments, model)
    ys, columns, surprise = [], [], 0.0
    for X, y in rows.blocks():
        true = _columns_of(y, rows.classes, model)
        log_p = model.classifier.predict_log_proba(X)
        surprise -= float(np.take_along_axis(log_p, true[:, None], axis=1).sum(dtype=np.float64))
        ys.append(true)
        columns.append(model.columns(X))
    measured = confusion(np.concatenate(ys), np.concatenate(columns), model.names)
    numbers = {
        "source": arguments.source,
        "split": arguments.split,
        "rows": measured.rows,
        "accuracy": measured.accuracy,
        "log_loss": surprise / measured.rows,
        "recall": dict(zip(model.names, measured.recall.tolist(), strict=True)),
        "precision": dict(zip(model.names, measured.precision.tolist(), strict=True)),
        "worst_pairs": [asdict(pair) for pair in measured.worst(10)],
    }
    print(console.as_json(numbers) if arguments.json else _table(numbers, measured))


def read_model(place: str) -> Model:
    """The model in a file, or in the folder of a fit; raises SoftgradError when there is none or it is damaged."""
    import softgrad

    path = Path(place)
    if path.is_dir():
        path = path / "model.safetensors"
    if not path.is_file():
        raise SoftgradError(f"MODEL: a model file or the folder of a fit is needed, found none at {path}: run `softgrad fit` first")
    classifier = softgrad.load(path)
    notes = getattr(classifier, "metadata_", None) or {}
    known = notes.get("class_names")
    names = [known[number] for number in classifier.classes_] if known else classifier.classes_.tolist()
    return Model(classifier, tuple(map(str, names)), notes)


class Rows(NamedTuple):
    """Rows of a data set: parts (X, y), y numbers into `classes`."""

    parts: list[tuple[Any, np.ndarray]]
    classes: tuple[str, ...] = ()

    def blocks(self) -> Iterator[tuple[Any, np.ndarray]]:
        """The rows of all parts, so few at a time that their scores, and what is read of them from disk, take little memory."""
        for X, y in self.parts:
            step = ROWS_AT_ONCE
            if isinstance(X, AbstractRowSource):
                step = max(1, min(step, X.memory_limit * len(y) // (SHARE * int(X.nbytes(0, len(y))))))
            for i in range(0, len(y), step):
                yield X[i : i + step], y[i : i + step]


def read_rows(arguments: Arguments, model: Model) -> Rows:
    """The rows asked for, split as in the fit; raises SoftgradError when they do not fit the model."""
    notes = model.notes
    if arguments.label is None:
        arguments.label = _label(arguments.source, notes)
    # all rows in the order of the file: nothing is held out, so nothing has to be put back into its place
    arguments.test_size = 0.0 if arguments.split == "all" else notes.get("test_size", 0.2)
    arguments.seed = notes.get("seed", 0)
    dataset = read(arguments)
    _fits(model, arguments.source, dataset.X)
    if dataset.unit != notes.get("unit", dataset.unit):
        console.say(f"warning: the model was fitted on features up to {notes['unit']:g}, these go up to {dataset.unit:g}")
    train, test = (dataset.X, dataset.y), (dataset.X_test, dataset.y_test)
    parts = {"train": [train], "test": [test], "all": [train, test]}[arguments.split]
    parts = [(X, y) for X, y in parts if len(y)]
    if not parts:
        raise SoftgradError(f"SOURCE: rows are needed, the {arguments.split} part of {arguments.source} has none: use --split all")
    return Rows(parts, dataset.classes)


def _unlabelled(arguments: Arguments, model: Model) -> Rows:
    """Rows that come without labels: y is 0."""
    from softgrad.data import unlabelled

    X = unlabelled(arguments.source, arguments.memory_limit)
    _fits(model, arguments.source, X)
    return Rows([(X, np.zeros(X.shape[0], np.int64))])


def _fits(model: Model, source: str, X: Any) -> None:
    if X.shape[1] != model.classifier.n_features_in_:
        raise SoftgradError(
            f"SOURCE: the model needs {model.classifier.n_features_in_} features, {source} has {X.shape[1]}: "
            f"give data of the kind it was fitted on{' (' + str(model.notes['source']) + ')' if 'source' in model.notes else ''}"
        )


def _label(source: str, notes: dict[str, Any]) -> str | int | None:
    """The label column of the fit, for tables only: no other source takes one."""
    return notes.get("label") if source.lower().endswith((".csv", ".tsv")) else None


def _columns_of(y: np.ndarray, classes: tuple[str, ...], model: Model) -> np.ndarray:
    """Class numbers of the data -> columns of the model, by name."""
    number = {name: k for k, name in enumerate(model.names)}
    columns = np.array([number.get(name, -1) for name in classes])[y]
    if (columns < 0).any():
        strange = sorted({classes[k] for k in np.unique(y[columns < 0])})
        more = f" and {len(strange) - 5} more" if len(strange) > 5 else ""
        raise SoftgradError(
            f"SOURCE: classes must be known to the model, got {', '.join(map(repr, strange[:5]))}{more}, "
            f"it knows {', '.join(map(repr, model.names[:5]))}{', ...' if len(model.names) > 5 else ''}: "
            "fit with these classes, or rename them"
        )
    return columns


def _one_cell(name: str) -> str:
    return " ".join(name.split())  # a tab or line break in a class name would break the table


def _table(numbers: dict[str, Any], measured: Any) -> str:
    head = [
        ("rows", f"{numbers['rows']} ({numbers['split']})"),
        ("accuracy", console.percent(numbers["accuracy"])),
        ("log loss", f"{numbers['log_loss']:.6f}"),
    ]
    counts = measured.counts.sum(axis=1).tolist()
    per_class = zip(measured.classes, counts, map(console.percent, measured.recall), map(console.percent, measured.precision), strict=True)
    classes = console.columns(("class", "rows", "recall", "precision"), per_class)
    return f"{console.table(head)}\n\n{classes}{console.pairs_table(measured.worst(5))}"
