"""Job titles to code levels: every row belongs to a major and to a minor group, which are asked as yes or no for each of them.

    python examples/multi_label.py onet_titles_tfidf.npz [--levels N] [--every K] [--peer N]

The file holds tf-idf rows as CSR arrays; the code of a class ("11-1011.03") begins with its groups: major 11, minor 11-1, broad 11-101,
occupation 11-1011. Labels are those of the N upper levels, one of each level in every row. Compared on the test rows: binary cross-entropy,
which asks every label by itself; the asymmetric loss, in which absences that are easy count little; ZLPR, in which labels compete. Micro F1
counts all labels alike, macro F1 is the mean over labels, "all right" the share of rows without a mistake, "in the tree" the share of rows
with a minor group only under its major group. Each fit ends when its next step promises less than 1e-5 of its value.

--every K trains on every K-th row only (default 4; 1 takes minutes). --peer N fits N of the labels by scikit-learn's LogisticRegression,
one against the rest: the same optimum as binary cross-entropy's.
"""

import argparse
import time

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import f1_score

import softgrad
from softgrad import losses
from softgrad.solvers.lbfgs import LBFGS

LEVELS = (2, 4, 6, 7)  # lengths of the codes of major, minor and broad group, occupation


def read(path, levels):
    """(X, Y) of the training and of the test rows, and the labels: codes of the upper levels."""
    found = softgrad.data.load(path)
    codes = np.array(found.classes)
    labels = [code for k in LEVELS[:levels] for code in np.unique(codes.astype(f"U{k}")).tolist()]
    of_class = np.array([[code.startswith(label) for label in labels] for code in codes], np.int8)
    return (found.X, of_class[found.y]), (found.X_test, of_class[found.y_test]), labels


def in_the_tree(Y, labels):
    """Share of rows whose labels have the labels above them."""
    shorter = dict(zip(LEVELS, LEVELS[:1] + LEVELS, strict=False))
    above = [labels.index(label[: shorter[len(label)]]) for label in labels]
    return np.mean((Y[:, above] >= Y).all(axis=1))


def show(name, Y, found, model, labels, seconds):
    """A row of the table."""
    f1 = [f1_score(Y, found, average=average, zero_division=0) for average in ("micro", "macro")]
    shares = np.mean((found == Y).all(axis=1)), in_the_tree(found, labels)
    result = model.result_
    numbers = "".join(f"{x:13.4f}" for x in (*f1, *shares))
    print(f"{name:22}{numbers}{result.value:11.5f}{result.passes:8}{seconds:9.1f}", flush=True)


def compare(X, Y, X_test, model, labels):
    """Predictions of labels by themselves, one logistic regression for each."""
    begin, ours = time.perf_counter(), model.predict_proba(X_test)
    theirs = [LogisticRegression(tol=1e-6, max_iter=1000).fit(X, Y[:, j]).predict_proba(X_test)[:, 1] for j in labels]
    apart = np.abs(np.stack(theirs, axis=1) - ours[:, labels])
    same = np.mean((np.stack(theirs, axis=1) > 0.5) == (ours[:, labels] > 0.5))
    took = f"LogisticRegression of {len(labels)} labels in {time.perf_counter() - begin:.1f} s"
    print(f"{took}: {same:.3%} of predictions the same, probabilities within {apart.max():.1e}")


def main():
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file")
    parser.add_argument("--levels", type=int, choices=range(1, 5), default=2, help="upper levels of the code (default: 2)")
    parser.add_argument("--every", type=int, metavar="K", default=4, help="train on every K-th row (default: 4)")
    parser.add_argument("--peer", type=int, metavar="N", default=0, help="labels that scikit-learn fits as well")
    arguments = parser.parse_args()
    (X, Y), (X_test, Y_test), labels = read(arguments.file, arguments.levels)
    X, Y = X[:: arguments.every], Y[:: arguments.every]
    print(f"{len(Y)} + {len(Y_test)} rows, {len(labels)} labels of {Y.sum(axis=0).min()} to {Y.sum(axis=0, dtype=int).max()} rows")
    print(f"{'':22}{'micro F1':>13}{'macro F1':>13}{'all right':>13}{'in the tree':>13}{'loss':>11}{'passes':>8}{'seconds':>9}")
    made = {"binary cross-entropy": losses.binary_cross_entropy(), "asymmetric": losses.asymmetric(), "ZLPR": losses.zlpr()}
    models = {}
    for name, loss in made.items():
        begin = time.perf_counter()
        models[name] = softgrad.MultiLabelClassifier(loss=loss, solver=LBFGS(tol=1e-2, gap=1e-5, max_iter=300)).fit(X, Y)
        show(name, Y_test, models[name].predict(X_test), models[name], labels, time.perf_counter() - begin)
    if arguments.peer:
        picked = np.linspace(0, len(labels) - 1, arguments.peer).round().astype(int)
        compare(X, Y, X_test, models["binary cross-entropy"], picked)


if __name__ == "__main__":
    main()
