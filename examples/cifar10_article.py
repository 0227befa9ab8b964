"""The classifier of "Softmax in three minutes", section 5, from start to end: CIFAR-10's raw pixels, plain stochastic gradient descent.

Three learning rates and eight strengths of the penalty, 3000 steps of 200 rows each, ranked by 1000 rows held out; the best one judged on
the test rows, and its weights as pictures. The article reports a test accuracy of 0.386. All 24 run in one stream of mini-batches:

    f(W, b) = 1/N sum_i L(W x_i + b, y_i) + reg/2 |W|^2,     W <- W - rate df/dW on 200 rows

Pixels stay bytes; their mean is taken out inside. The article's bias is a weight like any other, here it carries no penalty.

    python examples/cifar10_article.py cifar-10-batches-bin
"""

from __future__ import annotations

import argparse
import sys
from itertools import product
from pathlib import Path

import numpy as np

import softgrad
from softgrad.atomic import replacing
from softgrad.report.pictures import weight_templates
from softgrad.solvers import SGD, Constant
from softgrad.stochastic import grid

RATES = (1.4e-7, 1.5e-7, 1.6e-7)
REGS = (8e3, 9e3, 10e3, 11e3, 18e3, 19e3, 20e3, 21e3)
WHERE = "CIFAR-10 is needed: unpack the binary or the Python version from https://www.cs.toronto.edu/~kriz/cifar.html and name its folder"


def main() -> int:
    """Run the grid and tell of it."""
    parser = argparse.ArgumentParser(description="The article's grid on CIFAR-10.")
    parser.add_argument("folder", nargs="?", help="folder with CIFAR-10's batches")
    parser.add_argument("--iterations", type=int, default=3000, help="steps of each training")
    parser.add_argument("--seed", type=int, default=0, help="seed of the mini-batches")
    parser.add_argument("--out", type=Path, default=Path("templates.png"), help="picture of the weights")
    arguments = parser.parse_args()
    if arguments.folder is None:
        print(WHERE, file=sys.stderr)
        return 2

    data = softgrad.data.load(arguments.folder)
    n = len(data.y) - len(data.y) // 50  # 49000 rows to train on, the last 1000 to rank by
    solver = SGD(batch_size=200, iterations=arguments.iterations, momentum=0.0, schedule=Constant())
    X, y, X_val, y_val = data.X[:n], data.y[:n], data.X[n:], data.y[n:]
    trials = grid(X, y, learning_rates=RATES, regs=REGS, solver=solver, X_val=X_val, y_val=y_val, seed=arguments.seed)
    ordered = {(trial.learning_rate, trial.reg): trial for trial in trials}
    for rate, reg in product(RATES, REGS):
        trial = ordered[rate, reg]
        print(f"lr {rate:.2e} reg {reg:.2e} train accuracy: {trial.train_accuracy:.4f} val accuracy: {trial.validation_accuracy:.4f}")

    best = trials[0]
    scores = data.X_test @ best.fit.coef.T + best.fit.intercept
    accuracy = np.mean(best.classes[scores.argmax(axis=1)] == data.y_test)
    print(f"best: lr {best.learning_rate:.2e} reg {best.reg:.2e} val accuracy: {best.validation_accuracy:.4f}")
    print(f"test accuracy: {accuracy:.4f}")
    names = [data.classes[number] for number in best.classes]
    with replacing(arguments.out) as file:
        file.write(weight_templates(best.fit.coef, names, data.image, title="Weights of each class"))
    print(f"wrote {arguments.out}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
