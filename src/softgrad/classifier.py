"""SoftmaxClassifier: scikit-learn's manners around one fit. What happens to the data is told in `training`, to the numbers in `losses`."""

from __future__ import annotations

import math
import os
import sys
import warnings
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import check_random_state, compute_class_weight
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, column_or_1d, validate_data

from softgrad import arrays, model_file
from softgrad.descent import Point, descend
from softgrad.kernels.tiled import linear_scores
from softgrad.losses import cross_entropy
from softgrad.losses.described import build, describe
from softgrad.losses.loss import Loss, log_probabilities, probabilities
from softgrad.solvers.lbfgs import LBFGS
from softgrad.solvers.sgd import SGD
from softgrad.solvers.solver import AbstractSolver, State
from softgrad.training import Fit, Problem, Start, Steps, fit, step


class SoftmaxClassifier(ClassifierMixin, BaseEstimator):
    """Linear softmax classifier that reaches its optimum in a handful of passes over the data.

    minimises  1/S sum_i s_i L(W x_i + b, y_i) + 1/(2 C S) |W|^2,   s_i = sample weight x class weight, S = sum_i s_i

    which is scikit-learn's `LogisticRegression` for the same C, two classes included (there coef_ is one row).

    Parameters: C > 0, inverse strength of the penalty, inf for none; fit_intercept; class_weight None, "balanced" or a dict; loss, one of
    `softgrad.losses`, default cross_entropy(); solver "auto" (preconditioned L-BFGS) or a solver of `softgrad.solvers`; tol, bound on
    the largest entry of the gradient of the mean loss; max_iter steps; warm_start; random_state, seed of the sample that the
    preconditioner is made from, and of the shuffles of an `SGD`; verbose, 1 tells every second; callback(state), called after each step
    (each epoch of an `SGD`) with passes, value, gradient_norm, seconds.
    Attributes: coef_ (C, D), or (1, D) for two classes; intercept_, classes_, n_iter_, n_features_in_, loss_curve_ (objective after
    each step), result_ (status, value, gradient_norm, passes, seconds, advice).
    X: float64 computes in float64; float32, float16 and uint8 are read in their own type, without a copy, and computed in float32;
    SciPy CSR stays sparse; frames of pandas and polars are welcome. Raises SoftgradError for bad input; warns ConvergenceWarning.
    Reference: Bohning 1992, doi 10.1007/BF00048682; Nocedal & Wright 2006, chapter 7.

    >>> import softgrad
    >>> from sklearn.datasets import load_iris
    >>> X, y = load_iris(return_X_y=True)
    >>> model = softgrad.SoftmaxClassifier(C=1.0).fit(X, y)
    >>> print(model.result_.status.name, round(model.score(X, y), 3))
    CONVERGED 0.973
    """

    coef_: NDArray[np.float64]
    intercept_: NDArray[np.float64]
    feature_names_in_: NDArray[Any]
    n_features_in_: int
    metadata_: dict[str, Any]

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

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        return tags

    def fit(self, X: Any, y: ArrayLike, sample_weight: ArrayLike | None = None) -> Self:
        """Take the classifier to its optimum on X (N, D), labels y (N,) of any type, weights (N,) or None."""
        C, solver = self._checked()
        start = (self.coef_, self.intercept_) if self.warm_start and hasattr(self, "coef_") else None
        X, y = self._validated("fit", X, y, reset=True)
        classes, numbers = np.unique(y, return_inverse=True)
        if len(classes) < 2:
            came = f"one class only, {arrays.shown(classes[0])}"
            arrays.refuse("fit(y)", "must hold at least two classes", came, "add rows of another class")
        r = self._row_weights("fit", sample_weight, classes, numbers)
        problem, start = _as_softmax(self._problem(X, numbers, r, len(classes), C, float(r.sum())), start)
        found = self._train(problem, solver, start)
        if not np.isfinite(found.result.value):
            arrays.finite_features("fit(X)", X, r)
        self.classes_, self.result_ = classes, found.result
        self.coef_, self.intercept_ = _as_one_row(found.coef, found.intercept)
        self.loss_curve_ = [state.value for state in found.result.trace]
        self.n_iter_ = np.array([max(1, found.result.iterations)], np.int32)
        self._steps = Steps()
        if found.result.advice:
            self._warn()
        return self

    def _train(self, problem: Problem, solver: AbstractSolver | SGD, start: Start | None) -> Fit:
        callback = self._callback()
        if isinstance(solver, SGD):
            return descend(problem, [Point(problem.l2)], solver, start, callback and (lambda _, state: callback(state)))[0]
        return fit(problem, solver, start, callback)

    def partial_fit(
        self, X: Any, y: ArrayLike, classes: ArrayLike | None = None, sample_weight: ArrayLike | None = None
    ) -> Self:
        """One stochastic step on a batch; the first call must name all classes. The rate follows from a bound on the Hessian."""
        C, _ = self._checked()
        first = not hasattr(self, "classes_")
        X, y = self._validated("partial_fit", X, y, reset=first)
        if first:
            if classes is None:
                arrays.refuse("partial_fit(classes)", "must name all classes in the first call", "None", "pass classes=np.unique(labels)")
            self.classes_, self._steps = np.unique(column_or_1d(classes)), Steps()
        numbers = self._numbers(y)
        r = self._row_weights("partial_fit", sample_weight, self.classes_, numbers)
        problem = self._problem(X, numbers, r, len(self.classes_), C, self._steps.seen + float(r.sum()))
        start = (self.coef_, self.intercept_) if hasattr(self, "coef_") else None
        coef, intercept, steps = step(*_as_softmax(problem, start), self._steps)
        if not np.isfinite(coef).all():
            arrays.finite_features("partial_fit(X)", X, r)
        self.coef_, self.intercept_ = _as_one_row(coef, intercept)
        self._steps, self.n_iter_ = steps, np.array([steps.count], np.int32)
        return self

    def decision_function(self, X: Any) -> NDArray[Any]:
        """Scores W x + b: (N, C), or (N,) for two classes, where they are the second class's."""
        z = self._scores("decision_function", X)
        return z.ravel() if len(self.classes_) == 2 else z

    def predict(self, X: Any) -> NDArray[Any]:
        """The class with the largest score, (N,)."""
        z = self._scores("predict", X)
        return self.classes_[(z[:, 0] > 0).astype(int) if z.shape[1] == 1 else z.argmax(axis=1)]

    def predict_proba(self, X: Any) -> NDArray[Any]:
        """Probabilities (N, C) in the order of classes_, of the loss's link and temperature."""
        return self._linked(probabilities, self._scores("predict_proba", X))

    def predict_log_proba(self, X: Any) -> NDArray[Any]:
        """Logarithms of the probabilities (N, C), accurate also near 0."""
        return self._linked(log_probabilities, self._scores("predict_log_proba", X))

    def save(self, path: str | os.PathLike[str], metadata: Mapping[str, Any] | None = None) -> None:
        """Write the fitted classifier to one file (safetensors with a JSON description, no pickle), whole or not at all.

        metadata: anything that JSON holds; `softgrad.load` gives it back as metadata_. Raises SoftgradError for classes that are neither
        numbers nor text, OSError where the file cannot be written.
        """
        check_is_fitted(self)
        described = self._described() | {"metadata": dict(metadata or getattr(self, "metadata_", {}))}
        tensors = {"coef": self.coef_, "intercept": self.intercept_}
        if self.classes_.dtype.kind in "biuf":
            tensors["classes"] = self.classes_
        elif all(isinstance(name, str) for name in self.classes_.tolist()):
            described["classes"] = self.classes_.tolist()
        else:
            arrays.refuse("save(path)", "classes must be numbers or text", f"dtype {self.classes_.dtype}", "fit on names or numbers")
        model_file.write(path, tensors, described)

    def _described(self) -> dict[str, Any]:
        plain = ("C", "fit_intercept", "tol", "max_iter", "warm_start")
        described: dict[str, Any] = {"parameters": {name: getattr(self, name) for name in plain}, "loss": describe(self._loss())}
        described["parameters"]["C"] = str(self.C)  # JSON has no inf
        if hasattr(self, "feature_names_in_"):
            described["feature_names"] = [str(name) for name in self.feature_names_in_]
        if hasattr(self, "result_"):
            kept = ("value", "gradient_norm", "passes", "iterations", "seconds")
            described["result"] = {name: getattr(self.result_, name) for name in kept} | {"status": self.result_.status.name}
        return described

    def _checked(self) -> tuple[float, AbstractSolver | SGD]:
        unpenalised = isinstance(self.C, float) and math.inf == self.C
        C = math.inf if unpenalised else arrays.number("SoftmaxClassifier(C)", self.C, 0, open_low=True)
        tol = arrays.number("SoftmaxClassifier(tol)", self.tol, 0, open_low=True)
        max_iter = arrays.whole("SoftmaxClassifier(max_iter)", self.max_iter, 1)
        if isinstance(self.solver, AbstractSolver | SGD):
            return C, self.solver
        if self.solver not in ("auto", "lbfgs"):
            rule = "must be 'auto', 'lbfgs' or a solver"
            arrays.refuse("SoftmaxClassifier(solver)", rule, arrays.shown(self.solver), "choose one of these")
        return C, LBFGS(tol=tol, max_iter=max_iter)

    def _validated(self, call: str, X: Any, y: Any, *, reset: bool) -> tuple[Any, NDArray[Any]]:
        """X as the kernels read it and y (N,), by scikit-learn's rules; whether X is finite is seen in the first pass."""
        if hasattr(X, "shape") and hasattr(y, "shape") and len(X.shape) > 0 and len(y.shape) > 0 and X.shape[0] != y.shape[0]:
            arrays.refuse(f"{call}(y)", f"must have one label for each of the {X.shape[0]} rows of X", f"{y.shape[0]} labels", "align them")
        try:
            X, y = validate_data(self, X, y, reset=reset, accept_sparse="csr", dtype="numeric", ensure_all_finite=False)
            check_classification_targets(y)
        except ValueError as error:
            raise arrays.SoftgradError(f"{call}: {error}") from error
        return arrays.features(f"{call}(X)", X), y

    def _row_weights(self, call: str, sample_weight: Any, classes: NDArray[Any], numbers: NDArray[np.intp]) -> NDArray[np.float64]:
        r = arrays.row_weight(f"{call}(sample_weight)", sample_weight, len(numbers))
        r = np.ones(len(numbers)) if r is None else r
        if self.class_weight is not None:
            try:
                omega = compute_class_weight(self.class_weight, classes=classes, y=classes[numbers], sample_weight=r)
            except ValueError as error:
                raise arrays.SoftgradError(f"SoftmaxClassifier(class_weight): {error}") from error
            r = r * omega[numbers]
        if not r.any():
            arrays.refuse(f"{call}(sample_weight)", "at least one row must count", "weights that are all zero", "weigh some row above zero")
        return r

    def _numbers(self, y: NDArray[Any]) -> NDArray[np.intp]:
        numbers = np.minimum(np.searchsorted(self.classes_, y), len(self.classes_) - 1)
        strange = self.classes_[numbers] != y
        if strange.any():
            i = int(strange.argmax())
            rule = "labels must be among the classes of the first call"
            arrays.refuse("partial_fit(y)", rule, f"{arrays.shown(y[i])} in row {i}", "name it there")
        return numbers

    def _problem(self, X: Any, numbers: NDArray[Any], r: NDArray[np.float64], n_classes: int, C: float, total: float) -> Problem:
        seed = 0 if self.random_state is None else int(check_random_state(self.random_state).randint(2**31 - 1))
        return Problem(X, numbers.astype(np.int64), r, n_classes, self._loss(), 1 / (C * total), bool(self.fit_intercept), seed)

    def _loss(self) -> Loss:
        if self.loss is not None and not isinstance(self.loss, Loss):
            rule = "must be a loss of softgrad.losses, or None"
            arrays.refuse("SoftmaxClassifier(loss)", rule, arrays.shown(self.loss), "pass cross_entropy()")
        return cross_entropy() if self.loss is None else self.loss

    def _callback(self) -> Callable[[State], None] | None:
        return _Report(self.callback) if self.verbose else self.callback

    def _warn(self) -> None:
        result = self.result_
        message = f"SoftmaxClassifier stopped after {result.passes} passes: {result.status.value} (gradient {result.gradient_norm:.1e}); "
        warnings.warn(message + result.advice, ConvergenceWarning, stacklevel=3)

    def _scores(self, call: str, X: Any) -> NDArray[Any]:
        check_is_fitted(self)
        try:
            X = validate_data(self, X, reset=False, accept_sparse="csr", dtype="numeric", ensure_all_finite=False)
        except ValueError as error:
            raise arrays.SoftgradError(f"{call}: {error}") from error
        X = arrays.features(f"{call}(X)", X)
        z = linear_scores(X, self.coef_, self.intercept_)
        if not np.isfinite(z).all():
            arrays.finite_features(f"{call}(X)", X)
        return z

    def _linked(self, link: Callable[[Loss, NDArray[Any]], NDArray[Any]], z: NDArray[Any]) -> NDArray[Any]:
        full = z if z.shape[1] > 1 else np.hstack([np.zeros_like(z), z])
        return link(self._loss(), full.astype(np.float64)).astype(z.dtype)


