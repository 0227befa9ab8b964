"""Trees of classes and the losses over them, beside the laws of the family: identities, accuracy, probabilities that sum up."""

import mpmath
import numpy as np
import pytest
from family import TREE

import softgrad
from softgrad import losses

FLAT = losses.Tree((-1,) * 5)
M, C = len(TREE.parents), len(TREE.leaves)


def test_a_tree_is_what_its_parents_say():
    assert TREE.leaves.tolist() == [2, 5, 6, 7, 8, 9]
    assert TREE.depth.tolist() == [0, 0, 1, 1, 1, 0, 2, 2, 2, 2]
    assert TREE.height.tolist() == [2, 2, 0, 1, 1, 0, 0, 0, 0, 0]
    assert TREE.paths.tolist() == [[0, 2, -1], [5, -1, -1], [0, 3, 6], [0, 3, 7], [1, 4, 8], [1, 4, 9]]
    assert TREE.distance([0, 2, 2, 2, 1], [0, 3, 0, 4, 5]).tolist() == [0, 2, 3, 6, 4]


def test_trees_grow_from_paths():
    tree = losses.Tree.of_paths(["b/x", "a", ("b", "y", 7), ["b", "y", 8]])
    assert tree.parents == (-1, 0, -1, 0, 3, 3)
    assert tree.leaves.tolist() == [1, 2, 4, 5]


@pytest.mark.parametrize(("make", "rule"), [
    (lambda: losses.Tree((-1, 1)), "parent of node 1.*got 1"),
    (lambda: losses.Tree((-1, -2)), "node before it"),
    (lambda: losses.Tree((-1, 0.5)), "got 0.5"),
    (lambda: losses.Tree((-1, 0, 1)), "two leaves"),
    (lambda: losses.Tree.of_paths(["a/b", "a"]), r"end at leaves.*\('a',\)"),
    (lambda: losses.Tree.of_paths(["a", "b", "a"]), "each at its own"),
    (lambda: losses.HXE(TREE, -0.1), "alpha"),
    (lambda: losses.compose(losses.HXE(TREE))(np.zeros((1, 3)), [0]), "each of the tree's 6 leaves; got 3"),
    (lambda: losses.compose(losses.HierarchicalSoftmax(TREE))(np.zeros((1, 6)), [0]), "each of the tree's 10 nodes; got 6"),
])  # fmt: skip
def test_what_is_no_tree_is_refused(make, rule):
    with pytest.raises(softgrad.SoftgradError, match=rule):
        make()


@pytest.mark.parametrize("link", [losses.HierarchicalSoftmax(FLAT), losses.HXE(FLAT, 0.7), losses.HXE((-1, -1, 0, 0, -1, 1, 1), 0.0)])
@pytest.mark.parametrize("parts", [(), (losses.Smoothed(0.2), losses.Weights((0.5, 2.0, 1.0, 0.0, 3.0)), losses.Temperature(0.7))])
def test_one_level_or_no_weight_above_it_is_cross_entropy(link, parts):
    rng = np.random.default_rng(3)
    z, v = 3 * rng.normal(size=(9, 5)), rng.normal(size=(9, 5))
    for y in (rng.integers(5, size=9), rng.dirichlet(np.ones(5), 9)):
        loss, plain = losses.compose(link, *parts), losses.compose(*parts)
        (value, g), (expected, G) = loss.value_and_grad(z, y), plain.value_and_grad(z, y)
        assert value == pytest.approx(expected, rel=1e-14)
        np.testing.assert_allclose(g, G, rtol=1e-12, atol=1e-16)
        np.testing.assert_allclose(loss.hessian_product(z, y, v), plain.hessian_product(z, y, v), rtol=1e-10, atol=1e-15)


@pytest.mark.parametrize("alpha", [0.0, 0.1, 0.6])
def test_hxe_is_the_papers_sum_over_the_path(alpha):
    """-sum_n lambda_n log P(n | its parent), P by sums of the softmax over leaves."""
    rng = np.random.default_rng(4)
    z, y = 2 * rng.normal(size=(20, C)), rng.integers(C, size=20)
    P = np.column_stack([TREE.sums(softgrad.softmax(z)), np.ones(20)])  # the root's last, at -1
    expected = np.zeros(20)
    for i, k in enumerate(y):
        for n in TREE.paths[k][TREE.paths[k] >= 0]:
            expected[i] -= np.exp(-alpha * TREE.height[n]) * np.log(P[i, n] / P[i, TREE.parents[n]])
    np.testing.assert_allclose(losses.compose(losses.HXE(TREE, alpha))(z, y, reduction="none"), expected, rtol=1e-12)


