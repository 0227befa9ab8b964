"""Scores of rows that a fold holds out. Log loss and accuracy come straight from the scores; anything else asks scikit-learn's scorer."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import get_scorer, make_scorer

from softgrad.arrays import SoftgradError
from softgrad.kernels.tiled import linear_scores
from softgrad.linear_classifier import AbstractLinearClassifier, as_one_row, class_log_probabilities
from softgrad.losses.loss import Loss
from softgrad.training import Fit, Problem

Scoring = Callable[[Fit, NDArray[np.intp]], float]


def scoring_for(scoring: Any, problem: Problem, classes: NDArray[Any], y: NDArray[Any], params: Mapping[str, Any]) -> Scoring:
    """score(fit, rows) by the name or scorer that was asked for; params are the scorer's, sample_weight among them."""
    weight = params.get("sample_weight")
    if scoring in ("neg_log_loss", "accuracy", None) and set(params) <= {"sample_weight"}:
        return Plain(problem, weight, neg_log_loss if scoring == "neg_log_loss" else accuracy)
    return Asked(_with_labels(get_scorer(scoring), classes), problem, classes, y, params)


def neg_log_loss(loss: Loss, z: NDArray[Any], y: NDArray[np.int64]) -> NDArray[np.float64]:
    """log p_y of each row."""
    return class_log_probabilities(loss, z.astype(np.float64))[np.arange(len(y)), y]


def accuracy(loss: Loss, z: NDArray[Any], y: NDArray[np.int64]) -> NDArray[np.float64]:  # noqa: ARG001 - one signature for both
    """1 for each row whose largest score is that of its class."""
    return (z.argmax(axis=1) == y).astype(np.float64)


@dataclass(frozen=True)
class Plain:
    """A weighted mean over rows of what their scores say; no copy of X, no probabilities."""

    problem: Problem
    weight: NDArray[np.float64] | None
    of: Callable[[Loss, NDArray[Any], NDArray[np.int64]], NDArray[np.float64]]

    def __call__(self, fit: Fit, rows: NDArray[np.intp]) -> float:
        """The mean over those rows."""
        z = linear_scores(self.problem.X, fit.coef, fit.intercept, rows)
        weight = None if self.weight is None else self.weight[rows]
        if weight is not None and not weight.any():
            return float("nan")
        return float(np.average(self.of(self.problem.loss, z, self.problem.y[rows]), weights=weight))


class FoldModel(AbstractLinearClassifier):
    """One fit of one fold, as scikit-learn's scorers want to see it; X are numbers of rows, where these lie elsewhere."""

    elsewhere: Any = None

    def __init__(self, loss: Loss | None = None):
        self.loss = loss

    def fit(self, X: Any, y: Any) -> FoldModel:
        """It is fitted already."""
        return self

    def _scores(self, call: str, X: Any) -> NDArray[Any]:
        return super()._scores(call, X) if self.elsewhere is None else linear_scores(self.elsewhere, self.coef_, self.intercept_, X)


@dataclass(frozen=True)
class Asked:
    """scorer(model, X, y) on the rows held out."""

    scorer: Callable[..., float]
    problem: Problem
    classes: NDArray[Any]
    y: NDArray[Any]
    params: Mapping[str, Any]

    def __call__(self, fit: Fit, rows: NDArray[np.intp]) -> float:
        """What the scorer says of those rows. On disk they stay there, where the scorer asks for nothing but what a model says of them."""
        model, named = FoldModel(self.problem.loss), hasattr(self.scorer, "_score_func")
        model.classes_, model.n_features_in_ = self.classes, self.problem.X.shape[1]
        model.coef_, model.intercept_ = as_one_row(fit.coef, fit.intercept, self.problem.loss)
        model.elsewhere = self.problem.X if self.problem.on_disk and named else None
        params = {name: self.part(value, rows) for name, value in self.params.items()}
        X = rows if model.elsewhere is not None else self.problem.X[rows]
        try:
            return float(self.scorer(model, X, self.y[rows], **params))
        except ValueError as error:
            raise SoftgradError(f"scoring: {error}") from error

    def part(self, value: Any, rows: NDArray[np.intp]) -> Any:
        """The rows of a parameter that has one entry for each."""
        return np.asarray(value)[rows] if hasattr(value, "__len__") and len(value) == len(self.y) else value


def _with_labels(scorer: Any, classes: NDArray[Any]) -> Any:
    """The scorer with all classes named, where it can be told: a fold's held-out rows may lack some.

    A scorer has no public way to be given `labels`; scikit-learn's own LogisticRegressionCV takes it apart in the same manner.
    """
    takes = inspect.signature(scorer._score_func).parameters if hasattr(scorer, "_score_func") else {}  # noqa: SLF001
    if "labels" not in takes:
        return scorer
    more = {"pos_label": classes[-1]} if len(classes) == 2 and "pos_label" in takes else {}
    return make_scorer(
        scorer._score_func,  # noqa: SLF001
        greater_is_better=scorer._sign == 1,  # noqa: SLF001
        response_method=scorer._response_method,  # noqa: SLF001
        **(more | {"labels": classes} | scorer._kwargs),  # noqa: SLF001
    )
