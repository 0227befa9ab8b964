"""Job titles to occupations: 1,016 classes, long-tailed, whose codes form a tree by their digits.

    python examples/long_tail.py onet_titles_tfidf.npz [--groups N]

The file holds tf-idf rows as CSR arrays, the codes of the classes lie beside ("11-1011.03": major group 11, occupation 11-1011).
Compared on the test rows: a plain softmax; logit adjustment, which trains with the log of the classes' shares added to the scores, so
that rare classes are not drowned; hierarchical softmax and hierarchical cross-entropy, whose mistakes should lie nearer in the tree.
--groups N takes the N largest major groups only, for a quick look.
"""

import argparse
import time

import numpy as np
from sklearn.metrics import accuracy_score, recall_score

import softgrad
from softgrad import losses

LEVELS = (2, 4, 6, 7)  # major, minor and broad group, occupation; then the whole code


def read(path, groups):
    """(X, codes) of the training and of the test rows, of the largest major groups."""
    found = softgrad.data.load(path)
    names = np.array(found.classes)
    codes, test_codes = names[found.y], names[found.y_test]
    majors, counts = np.unique([code[:2] for code in codes], return_counts=True)
    largest = majors[np.argsort(-counts)[: groups or len(majors)]]
    kept, known = (np.isin([code[:2] for code in part], largest) for part in (codes, test_codes))
    return (found.X[kept], codes[kept]), (found.X_test[known], test_codes[known])


def models(codes):
    """Name and classifier of each row of the table."""
    counts = np.unique(codes, return_counts=True)[1]
    options = {"tol": 1e-4, "max_iter": 100}
    yield "softmax", softgrad.SoftmaxClassifier(**options)
    yield "logit adjusted", softgrad.SoftmaxClassifier(loss=losses.logit_adjusted(counts.tolist()), **options)
    yield "hierarchical", softgrad.HierarchicalClassifier(levels=LEVELS, **options)
    yield "hxe 0.3", softgrad.HierarchicalClassifier(levels=LEVELS, loss="hxe", alpha=0.3, **options)


def main():
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file")
    parser.add_argument("--groups", type=int, metavar="N")
    arguments = parser.parse_args()
    (X, y), (X_test, y_test) = read(arguments.file, arguments.groups)
    tree = losses.Tree.of_paths([[code[:k] for k in (*LEVELS, len(code))] for code in np.unique(y)])
    classes, counts = np.unique(y, return_counts=True)
    print(f"{len(y)} + {len(y_test)} rows, {len(classes)} classes of {counts.min()} to {counts.max()} rows")
    print(f"{'':16}{'accuracy':>10}{'macro recall':>14}{'distance':>10}{'passes':>8}{'seconds':>9}")
    for name, model in models(y):
        begin = time.perf_counter()
        found = model.fit(X, y).predict(X_test)
        apart = tree.distance(np.searchsorted(classes, y_test), np.searchsorted(classes, found)).mean()
        recall = recall_score(y_test, found, average="macro", zero_division=0)
        seconds = time.perf_counter() - begin
        numbers = f"{accuracy_score(y_test, found):10.4f}{recall:14.4f}{apart:10.3f}{model.result_.passes:8}{seconds:9.1f}"
        print(f"{name:16}{numbers}", flush=True)


if __name__ == "__main__":
    main()
