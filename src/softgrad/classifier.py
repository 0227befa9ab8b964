"""SoftmaxClassifier: scikit-learn's manners around one fit. What happens to the data is told in `training`, to the numbers in `losses`."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.utils.validation import column_or_1d

from softgrad import arrays
from softgrad.linear_classifier import as_one_row, as_softmax
from softgrad.losses.loss import Loss
from softgrad.solved_classifier import AbstractSolvedClassifier
from softgrad.solvers.sgd import SGD
from softgrad.solvers.solver import AbstractSolver, State
from softgrad.training import Fit, Start, Steps


class SoftmaxClassifier(AbstractSolvedClassifier):
    """Linear softmax classifier that reaches its optimum in a handful of passes over the data.

    minimises  1/S sum_i s_i L(W x_i + b, y_i) + 1/(2 C S) |W|^2,   s_i = sample weight x class weight, S = sum_i s_i

    which is scikit-learn's `LogisticRegression` for the same C, two classes included (there coef_ is one row).

    Parameters: C > 0, inverse strength of the penalty, inf for none; fit_intercept; class_weight None, "balanced" or a dict; loss, one of
    `softgrad.losses`, default cross_entropy(); solver "auto" (preconditioned L-BFGS) or a solver of `softgrad.solvers`; tol, bound on
    the largest entry of the gradient of the mean loss; max_iter steps; warm_start; random_state, seed of the sample that the
    preconditioner is made from, and of the shuffles of an `SGD`; verbose, 1 tells every second; callback(state), called after each step
    (each epoch of an `SGD`) with passes, value, gradient_norm, seconds; checkpoint, a file that keeps the state of an `SGD`, resume, go
    on from it, to the same bits. Ctrl-C ends an `SGD` where it is, with a warning.
    Attributes: coef_ (C, D), or (1, D) for two classes; intercept_, classes_, n_iter_, n_features_in_, loss_curve_ (objective after
    each step), result_ (status, value, gradient_norm, passes, seconds, advice).
    X: float64 computes in float64; float32, float16 and uint8 are read in their own type, without a copy, and computed in float32;
    SciPy CSR stays sparse; frames of pandas and polars are welcome, and so are rows on disk (`softgrad.data.stream`). Raises
    SoftgradError for bad input; warns ConvergenceWarning.
    Reference: Bohning 1992, doi 10.1007/BF00048682; Nocedal & Wright 2006, chapter 7.

    >>> import softgrad
    >>> from sklearn.datasets import load_iris
    >>> X, y = load_iris(return_X_y=True)
    >>> model = softgrad.SoftmaxClassifier(C=1.0).fit(X, y)
    >>> print(model.result_.status.name, round(model.score(X, y), 3))
    CONVERGED 0.973
    """

    def __init__(
        self,
        C: float = 1.0,
        *,
        fit_intercept: bool = True,
        class_weight: Mapping[Any, float] | str | None = None,
        loss: Loss | None = None,
        solver: AbstractSolver | SGD | str = "auto",
        tol: float = 1e-5,
        max_iter: int = 200,
        warm_start: bool = False,
        random_state: Any = None,
        verbose: int = 0,
        callback: Callable[[State], None] | None = None,
        checkpoint: str | os.PathLike[str] | None = None,
        resume: bool = False,
    ):
        self.C = C
        self.fit_intercept = fit_intercept
        self.class_weight = class_weight
        self.loss = loss
        self.solver = solver
        self.tol = tol
        self.max_iter = max_iter
        self.warm_start = warm_start
        self.random_state = random_state
        self.verbose = verbose
        self.callback = callback
        self.checkpoint = checkpoint
        self.resume = resume

    def fit(self, X: Any, y: ArrayLike, sample_weight: ArrayLike | None = None) -> Self:
        """Take the classifier to its optimum on X (N, D), labels y (N,) of any type, weights (N,) or None."""
        C, solver = self._checked()
        start = self._start
        X, y = self._validated("fit", X, y, reset=True)
        classes, numbers = arrays.classes("fit(y)", y)
        r = self._row_weights("fit", sample_weight, classes, numbers)
        problem, start = as_softmax(self._problem(X, numbers, r, len(classes), 1 / (C * float(r.sum()))), start)
        self._solve(problem, solver, start)
        self.classes_, self._steps = classes, Steps()
        return self

    def _laid_out(self, found: Fit) -> Start:
        """As scikit-learn does: two classes are told apart by one row, where only the difference of their scores counts."""
        return as_one_row(found.coef, found.intercept, self._loss())

    def partial_fit(
        self, X: Any, y: ArrayLike, classes: ArrayLike | None = None, sample_weight: ArrayLike | None = None
    ) -> Self:
        """One stochastic step on a batch; the first call must name all classes. The rate follows from a bound on the Hessian."""
        C, _ = self._checked()
        self._refuse_mining("partial_fit")
        first = not hasattr(self, "classes_")
        X, y = self._validated("partial_fit", X, y, reset=first)
        if first:
            if classes is None:
                arrays.refuse("partial_fit(classes)", "must name all classes in the first call", "None", "pass classes=np.unique(labels)")
            self.classes_, self._steps = np.unique(column_or_1d(classes)), Steps()
        numbers = self._numbers(y)
        r = self._row_weights("partial_fit", sample_weight, self.classes_, numbers)
        problem = self._problem(X, numbers, r, len(self.classes_), 1 / (C * (self._steps.seen + float(r.sum()))))
        start = (self.coef_, self.intercept_) if hasattr(self, "coef_") else None
        self.coef_, self.intercept_ = as_one_row(*self._step(*as_softmax(problem, start)), self._loss())
        return self

    def _numbers(self, y: NDArray[Any]) -> NDArray[np.intp]:
        numbers = np.minimum(np.searchsorted(self.classes_, y), len(self.classes_) - 1)
        strange = self.classes_[numbers] != y
        if strange.any():
            i = int(strange.argmax())
            rule = "labels must be among the classes of the first call"
            arrays.refuse("partial_fit(y)", rule, f"{arrays.shown(y[i])} in row {i}", "name it there")
        return numbers
