"""SoftmaxClassifierCV: the strength of the penalty chosen by cross-validation, all strengths and folds in shared passes."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn import get_config
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import get_scorer
from sklearn.model_selection import check_cv
from sklearn.utils import Bunch
from sklearn.utils.metadata_routing import MetadataRouter, MethodMapping, process_routing

from softgrad import arrays
from softgrad.checkpoint import keep
from softgrad.held_out import Scoring, scoring_for
from softgrad.linear_classifier import AbstractLinearClassifier, as_one_row, as_softmax, one_row
from softgrad.losses.loss import Loss
from softgrad.path import LaneState, Path
from softgrad.progress import Bar
from softgrad.solvers.lbfgs import LBFGS
from softgrad.training import Fit, Problem, fit

GAP = 3e-6  # relative decrease that the next step may still promise at the end of a fit: scores of held-out rows are right to 3e-4 then


class SoftmaxClassifierCV(AbstractLinearClassifier):
    """Linear softmax classifier whose penalty is chosen by cross-validation, for little more than the price of one fit.

    C_ = argmax_C mean_j score(W_Cj, rows held out by fold j),   W_Cj = argmin 1/S_j sum_i r_ij L(W x_i + b, y_i) + 1/(2 C S_j) |W|^2

    Parameters: Cs, values of C > 0, or how many between 1e-4 and 1e4 on a logarithmic scale; cv, number of stratified folds, a splitter of
    scikit-learn, or (train, test) pairs of row numbers: one pair for a hold-out, all rows twice for the bare path of fits; scoring
    "neg_log_loss" (a row of log-probability -inf counts as such), "accuracy" (also None), any scorer name of scikit-learn or
    callable(model, X, y); refit, fit the chosen C to all rows, else average the folds' own best coefficients; early_stopping, leave out
    weaker penalties once the mean score has fallen twice in a row by more than its standard error below the best; checkpoint, a file that
    keeps the state, resume, go on from it; the others as for `SoftmaxClassifier`. callback(state) is called after each step of each fit,
    with k (number of C, ascending), j (fold), passes, value, gradient_norm, seconds. Ctrl-C ends the search with the best so far, once all
    folds of a strength are done: the mean of its folds' coefficients.
    Attributes: C_; Cs_ (K,); scores_ (folds, K), NaN for those left out; coefs_paths_ (folds, K, C or 1, D + 1 with the intercept last);
    n_iter_ (folds, K); path_, a table by columns, for `pandas.DataFrame(path_)`; coef_, intercept_, classes_; result_ of the last fit;
    passes_, those over the rows that all fits shared; interrupted_.
    Raises SoftgradError for bad input; warns ConvergenceWarning. Reference: Hastie, Tibshirani & Friedman 2009, section 7.10.

    >>> import softgrad
    >>> from sklearn.datasets import load_iris
    >>> X, y = load_iris(return_X_y=True)
    >>> model = softgrad.SoftmaxClassifierCV(Cs=[0.01, 1.0, 100.0], cv=5).fit(X, y)
    >>> print(model.C_, model.scores_.shape)
    100.0 (5, 3)
    """

    def __init__(
        self,
        Cs: int | Iterable[float] = 10,
        *,
        cv: Any = 5,
        scoring: Any = "neg_log_loss",
        refit: bool = True,
        fit_intercept: bool = True,
        class_weight: Mapping[Any, float] | str | None = None,
        loss: Loss | None = None,
        tol: float = 1e-4,
        max_iter: int = 500,
        early_stopping: bool = False,
        random_state: Any = None,
        verbose: int = 0,
        callback: Callable[[LaneState], None] | None = None,
        checkpoint: str | os.PathLike[str] | None = None,
        resume: bool = False,
    ):
        self.Cs = Cs
        self.cv = cv
        self.scoring = scoring
        self.refit = refit
        self.fit_intercept = fit_intercept
        self.class_weight = class_weight
        self.loss = loss
        self.tol = tol
        self.max_iter = max_iter
        self.early_stopping = early_stopping
        self.random_state = random_state
        self.verbose = verbose
        self.callback = callback
        self.checkpoint = checkpoint
        self.resume = resume

    def fit(self, X: Any, y: ArrayLike, sample_weight: ArrayLike | None = None, **params: Any) -> Self:
        """Choose C and take the classifier to its optimum on X (N, D), labels y (N,) of any type, weights (N,) or None.

        params are routed to the splitter (groups) and to the scorer, as scikit-learn's metadata routing says.
        """
        Cs, solver = self._checked()
        self._refuse_mining("fit")
        X, y = self._validated("fit", X, y, reset=True)
        classes, numbers = arrays.classes("fit(y)", y)
        r = self._row_weights("fit", sample_weight, classes, numbers)
        given = None if sample_weight is None else np.asarray(sample_weight, float)
        routed = self._routed("fit", params | ({} if sample_weight is None else {"sample_weight": given}))
        folds = self._folds(X, y, routed.splitter.split)
        problem = self._problem(X, numbers, r, len(classes), 0.0)
        scoring = scoring_for(self.scoring, problem, classes, y, routed.scorer.score)
        self.classes_, self.Cs_ = classes, Cs
        search = _Search(problem, folds, Cs, scoring, bool(self.early_stopping))
        search.tell_missing(self._name, classes)
        path = self._run(search, solver)
        self._told(path, search)
        self._chosen(path, search, solver)
        self._warn(path)
        return self

    def score(self, X: Any, y: ArrayLike, sample_weight: ArrayLike | None = None, **params: Any) -> float:
        """The score that `scoring` names, on X and y."""
        given = params | ({} if sample_weight is None else {"sample_weight": sample_weight})
        scorer = get_scorer(self.scoring or "accuracy")
        return scorer(self, X, y, **self._routed("score", given).scorer.score)

    def get_metadata_routing(self) -> MetadataRouter:
        """Who takes which of the params of fit and score: the splitter and the scorer."""
        router = MetadataRouter(owner=self).add_self_request(self)
        router.add(splitter=check_cv(self.cv), method_mapping=MethodMapping().add(caller="fit", callee="split"))
        mapping = MethodMapping().add(caller="fit", callee="score").add(caller="score", callee="score")
        return router.add(scorer=get_scorer(self.scoring or "accuracy"), method_mapping=mapping)

    def _routed(self, call: str, params: dict[str, Any]) -> Any:
        if get_config()["enable_metadata_routing"]:
            return process_routing(self, call, **params)
        if strange := set(params) - {"sample_weight"}:
            do = "call sklearn.set_config(enable_metadata_routing=True) first"
            arrays.refuse(f"{call}({min(strange)})", "needs scikit-learn's metadata routing", "routing switched off", do)
        return Bunch(splitter=Bunch(split={}), scorer=Bunch(score=params))

    def _checked(self) -> tuple[NDArray[np.float64], LBFGS]:
        name = self._name
        if isinstance(self.Cs, int | np.integer):
            Cs = np.logspace(-4, 4, arrays.whole(f"{name}(Cs)", self.Cs, 1))
        else:
            Cs = arrays.floats(f"{name}(Cs)", list(self.Cs)).astype(float)
        if Cs.size == 0 or Cs.ndim != 1 or not (Cs > 0).all():
            came = "none" if Cs.size == 0 else f"shape {Cs.shape}" if Cs.ndim != 1 else arrays.shown(Cs[~(Cs > 0)][0])
            arrays.refuse(f"{name}(Cs)", "must hold at least one value, all above 0", came, "pass how many, or their values")
        tol = arrays.number(f"{name}(tol)", self.tol, 0, open_low=True)
        max_iter = arrays.whole(f"{name}(max_iter)", self.max_iter, 1)
        return Cs, LBFGS(tol=tol, max_iter=max_iter, gap=GAP)

    def _folds(self, X: Any, y: NDArray[Any], params: Mapping[str, Any]) -> list[tuple[NDArray[np.intp], NDArray[np.intp]]]:
        splitter: Any = check_cv(self.cv, y, classifier=True)
        try:
            folds = [(np.asarray(train), np.sort(test)) for train, test in splitter.split(X, y, **params)]
        except ValueError as error:
            raise arrays.SoftgradError(f"{self._name}(cv): {error}") from error
        for j, (train, test) in enumerate(folds):
            for part, rows in (("training", train), ("held-out", test)):
                if len(rows) == 0 or rows.dtype.kind not in "iu" or rows.min() < 0 or rows.max() >= len(y):
                    rule = f"a fold's {part} rows must be at least one row number from 0 to {len(y) - 1}"
                    arrays.refuse(f"{self._name}(cv)", rule, f"{arrays.shown(rows)} in fold {j}", "check the split")
        if not folds:
            arrays.refuse(f"{self._name}(cv)", "must give at least one (train, test) pair", "none", "pass at least one")
        return folds

    def _run(self, search: _Search, solver: LBFGS) -> Path:
        bar = Bar(solver.tol, self.callback, total=search.l2.size)
        callback = bar if self.verbose else self.callback
        path = Path(search.lanes, search.R, search.l2, solver, callback, search.ended)
        search.path = path
        keep(self.checkpoint, path, resumed=self.resume)
        keeper = path.after

        def after(path: Path) -> None:
            bar.done = len(path.fits)
            if keeper is not None:
                keeper(path)

        path.after = after
        try:
            path.run()
        finally:
            if self.verbose:
                bar.clear()
        return path

    def _told(self, path: Path, search: _Search) -> None:
        """The attributes that tell of all fits."""
        K, F = search.l2.shape
        shape = (F, K, 1 if one_row(self._loss(), len(self.classes_)) else len(self.classes_), self.n_features_in_ + 1)
        self.scores_, self.n_iter_ = np.full((F, K), np.nan), np.zeros((F, K), np.int32)
        self.coefs_paths_ = np.full(shape, np.nan)
        columns = {name: np.full(K, np.nan) for name in ("passes", "loss", "gradient_norm", "seconds")}
        converged, order = np.zeros(K, bool), search.order
        for k in range(path.last + 1):
            found = [path.fits[k, j] for j in range(F)]
            for j, one in enumerate(found):
                coef, intercept = as_one_row(one.coef, one.intercept, self._loss())
                self.coefs_paths_[j, order[k]] = np.column_stack([coef, intercept])
                self.n_iter_[j, order[k]] = one.result.iterations
            self.scores_[:, order[k]] = search.scores[k]
            for name, of in (("passes", "passes"), ("loss", "value"), ("gradient_norm", "gradient_norm"), ("seconds", "seconds")):
                columns[name][order[k]] = np.mean([getattr(one.result, of) for one in found])
            converged[order[k]] = all(one.result.converged for one in found)
        mean, spread = self.scores_.mean(axis=0), self.scores_.std(axis=0)
        self.path_ = {"C": self.Cs_.copy(), "mean_score": mean, "std_score": spread, **columns, "converged": converged}
        self.passes_ = path.passes

    def _warn(self, path: Path) -> None:
        self.interrupted_ = path.interrupted
        if path.interrupted:
            warnings.warn(f"{self._name} was interrupted: the best of {path.last + 1} values of C so far", ConvergenceWarning, stacklevel=3)
        late = [fit.result for (k, _), fit in path.fits.items() if k <= path.last and not fit.result.converged]
        if late:
            message = f"{self._name}: {len(late)} of {len(path.fits)} fits ended early: {late[0].status.value}; {late[0].advice}"
            warnings.warn(message, ConvergenceWarning, stacklevel=3)

    def _chosen(self, path: Path, search: _Search, solver: LBFGS) -> None:
        """C_ and the coefficients."""
        F, scores = search.R.shape[1], np.array(search.scores)  # (K, F), ascending C
        at = np.full(F, np.argmax(scores.mean(axis=1))) if self.refit else scores.argmax(axis=0)
        fits = [path.fits[int(k), j] for j, k in enumerate(at)]
        self.C_ = float(np.mean(self.Cs_[search.order[at]]))
        mean = np.mean([one.coef for one in fits], axis=0), np.mean([one.intercept for one in fits], axis=0)
        found = Fit(*mean, fits[0].result)
        if self.refit and not path.interrupted:
            problem = replace(search.problem, l2=1 / (self.C_ * float(search.problem.r.sum())))
            try:
                problem, start = as_softmax(problem, as_one_row(*mean, self._loss()))
                found = fit(problem, solver, start, seen=path.seen if path.problem.X is problem.X else None)
            except KeyboardInterrupt:
                path.interrupted = True
        self.result_ = found.result
        self.coef_, self.intercept_ = as_one_row(found.coef, found.intercept, self._loss())
        if not np.isfinite(self.coef_).all():
            arrays.finite_features("fit(X)", search.problem.X, search.problem.r)

    def _parameters(self) -> dict[str, Any]:
        return {"C": str(self.C_), "fit_intercept": self.fit_intercept, "tol": self.tol, "max_iter": self.max_iter, "warm_start": False}


@dataclass
class _Search:
    """The lanes of a search, the strongest penalty first, and the scores of those that are complete."""

    problem: Problem
    folds: list[tuple[NDArray[np.intp], NDArray[np.intp]]]
    Cs: NDArray[np.float64]
    scoring: Scoring
    early: bool
    path: Path | None = None

    def __post_init__(self) -> None:
        n = len(self.problem.r)
        self.order = np.argsort(self.Cs, kind="stable")
        self.R = np.stack([self.problem.r * np.bincount(train, minlength=n) for train, _ in self.folds], axis=1)
        S = self.R.sum(axis=0)
        if not S.all():
            came = f"fold {int((S == 0).argmax())}, where all weights are 0"
            arrays.refuse("fit(sample_weight)", "at least one training row of each fold must count", came, "weigh some above zero")
        self.lanes, _ = as_softmax(replace(self.problem, r=self.R.max(axis=1)), None)
        self.l2 = 1 / (self.Cs[self.order][:, None] * S) * (2 if one_row(self.problem.loss, self.problem.n_classes) else 1)
        self.scores: list[NDArray[np.float64]] = []

    def tell_missing(self, name: str, classes: NDArray[Any]) -> None:
        """Warn of classes that a fold does not train on, and others do."""
        counts = [np.bincount(self.problem.y, weights=r, minlength=len(classes)) for r in (self.problem.r, *self.R.T)]
        for j, count in enumerate(counts[1:]):
            if (missing := (count == 0) & (counts[0] > 0)).any():
                which = arrays.shown(classes[missing][0])
                warnings.warn(f"{name}: fold {j} trains without class {which}, which it then holds impossible", UserWarning, stacklevel=4)

    def ended(self, k: int) -> bool:
        """Score a strength that is complete; whether weaker ones are wanted."""
        assert self.path is not None
        fits = [self.path.fits[k, j] for j in range(len(self.folds))]
        if not all(np.isfinite(one.result.value) for one in fits):
            arrays.finite_features("fit(X)", self.problem.X, self.problem.r)
        self.scores.append(np.array([self.scoring(one, test) for one, (_, test) in zip(fits, self.folds, strict=True)]))
        return not (self.early and peaked(np.array(self.scores)))


def peaked(scores: NDArray[np.float64]) -> bool:
    """Whether the last two strengths lie below the best by more than the standard error of the folds' differences to it."""
    best = int(scores.mean(axis=1).argmax())
    if len(scores) - best < 3:
        return False
    fall = scores[best] - scores[-2:]  # (2, F)
    error = fall.std(axis=1, ddof=1) / np.sqrt(scores.shape[1]) if scores.shape[1] > 1 else np.zeros(2)
    return bool((fall.mean(axis=1) > error).all())
