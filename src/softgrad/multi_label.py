"""MultiLabelClassifier: yes or no for each class, any number of them in a row."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import validate_data

from softgrad import arrays
from softgrad.linear_classifier import batch_in_memory
from softgrad.losses import Sigmoid, compose
from softgrad.losses.loss import Loss, predicted
from softgrad.losses.part import Floats, Pair
from softgrad.row_source import AbstractRowSource
from softgrad.solved_classifier import AbstractSolvedClassifier
from softgrad.solvers.sgd import SGD
from softgrad.solvers.solver import AbstractSolver, State
from softgrad.training import Steps


class MultiLabelClassifier(AbstractSolvedClassifier):
    """Linear classifier of rows that belong to any number of classes, all classes in the same passes over the data.

    minimises  1/S sum_i s_i L(W x_i + b, y_i) + 1/(2 C S) |W|^2,   s_i = sample weight, S = sum_i s_i

    With the default loss, binary cross-entropy summed over the classes, that is scikit-learn's OneVsRestClassifier(LogisticRegression(C))
    for the same C. A class is predicted where its mapped score is above 0: a probability above 1/2 for links that have them.

    Parameters: C > 0, inverse strength of the penalty, inf for none; loss, one of `softgrad.losses` that reads yes or no for each class,
    default compose(Sigmoid()), where `ManyWeights` weighs classes; fit_intercept; solver "auto" (preconditioned L-BFGS) or a solver of
    `softgrad.solvers`; tol, bound on the largest entry of the gradient of the mean loss; max_iter steps; warm_start; random_state;
    verbose; callback(state), as in `SoftmaxClassifier`.
    Attributes: coef_ (C, D), intercept_ (C,), classes_ (the columns of y: 0..C-1), n_iter_, n_features_in_, loss_curve_, result_.
    X as `SoftmaxClassifier` takes it; y (N, C) of 0 and 1, dense or sparse, as scikit-learn's MultiLabelBinarizer makes it; `score` is
    the share of rows with all classes right. One label may be told by y (N,) of any two values, the larger one yes: classes_ are these,
    predictions (N,), probabilities those of no and yes, all as in `LogisticRegression`. Raises SoftgradError for bad input; warns
    ConvergenceWarning.
    Reference: Bishop 2006, section 4.3.2.

    >>> import softgrad
    >>> model = softgrad.MultiLabelClassifier().fit([[0.0, 0.0], [0.0, 4.0], [4.0, 0.0], [4.0, 4.0]], [[0, 0], [0, 1], [1, 0], [1, 1]])
    >>> model.predict([[5.0, 5.0], [5.0, 0.0]]).tolist()
    [[1, 1], [1, 0]]
    """

    def __init__(
        self,
        C: float = 1.0,
        *,
        loss: Loss | None = None,
        fit_intercept: bool = True,
        solver: AbstractSolver | SGD | str = "auto",
        tol: float = 1e-5,
        max_iter: int = 200,
        warm_start: bool = False,
        random_state: Any = None,
        verbose: int = 0,
        callback: Callable[[State], None] | None = None,
    ):
        self.C = C
        self.loss = loss
        self.fit_intercept = fit_intercept
        self.solver = solver
        self.tol = tol
        self.max_iter = max_iter
        self.warm_start = warm_start
        self.random_state = random_state
        self.verbose = verbose
        self.callback = callback

    class_weight = None  # a row has no one class: losses.ManyWeights weighs classes

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_class, tags.classifier_tags.multi_label = False, True
        tags.target_tags.multi_output = True
        return tags

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """Take the classifier to its optimum on X (N, D), y (N, C) of 0 and 1 or (N,) of two values, weights (N,) or None."""
        C, solver = self._checked()
        X, y = self._validated("fit", X, y, reset=True)
        classes, Y = yes_or_no("fit(y)", y, X.shape[0])
        r = self._row_weights("fit", sample_weight, classes, np.zeros(len(Y), np.intp))
        start = self._start
        if start is not None and start[0].shape != (Y.shape[1], X.shape[1]):
            start = None
        self._solve(self._problem(X, Y, r, Y.shape[1], 1 / (C * float(r.sum()))), solver, start)
        self.classes_, self._steps = classes, Steps()
        return self

    def partial_fit(self, X: Any, y: Any, classes: Any = None, sample_weight: Any = None) -> Self:
        """One stochastic step on a batch, at a rate that follows from a bound on the Hessian.

        classes: the two values of y (N,), in the first call; columns of y (N, C) are classes by themselves.
        """
        C, _ = self._checked()
        self._refuse_mining("partial_fit")
        first = not hasattr(self, "classes_")
        X, y = self._validated("partial_fit", X, y, reset=first)
        named = self.classes_ if not first else None if classes is None else np.unique(classes)
        if named is None and y.ndim == 1:
            arrays.refuse("partial_fit(classes)", "must name both values of y in the first call", "None", "pass classes=np.unique(labels)")
        known, Y = yes_or_no("partial_fit(y)", y, X.shape[0], named)
        start = (self.coef_, self.intercept_) if not first else None
        if start is not None and Y.shape[1] != len(start[0]):
            rule = f"must tell of {len(start[0])} classes, as in the first call"
            arrays.refuse("partial_fit(y)", rule, f"{Y.shape[1]}", "pass y of the same form")
        r = self._row_weights("partial_fit", sample_weight, known, np.zeros(len(Y), np.intp))
        problem = self._problem(X, Y, r, Y.shape[1], 1 / (C * (self._steps.seen + float(r.sum()))))
        self.coef_, self.intercept_ = self._step(problem, start)
        self.classes_ = known
        return self

    def decision_function(self, X: Any) -> NDArray[Any]:
        """Scores W x + b: (N, C), or (N,) of one label told by two values."""
        z = self._scores("decision_function", X)
        return z[:, 0] if self._one_label else z

    def predict_proba(self, X: Any) -> NDArray[Any]:
        """Probability of each class by itself (N, C); of no and yes (N, 2) for one label told by two values."""
        return self._asked("predict_proba", X, self._loss().link.probabilities)

    def predict_log_proba(self, X: Any) -> NDArray[Any]:
        """Logarithms of these, accurate also near 0."""
        return self._asked("predict_log_proba", X, self._loss().link.log_probabilities)

    def predict(self, X: Any) -> NDArray[Any]:
        """1 for each class that a row belongs to, else 0 (N, C); the value (N,) of one label told by two."""
        u, lo = predicted(self._loss(), self._scores("predict", X).astype(np.float64))
        yes = (u + lo > 0).astype(np.int64)
        return self.classes_[yes[:, 0]] if self._one_label else yes

    @property
    def _one_label(self) -> bool:
        """Whether y was (N,): two values, and one row of coefficients."""
        return len(self.coef_) < len(self.classes_)

    def _asked(self, call: str, X: Any, of: Callable[[Pair], Floats]) -> Floats:
        """What a link says of yes, and of no before it where one label has both: sigma(-u) beside sigma(u)."""
        u, lo = predicted(self._loss(), self._scores(call, X).astype(np.float64))
        return np.hstack([of((-u, -lo)), of((u, lo))]) if self._one_label else of((u, lo))

    def _validated(self, call: str, X: Any, y: Any, *, reset: bool) -> tuple[Any, NDArray[Any]]:
        batch_in_memory(call, X)
        if not isinstance(X, AbstractRowSource):
            like: dict[str, Any] = {"accept_sparse": "csr", "dtype": "numeric", "ensure_all_finite": False, "multi_output": True}
            try:
                X, y = validate_data(self, X, y, reset=reset, **like)
                check_classification_targets(y)
            except ValueError as error:
                raise arrays.SoftgradError(f"{call}: {error}") from error
        return self._features(call, X, reset=reset), np.asarray(y.toarray() if hasattr(y, "toarray") else y)

    def _loss(self) -> Loss:
        loss = compose(Sigmoid()) if self.loss is None else super()._loss()
        if loss.link.reads != "many":
            rule = "must read yes or no for each class"
            do = "pass losses.compose(losses.Sigmoid()), or use SoftmaxClassifier"
            arrays.refuse(f"{self._name}(loss)", rule, type(loss.link).__name__, do)
        return loss

    def _described(self) -> dict[str, Any]:
        return super()._described() | {"estimator": "MultiLabelClassifier"}


def yes_or_no(argument: str, y: NDArray[Any], n: int, named: NDArray[Any] | None = None) -> tuple[NDArray[Any], NDArray[np.int8]]:
    """Classes, and rows of 0 and 1 (N, C), one byte each. Of y (N,) the classes are its two values, and the larger one is yes."""
    if y.shape == (n,):
        return one_label(argument, y, named)
    if y.ndim != 2 or len(y) != n or y.shape[1] == 0:
        rule = f"must be a matrix of 0 and 1 with {n} rows and a column for each class"
        arrays.refuse(argument, rule, f"shape {y.shape}", "make it with sklearn.preprocessing.MultiLabelBinarizer")
    bad = ~((y == 0) | (y == 1)).all(axis=1)
    if bad.any():
        i = int(bad.argmax())
        arrays.refuse(argument, "must hold 0 and 1 only", f"{arrays.shown(y[i].tolist())} in row {i}", "say yes by 1 and no by 0")
    return np.arange(y.shape[1]), np.ascontiguousarray(y, np.int8)


def one_label(argument: str, y: NDArray[Any], named: NDArray[Any] | None) -> tuple[NDArray[Any], NDArray[np.int8]]:
    """The two values of y (N,), as named or as found, and which rows have the larger one (N, 1)."""
    values = arrays.classes(argument, y)[0] if named is None else named
    if len(values) != 2:
        rule = "of one label must hold two values. Only binary classification is supported; a matrix (N, C) tells of more classes"
        do = "make it with sklearn.preprocessing.MultiLabelBinarizer, or use SoftmaxClassifier"
        arrays.refuse(argument, rule, f"{len(values)} values", do)
    strange = ~np.isin(y, values)
    if strange.any():
        i = int(strange.argmax())
        arrays.refuse(argument, "labels must be among the values of the first call", f"{arrays.shown(y[i])} in row {i}", "name it there")
    return values, (y == values[1])[:, None].astype(np.int8)
