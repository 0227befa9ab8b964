"""A hierarchical softmax fitted node by node: the optimum, the value and the words of the fit as a whole."""

from dataclasses import replace

import numpy as np
import pytest
import scipy.sparse as sp

import softgrad
from softgrad import HierarchicalClassifier, losses, siblings, training
from softgrad.solvers.lbfgs import LBFGS
from softgrad.solvers.solver import Status

# Two inner nodes with two and three children, one that stands alone over two, and a leaf beside them.
TREE = losses.Tree.of_paths(["a/1", "a/2", "b/1", "b/2", "b/3", "c/d/1", "c/d/2", "e"])
TIGHT = LBFGS(tol=1e-9, max_iter=500)


def problem(make=np.asarray, n=240, seed=3):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, 12)) * (rng.uniform(size=(n, 12)) < 0.4)
    y = rng.permutation(np.arange(n) % 8)
    X[np.arange(n), y] += 1
    r = rng.uniform(0.2, 2, n) * (rng.uniform(size=n) < 0.9)
    return training.Problem(make(X), y, r, len(TREE.parents), losses.compose(losses.HierarchicalSoftmax(TREE)), 1e-2, True, 0)


@pytest.mark.parametrize("make", [np.asarray, sp.csr_array, sp.csr_matrix], ids=["dense", "array", "matrix"])
def test_same_optimum_as_all_nodes_at_once(make):
    whole = problem(make)
    together, apart = training.fit(whole, TIGHT), siblings.fit(whole, TREE, TIGHT, None, None)
    assert apart.result.status.converged
    assert apart.result.value == pytest.approx(together.result.value, rel=1e-12)
    np.testing.assert_allclose(apart.coef, together.coef, atol=1e-6)
    np.testing.assert_allclose(apart.intercept, together.intercept, atol=1e-6)
    objective = training.plain_objective(whole)
    value, gradient = objective.value_gradient(objective.from_users(apart.coef, apart.intercept))
    assert value == pytest.approx(apart.result.value, rel=1e-13)
    assert np.abs(gradient).max() <= TIGHT.tol


def test_every_number_of_threads_gives_the_same_bits(threads):
    alone = problem()
    with softgrad.threads.limit(1):
        one = siblings.fit(alone, TREE, TIGHT, None, None)
    found = siblings.fit(alone, TREE, TIGHT, None, None)
    assert (found.coef == one.coef).all()
    assert found.result.value == one.result.value


def test_a_warm_start_is_one_pass_and_the_curve_is_the_wholes():
    whole, told = problem(), []
    first = siblings.fit(whole, TREE, TIGHT, None, told.append)
    again = siblings.fit(whole, TREE, replace(TIGHT, tol=1e-8), (first.coef, first.intercept), None)
    assert (again.result.passes, again.result.iterations, len(again.result.trace)) == (1, 0, 1)
    values = [state.value for state in first.result.trace]
    zero = training.plain_objective(whole).value_gradient(np.zeros(first.coef.size + len(first.coef)))[0]
    assert values[0] == pytest.approx(zero, rel=1e-12)
    assert (np.diff(values) <= 1e-12).all()
    assert first.result.passes == first.result.trace[-1].passes
    assert len(told) == sum(1 for state in told if state.value <= zero) > len(values)


def test_nodes_with_nothing_to_tell_apart_stay_at_zero():
    whole = problem()
    found = siblings.fit(replace(whole, r=np.where(whole.y < 2, 0.0, whole.r)), TREE, TIGHT, None, None)
    nodes = np.asarray(TREE.parents)
    alone = [j for j in range(len(nodes)) if (nodes == nodes[j]).sum() == 1]
    under_a = TREE.leaves[:2]
    assert len(alone) == 1
    assert not found.coef[[*alone, *under_a]].any()
    assert found.coef[TREE.leaves[2:5]].any()


def test_the_worst_node_gives_the_status():
    assert siblings.fit(problem(), TREE, LBFGS(tol=1e-9, max_iter=2), None, None).result.status is Status.MAX_ITER


def test_bad_rows_are_named_by_their_number_among_all():
    whole = problem()
    y = np.array(["a/1", "a/2", "b/1", "b/2", "b/3", "c/d/1", "c/d/2", "e"])[whole.y]
    X = whole.X.copy()
    X[200, 3] = np.nan
    with pytest.raises(softgrad.SoftgradError, match="row 200"):
        HierarchicalClassifier().fit(X, y, np.where(np.arange(240) < 20, 0.0, 1.0))
    model = HierarchicalClassifier().fit(X, y, np.where(np.arange(240) == 200, 0.0, 1.0))  # never read
    assert np.isfinite(model.coef_).all()
