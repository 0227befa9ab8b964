"""What all linear softmax classifiers share: scikit-learn's manners around coef_ and intercept_. Checks, predictions, the model file."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils import check_random_state, compute_class_weight
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, column_or_1d, validate_data

from softgrad import arrays, model_file
from softgrad.kernels.tiled import linear_scores
from softgrad.losses import cross_entropy, log_softmax, softmax
from softgrad.losses.described import describe
from softgrad.losses.loss import Loss, log_probabilities, probabilities
from softgrad.losses.part import Floats
from softgrad.row_source import AbstractRowSource
from softgrad.solvers.solver import Result
from softgrad.training import Problem, Start


class AbstractLinearClassifier(ClassifierMixin, BaseEstimator):
    """Scores W x + b and what follows from them; how W and b are found is the subclasses' own."""

    coef_: NDArray[np.float64]
    intercept_: NDArray[np.float64]
    classes_: NDArray[Any]
    feature_names_in_: NDArray[Any]
    n_features_in_: int
    metadata_: dict[str, Any]
    result_: Result
    fit_intercept: bool
    class_weight: Mapping[Any, float] | str | None
    loss: Loss | str | None
    random_state: Any

    @property
    def _name(self) -> str:
        return type(self).__name__

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        return tags

    def decision_function(self, X: Any) -> NDArray[Any]:
        """Scores W x + b: (N, C), or (N,) for two classes, where they are the second class's over the first's."""
        z = self._scores("decision_function", X)
        return (z[:, -1] - z[:, 0] if z.shape[1] == 2 else z.ravel()) if len(self.classes_) == 2 else z

    def predict(self, X: Any) -> NDArray[Any]:
        """The class with the largest score, (N,)."""
        z = self._scores("predict", X)
        return self.classes_[(z[:, 0] > 0).astype(int) if z.shape[1] == 1 else z.argmax(axis=1)]

    def predict_proba(self, X: Any) -> NDArray[Any]:
        """Probabilities (N, C) in the order of classes_, of the loss's link and temperature; float64, so that nearly 1 is not 1.

        Where the link asks yes or no of each class by itself, they are those shares of a row's sum. Raises SoftgradError for links that
        know no probabilities.
        """
        return self._linked(class_probabilities, self._scores("predict_proba", X))

    def predict_log_proba(self, X: Any) -> NDArray[Any]:
        """Logarithms of the probabilities (N, C), accurate also near 0."""
        return self._linked(class_log_probabilities, self._scores("predict_log_proba", X))

    def save(self, path: str | os.PathLike[str], metadata: Mapping[str, Any] | None = None) -> None:
        """Write the fitted classifier to one file (safetensors with a JSON description, no pickle), whole or not at all.

        metadata: anything that JSON holds; `softgrad.load` gives it back as metadata_. Raises SoftgradError for classes that are neither
        numbers nor text and for a folder, OSError where the file cannot be written.
        """
        check_is_fitted(self)
        if Path(arrays.path("save(path)", path)).is_dir():
            arrays.refuse("save(path)", "must be a file", f"the folder {os.fspath(path)}", "add a name, as model.safetensors")
        described = self._described() | {"metadata": dict(metadata or getattr(self, "metadata_", {}))}
        tensors = {"coef": self.coef_, "intercept": self.intercept_}
        if self.classes_.dtype.kind in "biuf":
            tensors["classes"] = self.classes_
        elif all(isinstance(name, str) for name in self.classes_.tolist()):
            described["classes"] = self.classes_.tolist()
        else:
            arrays.refuse("save(path)", "classes must be numbers or text", f"dtype {self.classes_.dtype}", "fit on names or numbers")
        model_file.write(path, tensors, described)

    def restore(self, tensors: Mapping[str, NDArray[Any]], described: Mapping[str, Any], loss: Loss) -> None:
        """Take the state that `save` wrote from a model file's arrays and description."""
        self.loss, self.metadata_ = loss, described["metadata"]
        self.coef_, self.intercept_ = tensors["coef"], tensors["intercept"]
        self.classes_ = tensors["classes"] if "classes" in tensors else np.array(described["classes"])
        self.n_features_in_ = self.coef_.shape[1]
        if "class_weight" in described:
            weight = described["class_weight"]
            self.class_weight = weight if isinstance(weight, str) else dict(weight)
        if "feature_names" in described:
            self.feature_names_in_ = np.array(described["feature_names"], object)

    def _parameters(self) -> dict[str, Any]:
        """Parameters of a classifier that would have been fitted so, as JSON holds them."""
        raise NotImplementedError

    def _described(self) -> dict[str, Any]:
        described: dict[str, Any] = {"parameters": self._parameters(), "loss": describe(self._loss())}
        weight = self.class_weight
        if weight is not None:  # pairs: names of JSON's objects are text
            described["class_weight"] = weight if isinstance(weight, str) else [[_plain(k), float(w)] for k, w in weight.items()]
        if hasattr(self, "feature_names_in_"):
            described["feature_names"] = [str(name) for name in self.feature_names_in_]
        if hasattr(self, "result_"):
            kept = ("value", "gradient_norm", "passes", "iterations", "seconds")
            described["result"] = {name: getattr(self.result_, name) for name in kept} | {"status": self.result_.status.name}
        return described

    def _validated(self, call: str, X: Any, y: Any, *, reset: bool) -> tuple[Any, NDArray[Any]]:
        """X as the kernels read it and y (N,), by scikit-learn's rules; whether X is finite is seen in the first pass."""
        batch_in_memory(call, X)
        if hasattr(X, "shape") and hasattr(y, "shape") and len(X.shape) > 0 and len(y.shape) > 0 and X.shape[0] != y.shape[0]:
            arrays.refuse(f"{call}(y)", f"must have one label for each of the {X.shape[0]} rows of X", f"{y.shape[0]} labels", "align them")
        try:
            if isinstance(X, AbstractRowSource):
                y = column_or_1d(y)
            else:
                X, y = validate_data(self, X, y, reset=reset, accept_sparse="csr", dtype="numeric", ensure_all_finite=False)
            _as_classes(f"{call}(y)", y)
        except ValueError as error:
            arrays.label_in_each_row(f"{call}(y)", y)
            raise arrays.SoftgradError(f"{call}: {_in_one_line(error)}") from error
        return self._features(call, X, reset=reset), y

    def _features(self, call: str, X: Any, *, reset: bool) -> Any:
        """X as the kernels read it; of rows on disk, which scikit-learn's validation did not see, the number of features is noted."""
        if isinstance(X, AbstractRowSource) and reset:
            self.n_features_in_ = X.shape[1]
            self.__dict__.pop("feature_names_in_", None)
        elif X.shape[1] != self.n_features_in_:
            rule, came = f"must have {self.n_features_in_} features, as in fit", f"{X.shape[1]}"
            arrays.refuse(f"{call}(X)", rule, came, "read rows of the same kind")
        return arrays.features(f"{call}(X)", X)

    def _row_weights(self, call: str, sample_weight: Any, classes: NDArray[Any], numbers: NDArray[np.intp]) -> NDArray[np.float64]:
        r = arrays.row_weight(f"{call}(sample_weight)", sample_weight, len(numbers))
        r = np.ones(len(numbers)) if r is None else r
        if isinstance(weight := self.class_weight, str) and weight != "balanced":
            rule, do = "must be None, 'balanced' or a dict of weights by class", "choose one of them"
            arrays.refuse(f"{self._name}(class_weight)", rule, arrays.shown(weight), do)
        if weight is not None:
            try:
                with np.errstate(divide="ignore"):  # no row of a class counts
                    omega = compute_class_weight(weight, classes=classes, y=classes[numbers], sample_weight=r)
            except ValueError as error:
                raise arrays.SoftgradError(f"{self._name}(class_weight): {error}") from error
            omega[np.isinf(omega) & (np.bincount(numbers, r, len(classes)) == 0)] = 0.0
            arrays.class_weight(f"{self._name}(class_weight)", omega)
            r = r * omega[numbers]
        if not r.any():
            arrays.refuse(f"{call}(sample_weight)", "at least one row must count", "weights that are all zero", "weigh some row above zero")
        return r

    def _problem(self, X: Any, y: NDArray[Any], r: NDArray[np.float64], n_classes: int, l2: float) -> Problem:
        loss = self._loss()
        n_scores = self._n_scores(loss, n_classes)
        for phi in loss.scores:
            phi.fits(n_scores)
        if not isinstance(self.fit_intercept, bool | np.bool_):
            arrays.refuse(f"{self._name}(fit_intercept)", "must be True or False", arrays.shown(self.fit_intercept), "choose one")
        try:
            seed = 0 if self.random_state is None else int(check_random_state(self.random_state).randint(2**31 - 1))
        except ValueError as error:
            raise arrays.SoftgradError(f"{self._name}(random_state): {error}") from error
        y = y.astype(np.int64) if y.ndim == 1 else y
        return Problem(X, y, r, n_scores, loss, l2, bool(self.fit_intercept), seed)

    def _n_scores(self, loss: Loss, n_classes: int) -> int:
        """Rows of coefficients for so many classes."""
        if loss.link.classes(n_classes) != n_classes:
            came, do = f"{type(loss.link).__name__}, which has scores for more than the classes", "use softgrad.HierarchicalClassifier"
            arrays.refuse(f"{self._name}(loss)", "must score classes alone", came, do)
        return n_classes

    def _loss(self) -> Loss:
        if self.loss is not None and not isinstance(self.loss, Loss):
            rule = "must be a loss of softgrad.losses, or None"
            arrays.refuse(f"{self._name}(loss)", rule, arrays.shown(self.loss), "pass cross_entropy()")
        return cross_entropy() if self.loss is None else self.loss

    def _refuse_mining(self, call: str) -> None:
        """A rule that chooses rows of a batch makes a full pass's objective jump: a line search has no use for it."""
        mining = self._loss().mining
        if mining is not None:
            rule, do = "hard-example mining works on mini-batches", "use SoftmaxClassifier(solver=SGD(...)).fit"
            arrays.refuse(f"{self._name}.{call}(loss)", rule, type(mining).__name__, do)

    def _scores(self, call: str, X: Any) -> NDArray[Any]:
        check_is_fitted(self)
        try:
            if not isinstance(X, AbstractRowSource):
                X = validate_data(self, X, reset=False, accept_sparse="csr", dtype="numeric", ensure_all_finite=False)
        except ValueError as error:
            raise arrays.SoftgradError(f"{call}: {_in_one_line(error)}") from error
        X = self._features(call, X, reset=False)
        z = linear_scores(X, self.coef_, self.intercept_)
        if not np.isfinite(z).all():
            arrays.finite_features(f"{call}(X)", X)
        return z

    def _linked(self, link: Callable[[Loss, NDArray[Any]], NDArray[Any]], z: NDArray[Any]) -> NDArray[Any]:
        full = z if z.shape[1] > 1 else np.hstack([-z / 2, z / 2])  # as they were in training: not every loss forgives a shift
        return link(self._loss(), full.astype(np.float64))


