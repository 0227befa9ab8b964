"""HierarchicalClassifier: labels that are the leaves of a tree, probabilities that sum up along it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.utils.validation import column_or_1d

from softgrad import arrays, siblings
from softgrad.losses import HXE, HierarchicalSoftmax, Tree, compose
from softgrad.losses.loss import Loss, log_probabilities
from softgrad.losses.tree import parents_of
from softgrad.solved_classifier import AbstractSolvedClassifier
from softgrad.solvers.lbfgs import LBFGS
from softgrad.solvers.sgd import SGD
from softgrad.solvers.solver import AbstractSolver, Callback, State
from softgrad.training import Fit, Problem, Start, Steps

CELLS = 1 << 20  # scores that a link works on at a time

Levels = str | Sequence[int] | Mapping[Any, Any]


class HierarchicalClassifier(AbstractSolvedClassifier):
    """Linear classifier over a tree of classes, which it is told of by the labels' names.

    minimises  1/S sum_i s_i L(W x_i + b, y_i) + 1/(2 C S) |W|^2,   s_i = sample weight x class weight, S = sum_i s_i

    loss="hierarchical softmax" has a row of W for every node and a softmax over the children of each (`losses.HierarchicalSoftmax`);
    loss="hxe" a row for every leaf and one softmax; every decision on the label's path counts by itself too, those next to the leaves most
    (`losses.HXE`). On 1,016 occupations hierarchical softmax makes fewer and nearer mistakes than one softmax; HXE does not.

    Parameters: C > 0, inverse strength of the penalty, inf for none; levels, how a label names its path from the top: the text between
    the names ("/": "animal/cat"), the lengths of prefixes of a code ((2, 4): "11-1" lies under "11"), or a dict of label: path;
    loss; alpha, of "hxe", at least 0; fit_intercept; class_weight None, "balanced" or a dict; solver, tol, max_iter, warm_start,
    random_state, verbose, callback as in `SoftmaxClassifier`.
    Attributes: tree_ (`losses.Tree`), nodes_ (path of every node but the root, a tuple of names), classes_ (labels, the leaves in order),
    coef_ (nodes or leaves, D), intercept_, n_iter_, n_features_in_, loss_curve_, result_.
    X as `SoftmaxClassifier` takes it. Labels without a separator lie side by side, an ordinary softmax. Raises SoftgradError for bad
    input, for a label that is also the path to others; warns ConvergenceWarning.
    Reference: Morin & Bengio 2005; Bertinetto et al. 2020, arXiv 1912.09393.

    >>> import softgrad
    >>> y = ["animal/cat", "animal/dog", "plant"]
    >>> model = softgrad.HierarchicalClassifier().fit([[4.0, 0.0], [4.0, 4.0], [0.0, 0.0]], y)
    >>> model.predict([[5.0, 0.0]]).tolist(), model.predict_path([[5.0, 2.0]], confidence=0.6)
    (['animal/cat'], [('animal',)])
    >>> dict(zip(model.nodes_, model.node_proba([[5.0, 1.0]])[0].round(2).tolist()))
    {('animal',): 0.97, ('animal', 'cat'): 0.71, ('animal', 'dog'): 0.26, ('plant',): 0.03}
    """

    tree_: Tree
    nodes_: list[tuple[Any, ...]]

    def __init__(
        self,
        C: float = 1.0,
        *,
        levels: Levels = "/",
        loss: str = "hierarchical softmax",
        alpha: float = 0.1,
        fit_intercept: bool = True,
        class_weight: Mapping[Any, float] | str | None = None,
        solver: AbstractSolver | SGD | str = "auto",
        tol: float = 1e-5,
        max_iter: int = 200,
        warm_start: bool = False,
        random_state: Any = None,
        verbose: int = 0,
        callback: Callable[[State], None] | None = None,
    ):
        self.C = C
        self.levels = levels
        self.loss = loss
        self.alpha = alpha
        self.fit_intercept = fit_intercept
        self.class_weight = class_weight
        self.solver = solver
        self.tol = tol
        self.max_iter = max_iter
        self.warm_start = warm_start
        self.random_state = random_state
        self.verbose = verbose
        self.callback = callback

    def fit(self, X: Any, y: ArrayLike, sample_weight: ArrayLike | None = None) -> Self:
        """Take the classifier to its optimum on X (N, D), labels y (N,), weights (N,) or None."""
        C, solver = self._checked()
        start, before = self._start, getattr(self, "nodes_", None)
        X, y = self._validated("fit", X, y, reset=True)
        classes, numbers = arrays.classes("fit(y)", y)
        r = self._row_weights("fit", sample_weight, classes, numbers)
        self._grow(classes)
        problem = self._problem(X, numbers, r, len(classes), 1 / (C * float(r.sum())))
        same = start is not None and self.nodes_ == before and start[0].shape == (problem.n_classes, X.shape[1])
        self._solve(problem, solver, start if same else None)
        self.classes_, self._steps = classes, Steps()
        return self

    def partial_fit(self, X: Any, y: ArrayLike, classes: ArrayLike | None = None, sample_weight: ArrayLike | None = None) -> Self:
        """One stochastic step on a batch; the first call must name all classes. The rate follows from a bound on the Hessian."""
        C, _ = self._checked()
        first = not hasattr(self, "classes_")
        X, y = self._validated("partial_fit", X, y, reset=first)
        if first:
            if classes is None:
                arrays.refuse("partial_fit(classes)", "must name all classes in the first call", "None", "pass classes=np.unique(labels)")
            names = np.unique(column_or_1d(classes))
            self._grow(names)
            self.classes_ = names
        numbers = self._numbers("partial_fit", y)
        r = self._row_weights("partial_fit", sample_weight, self.classes_, numbers)
        problem = self._problem(X, numbers, r, len(self.classes_), 1 / (C * (self._steps.seen + float(r.sum()))))
        self.coef_, self.intercept_ = self._step(problem, (self.coef_, self.intercept_) if hasattr(self, "coef_") else None)
        return self

    def _fitted(self, problem: Problem, solver: AbstractSolver, start: Start | None, callback: Callback | None) -> Fit:
        """A hierarchical softmax falls apart into its nodes' softmaxes where rows can be picked."""
        if isinstance(problem.loss.link, HierarchicalSoftmax) and isinstance(solver, LBFGS) and not problem.on_disk:
            return siblings.fit(problem, self.tree_, solver, start, callback)
        return super()._fitted(problem, solver, start, callback)

    def decision_function(self, X: Any) -> NDArray[Any]:
        """Log-probabilities of the classes (N, C); for two, the second's less the first's (N,)."""
        z = self.predict_log_proba(X)
        return z[:, 1] - z[:, 0] if len(self.classes_) == 2 else z

    def predict(self, X: Any) -> NDArray[Any]:
        """The most probable class (N,)."""
        leaves = self._linked(log_probabilities, self._scores("predict", X)).argmax(axis=1)
        return self.classes_[leaves]

    def predict_path(self, X: Any, confidence: float = 0.0) -> list[tuple[Any, ...]]:
        """Names on the way to the most probable class, as far as nodes have at least that probability."""
        bound = arrays.number("predict_path(confidence)", confidence, 0, 1)
        P = self.node_proba(X)
        paths = self.tree_.paths[P[:, self.tree_.leaves].argmax(axis=1)]
        sure = ((paths >= 0) & (np.take_along_axis(P, np.maximum(paths, 0), axis=1) >= bound)).sum(axis=1)
        return [self.nodes_[path[n - 1]] if n else () for path, n in zip(paths, sure, strict=True)]

    def node_proba(self, X: Any) -> NDArray[np.float64]:
        """Probabilities of all nodes (N, nodes_): a node's is the sum of its children's."""
        return self._by_pieces(lambda z: self._link.node_probabilities((z, np.zeros_like(z))), self._scores("node_proba", X))

    def distance(self, y: ArrayLike, predicted: ArrayLike) -> NDArray[np.intp]:
        """Edges of the tree between labels (N,) and others (N,): how bad each mistake is, 0 for none."""
        return self.tree_.distance(*(self._numbers("distance", labels) for labels in (y, predicted)))

    def _linked(self, link: Callable[[Loss, NDArray[Any]], NDArray[Any]], z: NDArray[Any]) -> NDArray[Any]:
        return self._by_pieces(lambda piece: super(HierarchicalClassifier, self)._linked(link, piece), z)

    def _by_pieces(self, of: Callable[[NDArray[Any]], NDArray[Any]], z: NDArray[Any]) -> NDArray[Any]:
        """A link works on all nodes of its rows at once, in a dozen arrays of their size."""
        step = max(1, CELLS // z.shape[1])
        return np.concatenate([of(z[i : i + step].astype(np.float64)) for i in range(0, max(len(z), 1), step)])

    def _numbers(self, call: str, labels: ArrayLike) -> NDArray[np.intp]:
        found = np.asarray(labels)
        numbers = np.minimum(np.searchsorted(self.classes_, found), len(self.classes_) - 1)
        if (strange := self.classes_[numbers] != found).any():
            arrays.refuse(f"{call}(y)", "labels must be among classes_", arrays.shown(found[strange][0]), "fit with it")
        return numbers

    def _grow(self, classes: NDArray[Any]) -> None:
        parents = parents_of(self._path(label) for label in classes.tolist())
        self.nodes_, self.tree_ = list(parents), Tree(tuple(parents.values()))

    def _path(self, label: Any) -> tuple[Any, ...]:
        levels = self.levels
        if isinstance(levels, Mapping):
            if label not in levels:
                arrays.refuse(f"{self._name}(levels)", "must name the path of every label", f"none for {arrays.shown(label)}", "add it")
            return tuple(levels[label])
        text = str(label)
        if isinstance(levels, str) and levels:
            return tuple(text.split(levels))
        lengths = [0, *levels, len(text)] if isinstance(levels, Sequence) and levels else []
        if not all(isinstance(k, int) for k in lengths) or lengths[:-1] != sorted(set(lengths[:-1])) or not lengths:
            rule = "must be the text between names, growing lengths of prefixes, or a dict of label: path"
            arrays.refuse(f"{self._name}(levels)", rule, arrays.shown(levels), "pass e.g. '/' or (2, 4)")
        return (*(text[:k] for k in lengths[1:-1] if k < len(text)), text)

    @property
    def _link(self) -> HierarchicalSoftmax | HXE:
        if self.loss == "hierarchical softmax":
            return HierarchicalSoftmax(self.tree_.parents)
        if self.loss == "hxe":
            return HXE(self.tree_.parents, arrays.number(f"{self._name}(alpha)", self.alpha, 0))
        rule = "must be 'hierarchical softmax' or 'hxe'"
        return arrays.refuse(f"{self._name}(loss)", rule, arrays.shown(self.loss), "choose one of these")

    def _loss(self) -> Loss:
        return compose(self._link)

    def _n_scores(self, loss: Loss, n_classes: int) -> int:
        return len(self.nodes_) if self.loss == "hierarchical softmax" else n_classes

    def _parameters(self) -> dict[str, Any]:
        return super()._parameters() | {"loss": self.loss, "alpha": self.alpha}

    def _described(self) -> dict[str, Any]:
        levels = self.levels if isinstance(self.levels, str) else None if isinstance(self.levels, Mapping) else list(self.levels)
        paths = [list(self.nodes_[j]) for j in self.tree_.leaves]
        return super()._described() | {"estimator": "HierarchicalClassifier", "levels": levels, "paths": paths}

    def restore(self, tensors: Mapping[str, NDArray[Any]], described: Mapping[str, Any], loss: Loss) -> None:
        kind = self.loss
        super().restore(tensors, described, loss)
        levels, paths = described["levels"], [tuple(path) for path in described["paths"]]
        self.loss = kind
        self.levels = dict(zip(self.classes_.tolist(), paths, strict=True)) if levels is None else levels
        self._grow(self.classes_)
