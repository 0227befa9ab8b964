"""Whole searches for the strength of the penalty: paths, folds, checkpoints, against scikit-learn's fits and LogisticRegressionCV."""

from __future__ import annotations

import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.datasets import load_digits
from sklearn.exceptions import ConvergenceWarning

import softgrad
from bench import gap
from bench.problems import Problem, load
from bench.row import Measure, Row, duration, faster
from bench.timing import REST, two_threads

OURS, PEER = "softgrad", "scikit-learn"
REPEAT = 3


def timed(call: Callable[[], Any], repeat: int = 1) -> tuple[tuple[float, ...], Any]:
    """Seconds of each call, and the last result."""
    seconds, result = [], None
    for _ in range(repeat):
        time.sleep(REST)
        with two_threads(), warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            begin = time.perf_counter()
            result = call()
            seconds.append(time.perf_counter() - begin)
    return tuple(seconds), result


def whole(X: Any) -> list[tuple[np.ndarray, np.ndarray]]:
    """One 'fold' that trains on all rows: the bare path."""
    rows = np.arange(X.shape[0])
    return [(rows, rows)]


def bare_path(problem: Problem, Cs: np.ndarray, tol: float, **options: Any) -> softgrad.SoftmaxClassifierCV:
    """All strengths on all rows."""
    return softgrad.SoftmaxClassifierCV(Cs, cv=whole(problem.X), refit=False, tol=tol, **options).fit(problem.X, problem.y)


def objectives(problem: Problem, model: softgrad.SoftmaxClassifierCV) -> np.ndarray:
    """f in float64 of each strength, by the judge of all fits."""
    path = zip(model.Cs_, model.coefs_paths_[0], strict=True)
    return np.array([gap.value(replace(problem, C=float(C)), theta[:, :-1], theta[:, -1]) for C, theta in path])


def run_path(small: bool) -> Iterator[Row]:
    """CIFAR-10, 8 strengths, no folds, each to a gap of 1e-4: eight fits of scikit-learn to the same gap, of which two are timed."""
    problem, Cs, asked = load("cifar10", small), np.geomspace(2e-5, 2, 8), 1e-4
    _, best = timed(lambda: bare_path(problem, Cs, 1e-6, max_iter=5000))
    lowest = objectives(problem, best)
    seconds, model = timed(lambda: bare_path(problem, Cs, 1e-4), REPEAT)
    gaps = objectives(problem, model) / lowest - 1
    if gaps.max() > asked:
        raise AssertionError(f"a fit of the path did not reach the gap {asked:g}: {gaps}")
    watched = [gap.sklearn_iterations(replace(problem, C=float(Cs[k])), problem.X, lowest[k] * (1 + asked)) for k in (2, 5)]
    peer = 8 * float(np.mean([seen.seconds for seen in watched]))
    told = [
        f"{seen.iterations} iterations, {duration(seen.seconds)}{'' if seen.reached else ', ended by itself above the gap'}"
        for seen in watched
    ]
    fits = f"scikit-learn's fits of C = {Cs[2]:.2g} and {Cs[5]:.2g}: {', '.join(told)}"
    note = f"aim 80 x; {model.passes_} passes; largest gap {gaps.max():.1e}; {fits}"
    yield faster("path cifar10, 8 C from 2e-5 to 2, each to a gap of 1e-4", Measure(OURS, seconds), Measure(PEER, (peer,)), 40, note)


@dataclass(frozen=True)
class Search:
    """A cross-validated search and what the peer is given; bar and note for the table."""

    work: str
    Cs: Any
    peer: dict[str, Any]
    bar: float
    note: str = ""


SEARCHES = {
    "cifar10": Search(
        "search cifar10, first 10000 rows, 8 C from 1e-5 to 1 x 5 folds",
        np.geomspace(1e-5, 1, 8),
        {"max_iter": 1000, "tol": 1e-5},
        40,
        "aim 80 x",
    ),
    "digits": Search("search digits, 10 C x 5 folds, default arguments", 10, {"max_iter": 1000}, 5),
    "banking77": Search("search banking77, sparse tf-idf, 10 C x 5 folds", 10, {"max_iter": 1000}, 4),
}


