"""The article's grid, learning rates x penalties, trained side by side, against the same trainings one after another in NumPy."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from bench.problems import load
from bench.row import Measure, Row, faster
from bench.timing import Side, alternate
from softgrad.solvers import SGD, Constant
from softgrad.stochastic import Trial, grid

RATES = (1.4e-7, 1.5e-7, 1.6e-7)
REGS = (8e3, 9e3, 10e3, 11e3, 18e3, 19e3, 20e3, 21e3)
BATCH, ITERATIONS, KEPT = 200, 3000, 1000  # rows of a mini-batch, steps, rows that rank the grid
TIMED = 5  # runs of one of the 24 in NumPy: all take the same time
BAR = 4.0


def article(X: np.ndarray, y: np.ndarray, rate: float, reg: float, iterations: int) -> np.ndarray:
    """W (D, C) after the article's training: mini-batches drawn at random, its vectorised loss, all in float32."""
    rng, here = np.random.default_rng(0), np.arange(BATCH)
    W, losses = np.zeros((X.shape[1], int(y.max()) + 1), np.float32), []
    for _ in range(iterations):
        picked = rng.choice(len(X), BATCH)
        rows, labels = X[picked], y[picked]
        z = rows @ W
        z -= z.max(axis=1, keepdims=True)
        P = np.exp(z)
        P /= P.sum(axis=1, keepdims=True)
        losses.append(-np.log(P[here, labels]).mean() + 0.5 * reg * np.sum(W * W))
        P[here, labels] -= 1
        W -= rate * (rows.T @ P / BATCH + reg * W)
    return W


def run(small: bool) -> Iterator[Row]:
    """24 trainings of CIFAR-10 pixels."""
    iterations = 30 if small else ITERATIONS
    problem = load("cifar10", small, raw=True)
    centred = problem.X.astype(np.float32)
    centred -= centred[:-KEPT].mean(axis=0)
    X, y = np.hstack([centred, np.ones((len(centred), 1), np.float32)]), problem.y.astype(np.int64)
    train, seen, rest, labels = X[:-KEPT], y[:-KEPT], X[-KEPT:], y[-KEPT:]
    solver = SGD(batch_size=BATCH, iterations=iterations, momentum=0, schedule=Constant())

    def ours() -> list[Trial]:
        return grid(train, seen, learning_rates=RATES, regs=REGS, solver=solver, X_val=rest, y_val=labels, fit_intercept=False)

    found: dict[str, list] = {"softgrad": [], "NumPy": []}
    middle = RATES[1], REGS[0]
    sides = {"softgrad": Side(ours), "NumPy": Side(lambda: article(train, seen, *middle, iterations))}
    times = alternate(sides, {"softgrad": 3, "NumPy": TIMED}, lambda name, result: found[name].append(result), warm=False)
    trials, points = found["softgrad"][0], len(RATES) * len(REGS)
    accuracy = float(np.mean((rest @ found["NumPy"][0]).argmax(axis=1) == labels))
    [same] = [trial for trial in trials if (trial.learning_rate, trial.reg) == middle]
    if not small and abs(same.validation_accuracy - accuracy) > 0.04:
        raise AssertionError(f"validation accuracy {same.validation_accuracy:.3f}, in NumPy {accuracy:.3f}: not the same training")
    one_by_one = Measure("NumPy", tuple(points * seconds for seconds in times["NumPy"]))
    work = f"SGD grid of {points}, cifar10 {train.shape[0]} x {train.shape[1]}, {iterations} iterations of {BATCH} rows"
    note = (
        f"NumPy: float32, the article's vectorised code, one training timed and its time taken {points} times; softgrad: with "
        f"exact objective and accuracies; best lr {trials[0].learning_rate:.2g} reg {trials[0].reg:.3g} validation accuracy "
        f"{trials[0].validation_accuracy:.3f}; lr {middle[0]:.2g} reg {middle[1]:.3g}: {same.validation_accuracy:.3f}, NumPy {accuracy:.3f}"
    )
    yield faster(work, Measure("softgrad", times["softgrad"]), one_by_one, BAR, note)
