"""`softgrad predict` and `softgrad evaluate`: a stored model applied to a data set. Classes are matched by name."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from softgrad.arrays import SoftgradError
from softgrad.cli import columns, console
from softgrad.cli.parser import Arguments
from softgrad.cli.read import read
from softgrad.row_source import AbstractRowSource
from softgrad.saved_models import FILE

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
        print("\t".join(map(console.one_line, model.names)))
    for X, _ in rows.blocks():
        if arguments.proba:
            np.savetxt(sys.stdout, model.classifier.predict_proba(X), fmt="%.9g", delimiter="\t")
        else:
            print("\n".join(console.one_line(model.names[k]) for k in model.columns(X)))


def evaluate(arguments: Arguments) -> None:
    """Run the verb."""
    from softgrad.report.confusion import confusion

    model = read_model(arguments.model)
    rows = read_rows(arguments, model)
    names = _names_of_all(rows.classes, np.concatenate([y for _, y in rows.parts]), model)
    column = np.array([names.index(name) if name in names else -1 for name in rows.classes])
    true, predicted, surprise = [], [], 0.0
    for X, y in rows.blocks():
        true.append(column[y])
        predicted.append(model.columns(X))
        known = np.flatnonzero(true[-1] < len(model.names))
        surprise -= float(model.classifier.predict_log_proba(X)[known, true[-1][known]].sum(dtype=np.float64))
    measured = confusion(np.concatenate(true), np.concatenate(predicted), names)
    unseen = int(measured.counts[len(model.names) :].sum())
    numbers = {
        "source": arguments.source,
        "split": arguments.split,
        "rows": measured.rows,
        "accuracy": measured.accuracy,
        "log_loss": surprise / (measured.rows - unseen),
        "rows_of_unseen_classes": unseen,
        "recall": dict(zip(names, measured.recall.tolist(), strict=True)),
        "precision": dict(zip(names, measured.precision.tolist(), strict=True)),
        "worst_pairs": [asdict(pair) for pair in measured.worst(10)],
    }
    print(console.as_json(numbers) if arguments.json else _table(numbers, measured))
    sys.stdout.flush()
    if unseen:
        console.say(f"warning: {console.unseen(unseen, 'rows')}")


def read_model(place: str) -> Model:
    """The model in a file, or in the folder of a fit; raises SoftgradError when there is none or it is damaged."""
    import softgrad

    path = Path(place)
    if path.is_dir():
        path = path / FILE
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
        arguments.label = _label(arguments, notes)
    # all rows in the order of the file: nothing is held out, so nothing has to be put back into its place
    arguments.test_size = 0.0 if arguments.split == "all" else notes.get("test_size", 0.2)
    arguments.seed = notes.get("seed", 0)
    dataset = read(arguments, least_classes=1)
    take = _arranged(model, arguments.source, dataset.X, dataset.feature_names)
    if dataset.unit != notes.get("unit", dataset.unit):
        console.say(f"warning: the model was fitted on features up to {notes['unit']:g}, these go up to {dataset.unit:g}")
    train, test = (dataset.X, dataset.y), (dataset.X_test, dataset.y_test)
    parts = {"train": [train], "test": [test], "all": [train, test]}[arguments.split]
    parts = [(take(X), y) for X, y in parts if len(y)]
    if not parts:
        raise SoftgradError(f"SOURCE: rows are needed, the {arguments.split} part of {arguments.source} has none: use --split all")
    return Rows(parts, dataset.classes)


def _unlabelled(arguments: Arguments, model: Model) -> Rows:
    """Rows that come without labels: y is 0."""
    from softgrad.data import unlabelled

    X = unlabelled(arguments.source, arguments.memory_limit)
    take = _arranged(model, arguments.source, X, columns.header(arguments.source))
    return Rows([(take(X), np.zeros(X.shape[0], np.int64))])


def _arranged(model: Model, source: str, X: Any, names: tuple[str, ...] | None) -> Callable[[Any], Any]:
    """How rows of X become those of the model: by the names of columns where both have them; raises SoftgradError where they do not fit."""
    order = columns.order(source, names, model.notes.get("feature_names"))
    if order is not None and isinstance(X, AbstractRowSource):
        raise SoftgradError(f"SOURCE: rows on disk must have their columns in the order of the fit, {source} has another: sort them")
    if X.shape[1] != model.classifier.n_features_in_:
        raise SoftgradError(
            f"SOURCE: the model needs {model.classifier.n_features_in_} features, {source} has {X.shape[1]}: "
            f"give data of the kind it was fitted on{' (' + str(model.notes['source']) + ')' if 'source' in model.notes else ''}"
        )
    return lambda X: X if order is None else np.ascontiguousarray(X[:, order])


def _label(arguments: Arguments, notes: dict[str, Any]) -> str | int | None:
    """The label column of the fit, for tables only: no other source takes one."""
    name, on_disk = notes.get("label_name"), arguments.memory_limit is not None
    if not arguments.source.lower().endswith(".parquet" if on_disk else columns.TABLES):
        return None
    return name if name is not None and (on_disk or name in (columns.header(arguments.source) or ())) else notes.get("label")


def _names_of_all(classes: tuple[str, ...], y: np.ndarray, model: Model) -> tuple[str, ...]:
    """The model's classes, then those of these rows that only the test rows of the fit had; raises SoftgradError for any other."""
    beside = [classes[k] for k in np.unique(y) if classes[k] not in model.names]
    strange = [name for name in beside if name not in model.notes.get("class_names", ())]
    if strange:
        raise SoftgradError(
            f"SOURCE: classes must be known to the model, got {columns.few(strange)}, it knows {columns.few(model.names)}: "
            "fit with these classes, or rename them"
        )
    return (*model.names, *beside)


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
