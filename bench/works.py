"""The one table of all works: name, what it is, and the room that does it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from bench import disk, family, fit, head, path, scores, sgd, start
from bench.row import Row


@dataclass(frozen=True)
class Work:
    """run(small) yields lines of the table."""

    name: str
    about: str
    run: Callable[[bool], Iterator[Row]]


WORKS = (
    Work("start", "import time; softgrad fit digits end to end", start.run),
    Work("head", "loss + gradient 50000 x 3072 x 10: scikit-learn, torch, bytes, physical limits", head.run),
    Work("head-classes", "loss + gradient with 100 and 1000 classes: scikit-learn", head.run_classes),
    Work("head-batches", "loss + gradient of few rows: torch", head.run_batches),
    Work("scores", "cross-entropy + gradient on scores, new array and out=: torch", scores.run),
    Work("entmax", "entmax 1.5 + gradient on scores 20000 x 1000: the entmax package", scores.run_entmax),
    Work("family", "smoothed, class-weighted, focal and margin losses + gradient on scores: our plain cross-entropy, torch", family.run),
    *(
        Work(name, f"time of a fit of {case.problem} to a relative gap of {case.gap:g}: scikit-learn", fit.runner(case))
        for name, case in fit.CASES.items()
    ),
    Work("path-cifar10", "8 strengths of CIFAR-10 to a gap of 1e-4: scikit-learn fits one by one", path.run_path),
    *(Work(f"cv-{name}", f"{case.work}: LogisticRegressionCV", path.searches(name)) for name, case in path.SEARCHES.items()),
    Work("cv-fashion-mnist", "search fashion_mnist, 11 C x 5 folds: 55 scikit-learn fits", path.run_fashion),
    Work("checkpoint", "a path of CIFAR-10 with checkpoints: without", path.run_checkpoint),
    Work("sgd-grid", "24 stochastic trainings of CIFAR-10 side by side: one after another in NumPy", sgd.run),
    Work("fit-memory", "peak memory of a CIFAR-10 fit from bytes: scikit-learn", fit.run_memory),
    Work("disk", "a pass over 8 GB of float16 rows on disk within 1 GiB: reading the file once, the pass in memory", disk.run),
)
