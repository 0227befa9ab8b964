"""Job titles to occupations, whose codes form a tree by their digits: how far in it are the mistakes?

    python examples/hierarchy.py onet_titles_tfidf.npz [--groups N | --all] [--alpha A]

The file holds tf-idf rows as CSR arrays; the code of a class ("11-1011.03") is its path: major group 11, minor 11-1, broad 11-101,
occupation 11-1011, then the whole. Compared on the test rows: a flat softmax, which knows no tree; hierarchical softmax, with a softmax at
every node, fitted node by node; hierarchical cross-entropy (HXE), one softmax whose sums over groups count too, from the flat one's
optimum on. Told are the shares of rows that are right down to each level, the mean distance in the tree (edges from the label to the
prediction, 0 where it is right) and that of the mistakes alone. Each fit ends when its next step promises less than 1e-5 of its value; the
largest entry of its gradient stands beside. The two largest major groups (171 classes) unless told otherwise.
"""

import time

import numpy as np
from occupations import asked, read

import softgrad
from softgrad.solvers.lbfgs import LBFGS

LEVELS = (2, 4, 6, 7)  # lengths of the codes of major, minor and broad group, occupation; then the whole code
SOLVER = LBFGS(tol=1e-2, gap=1e-5, max_iter=300)


def models(X, y, alpha):
    """Name and fitted classifier of each row of the table, and the seconds that the fit took."""
    flat = softgrad.SoftmaxClassifier(solver=SOLVER)
    yield "softmax", flat, timed(flat, X, y)
    model = softgrad.HierarchicalClassifier(levels=LEVELS, solver=SOLVER)
    yield "hierarchical", model, timed(model, X, y)
    hxe = softgrad.HierarchicalClassifier(levels=LEVELS, loss="hxe", alpha=alpha, solver=SOLVER, warm_start=True)
    hxe.nodes_, hxe.coef_, hxe.intercept_ = model.nodes_, flat.coef_, flat.intercept_
    yield f"hxe {alpha:g}", hxe, timed(hxe, X, y)


def timed(model, X, y):
    """Seconds of a fit."""
    begin = time.perf_counter()
    model.fit(X, y)
    return time.perf_counter() - begin


def main():
    """Print the table."""
    parser = asked(__doc__, "many minutes")
    parser.add_argument("--alpha", type=float, default=0.1, help="of HXE (default: 0.1)")
    arguments = parser.parse_args()
    (X, y), (X_test, y_test) = read(arguments.file, arguments.groups)
    tree = softgrad.losses.Tree.of_paths([[*(code[:k] for k in LEVELS), code] for code in np.unique(y)])
    print(f"{len(y)} + {len(y_test)} rows, {len(np.unique(y))} classes under {len(tree.parents)} nodes")
    levels = "".join(f"{name:>11}" for name in ("major", "minor", "broad", "occupation", "whole"))
    print(f"{'':13}{levels}{'distance':>10}{'of mistakes':>13}{'gradient':>10}{'passes':>8}{'seconds':>9}")
    for name, model, seconds in models(X, y, arguments.alpha):
        found = model.predict(X_test)
        right = [np.mean(found.astype(f"U{k}") == y_test.astype(f"U{k}")) for k in (*LEVELS, 10)]
        apart = tree.distance(np.searchsorted(model.classes_, y_test), np.searchsorted(model.classes_, found))
        shares = "".join(f"{share:11.4f}" for share in right)
        distances = f"{apart.mean():10.3f}{apart[apart > 0].mean():13.3f}"
        print(f"{name:13}{shares}{distances}{model.result_.gradient_norm:10.1e}{model.result_.passes:8}{seconds:9.1f}", flush=True)


if __name__ == "__main__":
    main()
