"""MultiLabelClassifier: yes or no for each class, any number of them in a row."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import validate_data

from softgrad import arrays
from softgrad.losses import Sigmoid, compose
from softgrad.losses.loss import Loss, log_probabilities, predicted, probabilities
from softgrad.row_source import AbstractRowSource
from softgrad.solved_classifier import AbstractSolvedClassifier
from softgrad.solvers.sgd import SGD
from softgrad.solvers.solver import AbstractSolver, State


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
    the share of rows with all classes right. Raises SoftgradError for bad input; warns ConvergenceWarning.
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
        tags.target_tags.single_output, tags.target_tags.multi_output = False, True
        return tags

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """Take the classifier to its optimum on X (N, D), y (N, C) of 0 and 1, weights (N,) or None."""
        C, solver = self._checked()
        X, Y = self._validated("fit", X, y, reset=True)
        classes = np.arange(Y.shape[1])
        r = self._row_weights("fit", sample_weight, classes, np.zeros(len(Y), np.intp))
        start = self._start
        if start is not None and start[0].shape != (Y.shape[1], X.shape[1]):
            start = None
        self._solve(self._problem(X, Y, r, Y.shape[1], 1 / (C * float(r.sum()))), solver, start)
        self.classes_ = classes
        return self

    def decision_function(self, X: Any) -> NDArray[Any]:
        """Scores W x + b (N, C)."""
        return self._scores("decision_function", X)

    def predict_proba(self, X: Any) -> NDArray[Any]:
        """Probability of each class by itself (N, C)."""
        return probabilities(self._loss(), self._scores("predict_proba", X).astype(np.float64))

    def predict_log_proba(self, X: Any) -> NDArray[Any]:
        """Logarithms of these (N, C), accurate also near 0."""
        return log_probabilities(self._loss(), self._scores("predict_log_proba", X).astype(np.float64))

    def predict(self, X: Any) -> NDArray[Any]:
        """1 for each class that a row belongs to, else 0 (N, C)."""
        u, lo = predicted(self._loss(), self._scores("predict", X).astype(np.float64))
        return (u + lo > 0).astype(np.int64)

    def _validated(self, call: str, X: Any, y: Any, *, reset: bool) -> tuple[Any, NDArray[np.int8]]:
        if isinstance(X, AbstractRowSource):
            Y = y
        else:
            try:
                X, Y = validate_data(
                    self, X, y, reset=reset, accept_sparse="csr", dtype="numeric", ensure_all_finite=False, multi_output=True
                )
                check_classification_targets(Y)
            except ValueError as error:
                raise arrays.SoftgradError(f"{call}: {error}") from error
        return self._features(call, X, reset=reset), indicator(f"{call}(y)", Y, X.shape[0])

    def _loss(self) -> Loss:
        loss = compose(Sigmoid()) if self.loss is None else super()._loss()
        if loss.link.reads != "many":
            rule = "must read yes or no for each class"
            do = "pass losses.compose(losses.Sigmoid()), or use SoftmaxClassifier"
            arrays.refuse(f"{self._name}(loss)", rule, type(loss.link).__name__, do)
        return loss

    def _described(self) -> dict[str, Any]:
        return super()._described() | {"estimator": "MultiLabelClassifier"}


def indicator(argument: str, y: Any, n: int) -> NDArray[np.int8]:
    """Rows of 0 and 1 (N, C), one byte each."""
    Y = np.asarray(y.toarray() if hasattr(y, "toarray") else y)
    if Y.ndim != 2 or len(Y) != n or Y.shape[1] == 0:
        rule = f"must be a matrix of 0 and 1 with {n} rows and a column for each class"
        arrays.refuse(argument, rule, f"shape {Y.shape}", "make it with sklearn.preprocessing.MultiLabelBinarizer")
    bad = ~((Y == 0) | (Y == 1)).all(axis=1)
    if bad.any():
        i = int(bad.argmax())
        arrays.refuse(argument, "must hold 0 and 1 only", f"{arrays.shown(Y[i].tolist())} in row {i}", "say yes by 1 and no by 0")
    return np.ascontiguousarray(Y, np.int8)
