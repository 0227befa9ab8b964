"""Hierarchical softmax, node by node: the softmaxes of a tree share no coefficients, and a row belongs to those on its label's path alone.

    f(W) = 1/S sum_i s_i sum_{n above y_i} l_n(W_n x_i, child of n on the way to y_i) + l2/2 |W|^2
         = sum_n S_n/S f_n(W_n),    f_n = 1/S_n sum_{i under n} s_i l_n + l2/2 S/S_n |W_n|^2,    S_n = sum_{i under n} s_i

so the optima of all f_n are that of f, and each has a metric of its own. Of 16617 rows of text with 171 leaves one pass of f as a whole
took 3.4 s, most of it for nodes that a row has nothing to do with; all fits of f_n together took 10 s of processor time, not 165. Sparse
features that no row under a node has are left out there: their coefficients are 0.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from softgrad import arrays, threads, training
from softgrad.losses import Tree, cross_entropy
from softgrad.losses.tree import ROOT
from softgrad.solvers.lbfgs import LBFGS
from softgrad.solvers.solver import Callback, Result, State, Status
from softgrad.training import Fit, Problem, Start

WORST = [Status.CONVERGED, Status.PRECISION, Status.MAX_ITER, Status.LINE_SEARCH, Status.NOT_FINITE]

Numbers = NDArray[np.intp]


class Family(NamedTuple):
    """A node's children, the rows under it that count, and which child each of them goes to."""

    children: Numbers
    rows: Numbers
    child: Numbers


def fit(problem: Problem, tree: Tree, solver: LBFGS, start: Start | None, callback: Callback | None) -> Fit:
    """Take every node's softmax to its optimum. `callback` hears of one node after the other: its share of value and gradient."""
    began, S, (N, D) = time.perf_counter(), float(problem.r.sum()), problem.X.shape
    coef, intercept = np.zeros((problem.n_classes, D)), np.zeros(problem.n_classes)
    found: list[tuple[float, Result]] = []

    def one(family: Family) -> tuple[Family, Any, float, Fit]:
        children, rows, child = family
        X, r = problem.X if len(rows) == N else problem.X[rows], problem.r[rows]
        columns = slice(None)
        if not problem.dense:
            columns = np.unique(X.indices)
            X = X[:, columns]
        share = float(r.sum()) / S
        own = Problem(X, child, r, len(children), cross_entropy(), problem.l2 / share, problem.fit_intercept, problem.seed)
        begin = None if start is None else (start[0][children][:, columns], start[1][children])
        try:
            return family, columns, share, training.fit(own, solver, begin, _of_share(callback, share))
        except arrays.SoftgradError:
            arrays.finite_features("fit(X)", problem.X, problem.r)  # by the row's number among all
            raise

    with threads.blas(1):
        for family, columns, share, node in (map if callback else threads.in_order)(one, families(problem, tree)):
            coef[family.children[:, None], np.arange(D)[columns]], intercept[family.children] = node.coef, node.intercept
            found.append((share, node.result))
    return Fit(coef, intercept, _together(found, np.append(coef, intercept), time.perf_counter() - began))


def families(problem: Problem, tree: Tree) -> Iterator[Family]:
    """Those with something to tell apart: at least two children, and a row that counts."""
    counted, parents = np.flatnonzero(problem.r), np.asarray(tree.parents)
    rank = np.empty(len(parents), np.intp)  # of a node among its siblings
    children = {n: np.flatnonzero(parents == n) for n in np.unique(parents).tolist()}
    for siblings in children.values():
        rank[siblings] = np.arange(len(siblings))
    for steps in tree.paths[problem.y[counted]].T:  # the nodes of one depth on the way to each row's label
        on = steps != ROOT
        order = np.argsort(parents[steps[on]], kind="stable")
        rows, node = counted[on][order], steps[on][order]
        at, starts = np.unique(parents[node], return_index=True)
        for n, own_rows, own in zip(at.tolist(), np.split(rows, starts[1:]), np.split(node, starts[1:]), strict=True):
            if len(children[n]) > 1:
                yield Family(children[n], own_rows, rank[own])


def _of_share(callback: Callback | None, share: float) -> Callback | None:
    return None if callback is None else lambda state: callback(_scaled(state, share))


def _scaled(state: State, share: float) -> State:
    return replace(state, value=share * state.value, gradient_norm=share * state.gradient_norm)


def _together(found: list[tuple[float, Result]], theta: NDArray[np.float64], seconds: float) -> Result:
    """Step k of the whole is step k of every node, those that are done staying where they are; passes are the most of any node."""
    last = max(len(result.trace) for _, result in found)
    steps = [[_scaled(result.trace[min(k, len(result.trace) - 1)], share) for share, result in found] for k in range(last)]
    trace = tuple(
        State(
            max(s.passes for s in step), k, sum(s.value for s in step), max(s.gradient_norm for s in step), sum(s.seconds for s in step)
        )
        for k, step in enumerate(steps)
    )
    status = WORST[max(WORST.index(result.status) for _, result in found)]
    iterations = max(result.iterations for _, result in found)
    return Result(theta, trace[-1].value, status, trace[-1].gradient_norm, trace[-1].passes, iterations, seconds, trace)
