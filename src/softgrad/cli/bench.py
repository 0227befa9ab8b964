"""`softgrad bench`: one loss and gradient of a 10-class head with 3073 inputs, three ways, on this machine.

The comparison of the well-known CIFAR-10 exercise: loops over rows and classes against matrix products. CIFAR-10 itself
is not shipped; time does not depend on what the pixels show, so random pixels of the same shape do: minus their mean,
with a column of ones.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from softgrad.cli import console
from softgrad.cli.machine import machine
from softgrad.cli.parser import Arguments

PIXELS, CLASSES, REG = 3072, 10, 5e-6
ARTICLE = {"naive": 14.68, "vectorized": 0.242, "loss": 2.362135}  # as published, on 5000 rows of CIFAR-10 and an unnamed machine

Pass = Callable[[], tuple[float, np.ndarray]]


def bench(arguments: Arguments) -> None:
    """Run the verb."""
    W, X, y = _problem(arguments.rows)
    measured = _measure(_ways(W, X, y), arguments.repeat)
    facts = {
        "data": f"random pixels (seed 0), {arguments.rows} x {PIXELS + 1} x {CLASSES}, not CIFAR-10",
        "repeat": arguments.repeat,
        "machine": machine(),
        "article": ARTICLE,
        "ways": measured,
    }
    print(console.as_json(facts) if arguments.json else _table(facts))


def _problem(rows: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """W (3073, 10), X (rows, 3073) float64, y (rows,), made like those of the exercise."""
    rng = np.random.default_rng(0)
    X = rng.integers(0, 256, (rows, PIXELS + 1)).astype(np.float64)
    X -= X.mean(axis=0)
    X[:, -1] = 1.0
    return 1e-4 * rng.standard_normal((PIXELS + 1, CLASSES)), X, rng.integers(0, CLASSES, rows)


def _ways(W: np.ndarray, X: np.ndarray, y: np.ndarray) -> dict[str, Pass]:
    import softgrad
    from softgrad.losses import cross_entropy

    reference, loss = softgrad.reference, cross_entropy()
    coef, X32 = np.ascontiguousarray(W.T), X.astype(np.float32)
    coef32 = coef.astype(np.float32)

    def fused(X: np.ndarray, coef: np.ndarray) -> tuple[float, np.ndarray]:
        value, grad_coef, _ = softgrad.linear_value_and_grad(X, y, coef, loss=loss, l2=REG)
        return float(value), grad_coef.T

    return {
        "naive": lambda: reference.softmax_loss_naive(W, X, y, REG),
        "vectorized": lambda: reference.softmax_loss_vectorized(W, X, y, REG),
        "fused": lambda: fused(X, coef),
        "fused float32": lambda: fused(X32, coef32),
    }


def _measure(ways: dict[str, Pass], repeat: int) -> list[dict[str, Any]]:
    """Median seconds, loss, and gradient difference to the first way, for each way."""
    lines: list[dict[str, Any]] = []
    truth = None
    for name, one_pass in ways.items():
        if truth is None:
            seconds, value, truth = _timed(one_pass)  # the loops: too slow to be run twice
            gradient = truth
        else:
            one_pass()  # warm: threads started, caches and pages in place
            seconds, value, gradient = _median([_timed(one_pass) for _ in range(repeat)])
        difference = float(np.linalg.norm(gradient - truth) / np.linalg.norm(truth))
        lines.append({"way": name, "seconds": seconds, "loss": float(value), "gradient_difference": difference})
    for line in lines:
        line["times_faster"] = lines[0]["seconds"] / line["seconds"]
    return lines


def _timed(one_pass: Pass) -> tuple[float, float, np.ndarray]:
    begin = time.perf_counter()
    value, gradient = one_pass()
    return time.perf_counter() - begin, value, gradient


def _median(runs: list[tuple[float, float, np.ndarray]]) -> tuple[float, float, np.ndarray]:
    return (statistics.median(run[0] for run in runs), *runs[-1][1:])


def _table(facts: dict[str, Any]) -> str:
    here = facts["machine"]
    head = console.table(
        [
            ("data", facts["data"]),
            ("machine", f"{here['processor']}, {here['threads']} threads"),
            ("numpy", f"{here['numpy']} with {here['blas']}"),
            ("kernels", here["kernels"]),
        ]
    )
    lines = [
        (line["way"], f"{line['seconds']:.4f}", f"{line['times_faster']:.1f}", f"{line['loss']:.6f}", f"{line['gradient_difference']:.1e}")
        for line in facts["ways"]
    ]
    told = (
        f"published for 5000 rows of CIFAR-10: loops {ARTICLE['naive']} s, matrices {ARTICLE['vectorized']} s, "
        f"ratio {ARTICLE['naive'] / ARTICLE['vectorized']:.0f}, loss {ARTICLE['loss']}"
    )
    return f"{head}\n\n{console.columns(('way', 'seconds', 'times faster', 'loss', 'gradient off by'), lines)}\n\n{told}"