def _rows(name: str, small: bool) -> tuple[Any, np.ndarray]:
    if name == "digits":
        X, y = load_digits(return_X_y=True)
        return np.asarray(X), np.asarray(y)
    problem = load(name, small)
    return problem.X[:10000], problem.y[:10000]


def searches(name: str) -> Callable[[bool], Iterator[Row]]:
    """The work of a search against LogisticRegressionCV on the same folds."""
    return lambda small: _search(name, small)


def _search(name: str, small: bool) -> Iterator[Row]:
    from sklearn.linear_model import LogisticRegressionCV

    case, (X, y) = SEARCHES[name], _rows(name, small)
    options = {"Cs": case.Cs, "cv": 5, "scoring": "neg_log_loss"}
    seconds, ours = timed(lambda: softgrad.SoftmaxClassifierCV(**options).fit(X, y), REPEAT)
    more = {"l1_ratios": (0,), "use_legacy_attributes": False}
    theirs_seconds, theirs = timed(lambda: LogisticRegressionCV(**options, **case.peer, **more).fit(X, y))
    scores = ours.scores_.mean(axis=0), theirs.scores_[:, 0].mean(axis=0)
    note = (
        f"{case.note}; C chosen {ours.C_:.4g} and {theirs.C_:.4g}; best mean log loss {-scores[0].max():.5f} and {-scores[1].max():.5f}; "
        f"{ours.passes_} shared passes; scikit-learn with {case.peer}, timed once"
    )
    row = faster(case.work, Measure(OURS, seconds), Measure("LogisticRegressionCV", theirs_seconds), case.bar, note.removeprefix("; "))
    row.facts.update({"C": [ours.C_, float(theirs.C_)], "scores": [part.tolist() for part in scores]})
    yield row


def run_fashion(small: bool) -> Iterator[Row]:
    """Fashion-MNIST, 11 strengths x 5 folds: 55 times one fit of scikit-learn (C = 1/6, to a gap of 1e-4)."""
    problem = load("fashion_mnist", small)
    seconds, model = timed(lambda: softgrad.SoftmaxClassifierCV(np.geomspace(1e-4, 1e2, 11)).fit(problem.X, problem.y))
    best = gap.best("fashion_mnist", small, 1e-6, False).value
    one = gap.sklearn_iterations(problem, problem.X, best * (1 + 1e-4))
    peer = f"one fit of scikit-learn: {one.iterations} iterations, {duration(one.seconds)}"
    note = f"C chosen {model.C_:.3g}; {model.passes_} shared passes; {peer}"
    work = "search fashion_mnist, 11 C from 1e-4 to 1e2 x 5 folds"
    yield faster(work, Measure(OURS, seconds), Measure("55 scikit-learn fits", (55 * one.seconds,)), 15, note)


def run_checkpoint(small: bool) -> Iterator[Row]:
    """One path with checkpoints against without, in turn."""
    problem, Cs = load("cifar10", small), np.geomspace(2e-5, 2, 8)
    sides: dict[str, list[float]] = {"with": [], "without": []}
    with tempfile.TemporaryDirectory(prefix="softgrad-bench-") as folder:
        for _ in range(REPEAT):
            sides["without"] += timed(lambda: bare_path(problem, Cs, 1e-4))[0]
            sides["with"] += timed(lambda: bare_path(problem, Cs, 1e-4, checkpoint=Path(folder) / "state"))[0]
    m = {name: Measure(f"{name} checkpoints", tuple(seconds)) for name, seconds in sides.items()}
    slower = m["with"].median / m["without"].median - 1
    note = f"{100 * slower:+.1f} % by medians"
    cells = m["with"].cell(), m["without"].cell()
    yield Row("path cifar10 with checkpoints", *cells, 1 + slower, "at most 3 % slower", slower <= 0.03, note)