def test_hierarchical_softmax_is_minus_log_of_its_probability():
    rng = np.random.default_rng(5)
    link, z, y = losses.HierarchicalSoftmax(TREE), 2 * rng.normal(size=(20, M)), rng.integers(C, size=20)
    u = z, np.zeros_like(z)
    logs = link.log_probabilities(u)
    np.testing.assert_allclose(losses.compose(link)(z, y, reduction="none"), -logs[np.arange(20), y], rtol=1e-13)
    np.testing.assert_allclose(np.exp(logs), link.probabilities(u), rtol=1e-13)


@pytest.mark.parametrize(("link", "n_scores"), [(losses.HierarchicalSoftmax(TREE), M), (losses.HXE(TREE, 0.3), C)])
def test_probabilities_sum_up_along_the_tree(link, n_scores):
    z = 5 * np.random.default_rng(6).normal(size=(30, n_scores))
    P = link.node_probabilities((z, np.zeros_like(z)))
    for j in {-1, *TREE.parents}:
        children = [k for k, p in enumerate(TREE.parents) if p == j]
        np.testing.assert_allclose(P[:, children].sum(axis=1), 1.0 if j < 0 else P[:, j], rtol=1e-13)
    np.testing.assert_allclose(link.probabilities((z, np.zeros_like(z))), P[:, TREE.leaves], rtol=1e-13)


@pytest.mark.parametrize("margin", [5.0, 40.0, 300.0])
@pytest.mark.parametrize(("link", "n_scores"), [(losses.HierarchicalSoftmax(TREE), M), (losses.HXE(TREE, 0.3), C)])
def test_confident_rows_keep_their_digits(link, n_scores, margin):
    """Against 200 digits: loss and gradient to a few units in the last place, where they are 1e-130 too."""
    z, y = np.random.default_rng(7).normal(size=n_scores), 3
    z[[0, 3, 7] if n_scores == M else [3]] += margin
    value, g = losses.compose(link).value_and_grad(z[None], [y])
    groups = link.groups
    with mpmath.workdps(200):
        total, gradient = mpmath.mpf(0), [mpmath.mpf(0)] * n_scores
        for e, s in zip(groups.entries[y], groups.shares[y], strict=True):
            k = int(np.searchsorted(groups.starts, e, side="right")) - 1
            columns = groups.columns[groups.starts[k] : groups.starts[k + 1]]
            exps = {int(j): mpmath.exp(mpmath.mpf(float(z[j]))) for j in columns}
            mine, all_of_it = exps[int(groups.columns[e])], sum(exps.values())
            total += mpmath.mpf(float(s)) * mpmath.log(all_of_it / mine)
            for j, x in exps.items():
                gradient[j] += mpmath.mpf(float(s)) * (x / all_of_it - (j == int(groups.columns[e])))
        assert value == pytest.approx(float(total), rel=1e-14)
        np.testing.assert_allclose(g[0], [float(x) for x in gradient], rtol=2e-14)


def test_classes_that_cannot_be():
    loss, z = losses.compose(losses.HierarchicalSoftmax(TREE)), np.zeros((1, M))
    z[0, 7] = -np.inf
    assert loss(z, [2]) == pytest.approx(np.log(3 * 2))  # of three at the top, of two below, alone at the end
    assert loss(z, [3]) == np.inf
    z[0, 6] = -np.inf  # nothing is left under node 3
    with pytest.raises(softgrad.SoftgradError, match="at least one finite score"):
        loss(z, [0])


def test_sigmoid_of_a_difference_is_a_tree_of_two():
    loss = losses.compose(losses.HierarchicalSoftmax((-1, -1)))
    assert loss([[2.0, 0.5]], [1]) == pytest.approx(np.log1p(np.exp(1.5)), rel=1e-15)