def batch_in_memory(call: str, X: Any) -> None:
    """Refuse rows on disk where a batch is asked for."""
    if isinstance(X, AbstractRowSource) and call == "partial_fit":
        arrays.refuse(f"{call}(X)", "takes a batch of rows in memory", "rows on disk", "pass X[i:j], or call fit")


def class_log_probabilities(loss: Loss, z: Floats) -> Floats:
    """Logarithms of the probabilities of a row's one class (n, C): what a link says of each class by itself is divided by its sum."""
    logs = log_probabilities(loss, z)
    return log_softmax(logs) if loss.link.reads == "many" else logs


def class_probabilities(loss: Loss, z: Floats) -> Floats:
    """Probabilities of a row's one class (n, C)."""
    return softmax(log_probabilities(loss, z)) if loss.link.reads == "many" else probabilities(loss, z)


def _as_classes(argument: str, y: Any) -> None:
    """scikit-learn's check of labels, which sorts them."""
    try:
        check_classification_targets(y)
    except TypeError:
        arrays.label_in_each_row(argument, y)
        do = "turn all into text, or all into numbers"
        arrays.refuse(argument, "must hold labels that can be sorted", "some of another kind", do)


def _in_one_line(error: ValueError) -> str:
    """scikit-learn's words, without the arrays that it prints below them."""
    lines = str(error).splitlines()
    return " ".join(line for line in lines if not line.lstrip().startswith(("[", "array=")))


