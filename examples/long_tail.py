"""Job titles to occupations: 1,016 classes of 1 to 2,200 rows, and what helps the rare ones.

    python examples/long_tail.py onet_titles_tfidf.npz [--groups N | --all]

The file holds tf-idf rows as CSR arrays, the codes of the classes lie beside ("11-1011.03": major group 11). Compared on the test rows:

- a plain softmax, which is right most often and hardly ever predicts a rare class;
- the same model adjusted after training: scores less the log of the classes' shares, no fit at all;
- logit adjustment in training (so is `balanced_softmax`). Intercepts are not penalised, so that a linear classifier's optimum is the plain
  one with moved intercepts: the fit starts there, and is over at once. That the two rows agree is a check of both;
- rows weighed by the inverse of their class's size, which does change the coefficients.

Macro recall is the mean over classes, "rare" the mean over those with fewer than 20 training rows; of the classes in the test rows. Each
fit ends when its next step promises less than 1e-5 of its value. The two largest major groups (171 classes) unless told otherwise.
"""

import time

import numpy as np
from occupations import asked, read
from sklearn.metrics import recall_score

import softgrad
from softgrad import losses
from softgrad.solvers.lbfgs import LBFGS

RARE = 20


def models(X, y, counts):
    """Name, model and what it adds to the scores, for each row of the table."""
    prior, solver = np.log(counts / counts.sum()), LBFGS(tol=1e-2, gap=1e-5, max_iter=300)
    model = softgrad.SoftmaxClassifier(solver=solver, warm_start=True).fit(X, y)
    yield "softmax", model, 0.0
    yield "  adjusted after training", model, -prior
    model.intercept_ = model.intercept_ - prior
    yield "logit adjusted", model.set_params(loss=losses.logit_adjusted(counts.tolist())).fit(X, y), 0.0
    yield "balanced class weights", softgrad.SoftmaxClassifier(class_weight="balanced", solver=solver).fit(X, y), 0.0


def main():
    """Print the table."""
    arguments = asked(__doc__, "minutes, and 3 GB").parse_args()
    (X, y), (X_test, y_test) = read(arguments.file, arguments.groups)
    classes, counts = np.unique(y, return_counts=True)
    rare = np.intersect1d(classes[counts < RARE], y_test)
    print(f"{len(y)} + {len(y_test)} rows, {len(classes)} classes of {counts.min()} to {counts.max()} rows, {(counts < RARE).sum()} rare")
    print(f"{'':26}{'accuracy':>9}{'macro recall':>14}{'rare':>8}{'loss':>9}{'passes':>8}{'seconds':>9}")
    begin = time.perf_counter()
    for name, model, added in models(X, y, counts):
        found, seconds = classes[(model.decision_function(X_test) + added).argmax(axis=1)], time.perf_counter() - begin
        macro, of_rare = (
            recall_score(y_test, found, labels=labels, average="macro", zero_division=0) for labels in (np.unique(y_test), rare)
        )
        measured = f"{np.mean(found == y_test):9.4f}{macro:14.4f}{of_rare:8.4f}{model.result_.value:9.5f}{model.result_.passes:8}"
        print(f"{name:26}{measured}{seconds:9.1f}", flush=True)
        begin = time.perf_counter()


if __name__ == "__main__":
    main()
