"""Linear classifiers that one solver takes to one optimum: what they check, and what a fit leaves behind."""

from __future__ import annotations

import math
import os
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
from sklearn.exceptions import ConvergenceWarning

from softgrad import arrays
from softgrad.checkpoint import keep
from softgrad.descent import Descent, Point
from softgrad.linear_classifier import AbstractLinearClassifier
from softgrad.progress import Bar
from softgrad.solvers.lbfgs import LBFGS
from softgrad.solvers.sgd import SGD
from softgrad.solvers.solver import AbstractSolver, Callback, State, Status
from softgrad.training import Fit, Problem, Start, Steps, fit, step

KINKS = "a loss with kinks has no gradient that vanishes at its optimum: the lowest point is kept; raise max_iter, or use solver=SGD(...)"
ROUGH = "centre the features and scale them to similar ranges, or pass them in float64"
FAR = 1000  # times tol: a gradient that cannot be made smaller is worth a word


class AbstractSolvedClassifier(AbstractLinearClassifier):
    """Parameters of a fit, checked; the fit; coef_, intercept_, result_, loss_curve_ and n_iter_ from it."""

    C: float
    solver: AbstractSolver | SGD | str
    tol: float
    max_iter: int
    warm_start: bool
    verbose: int
    callback: Callable[[State], None] | None
    checkpoint: str | os.PathLike[str] | None = None
    resume: bool = False
    loss_curve_: list[float]
    _steps = Steps()  # of partial_fit

    def _parameters(self) -> dict[str, Any]:
        plain = ("fit_intercept", "tol", "max_iter", "warm_start")
        return {"C": str(self.C)} | {name: getattr(self, name) for name in plain}  # as text, since JSON has no inf

    def _checked(self) -> tuple[float, AbstractSolver | SGD]:
        unpenalised = isinstance(self.C, float) and math.inf == self.C
        C = math.inf if unpenalised else arrays.number(f"{self._name}(C)", self.C, 0, open_low=True)
        tol = arrays.number(f"{self._name}(tol)", self.tol, 0, open_low=True)
        max_iter = arrays.whole(f"{self._name}(max_iter)", self.max_iter, 1)
        if self.checkpoint is not None and not isinstance(self.solver, SGD):
            do = "use SoftmaxClassifierCV with one C, or solver=SGD(...)"
            arrays.refuse(f"{self._name}(checkpoint)", "keeps the state of a training by SGD", f"solver={arrays.shown(self.solver)}", do)
        if isinstance(self.solver, AbstractSolver | SGD):
            return C, self.solver
        if self.solver not in ("auto", "lbfgs"):
            rule = "must be 'auto', 'lbfgs' or a solver"
            arrays.refuse(f"{self._name}(solver)", rule, arrays.shown(self.solver), "choose one of these")
        return C, LBFGS(tol=tol, max_iter=max_iter)

    @property
    def _start(self) -> Start | None:
        return (self.coef_, self.intercept_) if self.warm_start and hasattr(self, "coef_") else None

    def _solve(self, problem: Problem, solver: AbstractSolver | SGD, start: Start | None) -> None:
        """Fit, and keep what was found."""
        if not isinstance(solver, SGD):
            self._refuse_mining("fit")
        found = self._trained(problem, solver, start)
        if not np.isfinite(found.result.value):
            arrays.finite_features("fit(X)", problem.X, problem.r)
        self.result_ = found.result
        self.coef_, self.intercept_ = self._laid_out(found)
        self.loss_curve_ = [state.value for state in found.result.trace]
        self.n_iter_ = np.array([max(1, found.result.iterations)], np.int32)
        if found.result.advice or self._is_rough():
            self._warn(problem)

    def _step(self, problem: Problem, start: Start | None) -> Start:
        """Coefficients after a stochastic step on a batch."""
        coef, intercept, steps = step(problem, start, self._steps)
        if not np.isfinite(coef).all():
            arrays.finite_features("partial_fit(X)", problem.X, problem.r)
        self._steps, self.n_iter_ = steps, np.array([steps.count], np.int32)
        return coef, intercept

    def _laid_out(self, found: Fit) -> Start:
        """coef_ and intercept_ of a fit: a row for every score."""
        return found.coef, found.intercept

    def _trained(self, problem: Problem, solver: AbstractSolver | SGD, start: Start | None) -> Fit:
        bar = Bar(self.tol, self.callback) if self.verbose else None
        callback = self.callback if bar is None else bar
        try:
            if not isinstance(solver, SGD):
                return self._fitted(problem, solver, start, callback)
            descent = Descent(problem, [Point(problem.l2)], solver, start, callback and (lambda _, state: callback(state)))
            keep(self.checkpoint, descent, resumed=self.resume)
            return descent.run()[0]
        finally:
            if bar is not None:
                bar.clear()

    def _fitted(self, problem: Problem, solver: AbstractSolver, start: Start | None, callback: Callback | None) -> Fit:
        return fit(problem, solver, start, callback)

    def _is_rough(self) -> bool:
        return self.result_.status is Status.PRECISION and self.result_.gradient_norm > FAR * self.tol

    def _warn(self, problem: Problem) -> None:
        result = self.result_
        advice = result.advice if problem.loss.link.smooth or isinstance(self.solver, SGD) else KINKS
        advice = ROUGH if self._is_rough() else advice
        message = f"{self._name} stopped after {result.passes} passes: {result.status.value} (gradient {result.gradient_norm:.1e}); "
        warnings.warn(message + advice, ConvergenceWarning, stacklevel=4)
