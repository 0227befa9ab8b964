"""`softgrad fit`: data set -> classifier -> numbers -> files -> table.

Scaling never touches X. With features x / s, weights w and penalty |w|^2 / (2 C), the weights on the raw features are v
= w / s, so the same problem is a fit on x with C / s^2. The gradient with respect to v is s times that with respect to
w, so tol is multiplied by s.
"""

from __future__ import annotations

import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

from softgrad.cli import console
from softgrad.cli.notes import description, facts, outcome
from softgrad.cli.parser import Arguments
from softgrad.cli.read import read
from softgrad.cli.results import Results, default_folder, expect_writable
from softgrad.saved_models import FILE


def fit(arguments: Arguments) -> None:
    """Run the verb."""
    if arguments.out:
        expect_writable(Path(arguments.out))  # before the data are read, which may take long
    dataset = read(arguments)
    results = Results(Path(arguments.out or default_folder(dataset.name)))
    scale = dataset.unit if arguments.scale == "auto" else arguments.scale
    try:
        classifier = _fitted(arguments, dataset, scale)
    except BaseException:
        results.drop()
        raise
    metrics, measured, part = _measure(arguments, dataset, classifier, scale)
    results.begin()
    classifier.save(results.place(FILE), metadata=description(arguments, dataset, scale, arguments.C))
    results.numbers(classifier.loss_curve_, measured)
    results.finish(metrics)
    if not arguments.no_pictures:
        results.pictures(dataset, classifier, classifier.loss_curve_, measured, part, scale)
    print(console.as_json(metrics) if arguments.json else _table(metrics, measured))
    sys.stdout.flush()
    if not arguments.quiet:
        console.say(f"wrote {', '.join(results.written)} to {results.folder}")


def _fitted(arguments: Arguments, dataset: Any, scale: float) -> Any:
    import softgrad
    from softgrad.losses import cross_entropy
    from softgrad.progress import Bar

    plain = arguments.label_smoothing == 0 and arguments.temperature == 1
    loss = None if plain else cross_entropy(label_smoothing=arguments.label_smoothing, temperature=arguments.temperature)
    bar = Bar(arguments.tol * scale)
    classifier = softgrad.SoftmaxClassifier(
        C=arguments.C / scale**2,
        fit_intercept=not arguments.no_intercept,
        class_weight=arguments.class_weight,
        loss=loss,
        tol=arguments.tol * scale,
        max_iter=arguments.max_iter,
        random_state=arguments.seed,
        callback=bar if bar.alive and not arguments.quiet else None,
    )
    try:
        return classifier.fit(dataset.X, dataset.y)
    finally:
        bar.clear()


def _measure(arguments: Arguments, dataset: Any, classifier: Any, scale: float) -> tuple[dict[str, Any], Any, str]:
    """(metrics, confusion, "test" or "training"): the confusion is that of the test rows where there are any."""
    from softgrad.report.confusion import confusion

    on_train = confusion(dataset.y, classifier.predict(dataset.X), dataset.classes)
    has_test = len(dataset.y_test) > 0
    measured = confusion(dataset.y_test, classifier.predict(dataset.X_test), dataset.classes) if has_test else on_train
    metrics = {
        **facts(arguments, dataset, scale),
        "C": arguments.C,
        **outcome(classifier.result_, scale),
        "train_accuracy": on_train.accuracy,
        "test_accuracy": measured.accuracy if has_test else None,
        "recall": dict(zip(measured.classes, measured.recall.tolist(), strict=True)),
        "worst_pairs": [asdict(pair) for pair in measured.worst(10)],
        "loss_curve": [float(value) for value in classifier.loss_curve_],
    }
    return metrics, measured, "test" if has_test else "training"


def _table(metrics: dict[str, Any], measured: Any) -> str:
    on = f" on features / {metrics['scale']:g}" if metrics["scale"] != 1 else ""
    held_out = " (held out)" if metrics["test_rows"] and not metrics["own_test"] else ""
    rows = [
        ("rows", f"{metrics['rows']} + {metrics['test_rows']} test{held_out}"),
        ("features", metrics["features"]),
        *([("label", metrics["label"])] if metrics["label"] else []),
        ("classes", len(metrics["classes"])),
        ("C", f"{metrics['C']:g}{on}"),
        ("passes", metrics["passes"]),
        ("seconds", f"{metrics['seconds']:.2f}"),
        ("loss (objective)", f"{metrics['loss']:.6f}"),
        ("gradient norm", f"{metrics['gradient_norm']:.1e} (tol {metrics['tol']:.0e}{on})"),
        ("status", metrics["status"]),
        ("train accuracy", console.percent(metrics["train_accuracy"])),
        ("test accuracy", console.percent(metrics["test_accuracy"])),
    ]
    return console.table(rows) + console.pairs_table(measured.worst(5))