def load(path: str | os.PathLike[str]) -> SoftmaxClassifier:
    """The classifier that `SoftmaxClassifier.save` wrote; runs no code from the file.

    Returns a fitted SoftmaxClassifier with metadata_. Raises SoftgradError for a file that is no such model, OSError where there is none.

    >>> import numpy as np, softgrad, tempfile, os
    >>> model = softgrad.SoftmaxClassifier().fit([[0.0], [1.0], [2.0]], ["a", "b", "b"])
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     model.save(os.path.join(folder, "m.safetensors"))
    ...     print(softgrad.load(os.path.join(folder, "m.safetensors")).predict([[5.0]]))
    ['b']
    """
    tensors, described = model_file.read(path)
    try:
        parameters = described["parameters"] | {"C": float(described["parameters"]["C"]), "loss": build(described["loss"])}
        model = SoftmaxClassifier(**parameters)
        model.coef_, model.intercept_ = tensors["coef"], tensors["intercept"]
        model.classes_ = tensors["classes"] if "classes" in tensors else np.array(described["classes"])
        model.n_features_in_, model.metadata_ = model.coef_.shape[1], described["metadata"]
    except (KeyError, TypeError, ValueError, IndexError) as error:
        rule = "must describe a classifier that this version knows"
        raise arrays.SoftgradError(f"load(path): {path} {rule}; got {error!r}; save it again with SoftmaxClassifier.save.") from error
    if "feature_names" in described:
        model.feature_names_in_ = np.array(described["feature_names"], object)
    return model