def _plain(label: Any) -> Any:
    """A label as JSON holds it."""
    return label.item() if isinstance(label, np.generic) else label


def one_row(loss: Loss, n_classes: int) -> bool:
    """Whether two classes need but one row of coefficients: where only the difference of their scores counts."""
    return n_classes == 2 and loss.shift_invariant


def as_softmax(problem: Problem, start: Start | None) -> tuple[Problem, Start | None]:
    """Two classes: one row w with penalty l2/2 |w|^2 is the softmax of rows -w/2, w/2 with penalty 2 l2/2 (|w/2|^2 + |w/2|^2)."""
    single = one_row(problem.loss, problem.n_classes)
    if start is not None and start[0].shape != (1 if single else problem.n_classes, problem.X.shape[1]):
        start = None  # other classes or features than before: begin anew
    if not single:
        return problem, start
    halves = None if start is None else (np.vstack([-start[0] / 2, start[0] / 2]), np.concatenate([-start[1] / 2, start[1] / 2]))
    return replace(problem, l2=2 * problem.l2), halves


def as_one_row(coef: NDArray[Any], intercept: NDArray[Any], loss: Loss) -> Start:
    """coef_ and intercept_ as scikit-learn lays them out."""
    return (coef[1:] - coef[:1], intercept[1:] - intercept[:1]) if one_row(loss, len(coef)) else (coef, intercept)