class _Report:
    """A line a second on stderr, then the user's own callback."""

    def __init__(self, then: Callable[[State], None] | None):
        self.then, self.told = then, 0.0

    def __call__(self, state: State) -> None:
        if state.passes == 1 or state.seconds - self.told >= 1:
            self.told = state.seconds
            line = f"pass {state.passes:4d}  objective {state.value:.7f}  gradient {state.gradient_norm:.1e}  {state.seconds:.1f} s"
            print(line, file=sys.stderr, flush=True)
        if self.then is not None:
            self.then(state)


def _as_softmax(problem: Problem, start: Start | None) -> tuple[Problem, Start | None]:
    """Two classes: one row w with penalty l2/2 |w|^2 is the softmax of rows -w/2, w/2 with penalty 2 l2/2 (|w/2|^2 + |w/2|^2)."""
    if start is not None and start[0].shape != (1 if problem.n_classes == 2 else problem.n_classes, problem.X.shape[1]):
        start = None  # other classes or features than before: begin anew
    if problem.n_classes != 2:
        return problem, start
    halves = None if start is None else (np.vstack([-start[0] / 2, start[0] / 2]), np.concatenate([-start[1] / 2, start[1] / 2]))
    return replace(problem, l2=2 * problem.l2), halves


def _as_one_row(coef: NDArray[Any], intercept: NDArray[Any]) -> Start:
    """coef_ and intercept_ as scikit-learn lays them out."""
    return (coef[1:] - coef[:1], intercept[1:] - intercept[:1]) if len(coef) == 2 else (coef, intercept)
