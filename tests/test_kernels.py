"""Every kernel against the reference, over all storage types and losses; and the linear head that users call."""

import numpy as np
import pytest
import scipy.sparse as sp
import zoo

import softgrad
from softgrad import kernels, threads, training
from softgrad.blocks.block import Block
from softgrad.blocks.memory import count, in_memory
from softgrad.kernels import native
from softgrad.kernels.reference import Reference
from softgrad.kernels.tiled import Tiled
from softgrad.losses import cross_entropy
from softgrad.losses.loss import schedules
from softgrad.solvers.lbfgs import LBFGS

KERNELS = (*kernels.KERNELS, Reference())
PLAIN = zoo.loss("plain", 3)
ABLE = [(k, f) for k in KERNELS for f in zoo.FEATURES if not k.refuses(zoo.features(f, 2, 2, np.random.default_rng(0)), 3, PLAIN)]
SIZES = [(1, 1), (3, 70), (67, 17), (130, 5)]


def compute_type(kind):
    return np.float64 if "float64" in kind else np.float32


def block_of(kind, C, n, d, name="plain", targets="labels"):
    """A block as the objective hands it over: labels of ignored rows are -1, every fifth weight is 0."""
    X, y, coef, b = zoo.head(kind, C, n, d, targets)
    r = np.random.default_rng([n, d]).uniform(0.5, 2, n)
    r[2::5] = 0
    if targets == "labels" and "ignore_index" in zoo.OPTIONS[name]:
        y[4::7], r[4::7] = -1, 0
    T = compute_type(kind)
    return Block(X, y if targets == "labels" else y.astype(T), r), coef.astype(T), b.astype(T)


def in_order_of(kernel, coef):
    return coef.astype(coef.dtype, order=kernel.order)


def assert_agree(found, truth, sizes, kind, d):
    """Each sum in units of its terms: rounding of sums over d features and over rows walks at random, 8 eps is a few roundings."""
    tolerance = 8 * np.finfo(compute_type(kind)).eps * (2 + np.sqrt(d) / 4)
    for value, exact, size in zip(found, truth, sizes, strict=True):
        gap = np.abs(np.asarray(value, np.float64) - exact)
        assert (gap <= tolerance * size + 1e-300).all(), (gap / np.maximum(size, 1e-300)).max() / tolerance


@pytest.mark.parametrize("C", [1, 2, 3, 10, 32, 33, 100])
@pytest.mark.parametrize(("kernel", "kind"), ABLE, ids=lambda x: getattr(x, "name", x))
def test_agrees_with_the_reference(kernel, kind, C):
    for name, targets in (("plain", "labels"), ("all at once", "labels"), ("all at once", "distributions")):
        loss = zoo.loss(name, C)
        for n, d in SIZES:
            block, coef, b = block_of(kind, C, n, d, name, targets)
            if kernel.refuses(block.X, C, loss):
                assert kernel.name == "one_pass"
                assert C > native.FEW
                return
            found = kernel.sums(block, loss, in_order_of(kernel, coef), b, 0.3)
            sizes = zoo.head_sizes(loss, block, coef.astype(float), b.astype(float), 0.3)
            assert_agree(found, Reference().sums(block, loss, coef, b, 0.3), sizes, kind, d)


@pytest.mark.parametrize("targets", zoo.KINDS)
@pytest.mark.parametrize("name", zoo.OPTIONS)
@pytest.mark.parametrize(("kernel", "kind"), ABLE, ids=lambda x: getattr(x, "name", x))
def test_every_option(kernel, kind, name, targets):
    loss = zoo.loss(name, 7)
    block, coef, b = block_of(kind, 7, 67, 17, name, targets)
    found = kernel.sums(block, loss, in_order_of(kernel, coef), b, 2.0)
    sizes = zoo.head_sizes(loss, block, coef.astype(float), b.astype(float), 2.0)
    assert_agree(found, Reference().sums(block, loss, coef, b, 2.0), sizes, kind, 17)


def test_the_reference_is_the_formula_itself():
    """X'(P - Q) summed by hand, with no room of the library but softmax."""
    X, y, coef, b = zoo.head("float64", 4, 9, 3)
    value, G, g = Reference().sums(Block(X, y, np.full(9, 0.5)), PLAIN, coef, b, 3.0)
    P = softgrad.softmax(X @ coef.T + b)
    assert value == pytest.approx(-0.5 * np.log(P[np.arange(9), y]).sum(), rel=1e-14)
    assert np.allclose(G, 1.5 * (P - np.eye(4)[y]).T @ X, rtol=1e-13, atol=1e-14)
    assert np.allclose(g, 1.5 * (P - np.eye(4)[y]).sum(axis=0), rtol=1e-13, atol=1e-14)


def spoiled(X, rows, value):
    """X with whole rows (for CSR: what is stored of them) set to value."""
    X = X.copy()
    if hasattr(X, "indptr"):
        for i in rows:
            X.data[X.indptr[i] : X.indptr[i + 1]] = value
    else:
        X[rows] = value
    return X


FLOATING = [(k, f) for k, f in ABLE if f != "uint8"]


@pytest.mark.parametrize("C", [3, 40])
@pytest.mark.parametrize(("kernel", "kind"), FLOATING, ids=lambda x: getattr(x, "name", x))
def test_rows_that_do_not_count_are_never_read(kernel, kind, C):
    block, coef, b = block_of(kind, C, 67, 17, "ignoring")
    if kernel.refuses(block.X, C, PLAIN):
        assert C > native.FEW
        return
    bad = Block(spoiled(block.X, np.flatnonzero(block.r == 0), np.nan), block.y, block.r)
    coef = in_order_of(kernel, coef)
    for clean, found in zip(*(kernel.sums(x, zoo.loss("ignoring", C), coef, b, 1.0) for x in (block, bad)), strict=True):
        assert np.array_equal(clean, found)


@pytest.mark.parametrize("C", [3, 40])
@pytest.mark.parametrize("poison", [np.nan, np.inf])
@pytest.mark.parametrize(("kernel", "kind"), FLOATING, ids=lambda x: getattr(x, "name", x))
def test_a_bad_value_in_a_row_that_counts_gives_nan(kernel, kind, C, poison):
    block, coef, b = block_of(kind, C, 67, 17)
    bad = Block(spoiled(block.X, [63], poison), block.y, np.ones(67))
    if kernel.refuses(block.X, C, PLAIN):
        assert C > native.FEW
        return
    with np.errstate(invalid="ignore"):  # the reference is plain lines: inf - inf
        assert np.isnan(kernel.sums(bad, PLAIN, in_order_of(kernel, coef), b, 1.0)[0])


def test_confident_rows_keep_their_gradient():
    """Margin 60 in float32: the gradient is near 1e-26, and p - 1 would be 0."""
    X = np.eye(4, dtype=np.float32)
    for kernel in KERNELS:
        if not kernel.refuses(X, 4, PLAIN):
            value, G, _ = kernel.sums(Block(X, np.arange(4), np.ones(4)), PLAIN, 60 * X, np.zeros(4, np.float32), 1.0)
            assert value == pytest.approx(12 * np.exp(-60.0), rel=1e-6)
            assert np.allclose(G, np.exp(-60.0) * (np.ones((4, 4)) - 4 * np.eye(4)), rtol=1e-6, atol=0)


# ---- the head that users call ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("compiled", [True, False])
@pytest.mark.parametrize("C", [2, 10, 40])
@pytest.mark.parametrize("kind", zoo.FEATURES)
def test_linear_value_and_grad(monkeypatch, kind, C, compiled):
    """Mean of the rows that count plus the penalty, with the compiled kernels and without them."""
    if not compiled:
        monkeypatch.setattr("softgrad.kernels.native.module", None)
        monkeypatch.setattr("softgrad.losses.loss.schedules", [])
    loss = zoo.loss("all at once", C)
    X, y, coef, b = zoo.head(kind, C, 90, 12, ignored=-1)
    T = compute_type(kind)
    coef, b = coef.astype(T).astype(float), b.astype(T).astype(float)
    r = np.random.default_rng(31).uniform(0.5, 2, 90)
    assert kernels.choose(X, C, loss).name != "tiled" or not compiled or not schedules or C > native.FEW
    found = softgrad.linear_value_and_grad(X, y, coef, b, loss=loss, l2=0.3, sample_weight=r)
    block = Block(X, y, np.where(y < 0, 0, r))
    total = (zoo.class_weights(C)[y] * r)[y >= 0].sum()
    value, G, g = Reference().sums(block, loss, coef, b, 1 / total)
    truth = value / total + 0.15 * (coef**2).sum(), G + 0.3 * coef, g
    size = zoo.head_sizes(loss, block, coef, b, 1 / total)
    sizes = size[0] / total + 0.15 * (coef**2).sum(), size[1] + 0.3 * np.abs(coef), size[2]
    assert_agree(found, truth, sizes, kind, 12)


@pytest.mark.parametrize("targets", zoo.KINDS)
@pytest.mark.parametrize("kind", ["float64", "csr float64"])
def test_its_gradient_is_the_derivative_of_its_value(kind, targets):
    X, y, coef, b = zoo.head(kind, 3, 20, 4, targets)
    loss, r = zoo.loss("all at once", 3), np.random.default_rng(32).uniform(0, 2, 20)

    def value(c, i):
        return softgrad.linear_value_and_grad(X, y, c, i, loss=loss, l2=0.2, sample_weight=r)[0]

    _, G, g = softgrad.linear_value_and_grad(X, y, coef, b, loss=loss, l2=0.2, sample_weight=r)
    assert np.allclose(G, zoo.gradient(lambda c: value(c, b), coef), rtol=0, atol=1e-11)
    assert np.allclose(g, zoo.gradient(lambda i: value(coef, i), b), rtol=0, atol=1e-11)


@pytest.mark.parametrize("C", [3, 40])
@pytest.mark.parametrize("kind", zoo.FEATURES)
def test_results_come_in_the_type_of_coef(kind, C):
    X, y, coef, b = zoo.head(kind, C, 30, 5)
    wide = softgrad.linear_value_and_grad(X, y, coef, b)
    for dtype in (np.float16, *zoo.FLOATS):
        value, G, g = softgrad.linear_value_and_grad(X, y, coef.astype(dtype), b.astype(dtype))
        assert type(value) is float
        assert G.dtype == g.dtype == dtype
        assert G.flags.c_contiguous
        eps = max(np.finfo(dtype).eps, np.finfo(compute_type(kind)).eps)
        scale = 64 * eps * np.abs(zoo.dense(X)).max()  # coefficients rounded to the type move the scores by as much
        assert np.allclose(G, wide[1], rtol=0, atol=scale)
        assert np.allclose(g, wide[2], rtol=0, atol=scale)


def test_no_intercept_is_an_intercept_of_zero():
    X, y, coef, _ = zoo.head("float32", 4, 30, 5)
    for found, expected in zip(*(softgrad.linear_value_and_grad(X, y, coef, b) for b in (None, np.zeros(4))), strict=True):
        assert np.array_equal(found, expected)


@pytest.mark.parametrize("C", [3, 40])
@pytest.mark.parametrize("kind", zoo.FEATURES)
def test_an_intercept_of_minus_infinity_rules_a_class_out(kind, C):
    """The class costs nothing, gets no gradient, and the others share what there is."""
    X, y, coef, b = zoo.head(kind, C, 30, 5)
    y, b[C - 1] = y % (C - 1), -np.inf
    value, G, g = softgrad.linear_value_and_grad(X, y, coef, b)
    expected = softgrad.linear_value_and_grad(X, y, coef[:-1], b[:-1])
    eps = 64 * np.finfo(compute_type(kind)).eps * max(1, np.abs(zoo.dense(X)).max())
    assert value == pytest.approx(expected[0], rel=eps)
    assert np.allclose(G[:-1], expected[1], rtol=0, atol=eps)
    assert not G[-1].any()
    assert g[-1] == 0


@pytest.mark.parametrize("C", [3, 40])
@pytest.mark.parametrize("kind", zoo.FEATURES)
def test_no_rows_cost_nothing(kind, C):
    X, y, coef, b = zoo.head(kind, C, 4, 5)
    value, G, g = softgrad.linear_value_and_grad(X[:0], y[:0], coef, b, l2=2.0)
    assert value == pytest.approx((coef**2).sum(), rel=1e-6)
    assert np.allclose(G, 2 * coef, rtol=1e-6)
    assert not g.any()


def test_csr_with_repeated_and_unsorted_entries_means_their_sum():
    X, y, coef, b = zoo.head("csr float64", 3, 20, 6)
    twice = type(X)(
        (np.repeat(X.data[::-1] / 2, 2), np.repeat(X.indices[::-1], 2), 2 * (X.indptr[-1] - X.indptr[::-1])),
        shape=X.shape,
    )
    value, G, g = softgrad.linear_value_and_grad(twice, y[::-1], coef, b)
    expected = softgrad.linear_value_and_grad(X, y, coef, b)
    assert value == pytest.approx(expected[0], rel=1e-14)
    assert np.allclose(G, expected[1], rtol=1e-12, atol=1e-15)
    assert np.allclose(g, expected[2], rtol=1e-12, atol=1e-15)


# ---- bits -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def many_blocks(monkeypatch):
    """Small problems cut into many blocks, so that threads have something to share."""
    monkeypatch.setattr("softgrad.blocks.memory.WORK", 3e3)
    monkeypatch.setattr("softgrad.blocks.memory.ROWS", 64)
    monkeypatch.setattr("softgrad.blocks.memory.FEW_ROWS", 64)


@pytest.mark.parametrize(
    ("n", "D", "C", "blocks"),
    [
        (200, 4000, 1000, 1),  # half a block would have less than 128 rows
        (256, 768, 100, 2),
        (1000, 768, 10, 2),
        (1437, 64, 10, 1),  # done before another thread has woken
        (1000, 1024, 1000, 2),  # of three, one of two threads would do two
        (3000, 1024, 1000, 4),
        (20_000, 1024, 1000, 9),
        (50_000, 1024, 100, 24),
        (50_000, 3072, 10, 51),
        (10**6, 3072, 10, 64),
    ],
)
def test_rows_are_cut_into_as_many_blocks_as_pay(n, D, C, blocks):
    X = np.broadcast_to(np.zeros((), np.float32), (n, D))
    assert count(X, C) == blocks
    assert count(sp.csr_array((n, D), dtype=np.float32), C) == 1  # nothing to be shared


@pytest.mark.usefixtures("many_blocks")
@pytest.mark.parametrize("C", [3, 40])
@pytest.mark.parametrize("kind", zoo.FEATURES)
def test_any_number_of_threads_gives_the_same_bits(kind, C, threads):
    X, y, coef, b = zoo.head(kind, C, 4000, 9)
    rows = in_memory(X, y, np.ones(4000), C)
    assert rows.n_blocks > 2
    found = softgrad.linear_value_and_grad(X, y, coef, b, l2=0.1)
    with softgrad_threads(1):
        expected = softgrad.linear_value_and_grad(X, y, coef, b, l2=0.1)
    for one, other in zip(found, expected, strict=True):
        assert np.array_equal(one, other)


softgrad_threads = threads.limit  # the fixture `threads` hides the room of that name


def test_rows_of_scores_on_any_number_of_threads_give_the_same_bits(threads):
    rng = np.random.default_rng(33)
    z, y = rng.normal(size=(9000, 33)).astype(np.float32), rng.integers(33, size=9000)
    value, g = cross_entropy(0.1).value_and_grad(z, y)
    with softgrad_threads(1):
        expected = cross_entropy(0.1).value_and_grad(z, y)
    assert value == expected[0]
    assert np.array_equal(g, expected[1])


@pytest.mark.usefixtures("many_blocks")
@pytest.mark.parametrize("kind", ["float32", "uint8", "csr float32"])
def test_a_whole_fit_on_any_number_of_threads_gives_the_same_bits(kind, threads):
    X, y, _, _ = zoo.head(kind, 4, 2000, 12)
    problem = training.Problem(X, y, np.ones(2000), 4, cross_entropy(), 0.01, True, 0)
    found = training.fit(problem, LBFGS(max_iter=15))
    with softgrad_threads(1):
        expected = training.fit(problem, LBFGS(max_iter=15))
    assert np.array_equal(found.coef, expected.coef)
    assert np.array_equal(found.intercept, expected.intercept)
    assert [s.value for s in found.result.trace] == [s.value for s in expected.result.trace]


def test_blocks_depend_on_the_shape_of_the_data_alone(threads):
    """Cut by the work they hold: never by the number of threads, and every row is in exactly one block."""
    X = np.arange(50000.0)[:, None] * np.ones(50)
    rows = in_memory(X, np.zeros(50000, int), np.ones(50000), 100)
    assert rows.n_blocks == 8
    assert np.array_equal(np.concatenate([block.X[:, 0] for block in rows.blocks()]), X[:, 0])
    (total,) = rows.sum(lambda block: (block.r.sum(),))
    assert total == 50000


def test_without_compiled_kernels_a_fit_finds_the_same(monkeypatch):
    X, y, _, _ = zoo.head("float64", 4, 300, 6)
    problem = training.Problem(X, y, np.ones(300), 4, cross_entropy(), 0.01, True, 0)
    expected = training.fit(problem, LBFGS(tol=1e-10))
    monkeypatch.setattr("softgrad.kernels.native.module", None)
    monkeypatch.setattr("softgrad.losses.loss.schedules", [])
    found = training.fit(problem, LBFGS(tol=1e-10))
    assert native.status().startswith("none")
    assert np.allclose(found.coef, expected.coef, rtol=0, atol=1e-7)
    assert found.result.value == pytest.approx(expected.result.value, rel=1e-14)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("compiled", [False, True])
def test_products_of_the_hessian_keep_their_digits_where_a_row_is_sure(dtype, compiled):
    """p_j sum_k p_k (u_j - u_k), where u - p'u is rounding for the most part; rows that do not count are never read."""
    rng = np.random.default_rng(11)
    n, C = 30, 6
    u = (1000 + rng.normal(size=(n, C))).astype(dtype)
    P = (rng.dirichlet(np.ones(C), n) * 1e-8).astype(dtype)
    P[np.arange(n), rng.integers(0, C, n)] = 1
    r = rng.uniform(0.5, 2, n)
    expected = 3 * r[:, None] * P * np.einsum("ik,ijk->ij", P, u.astype(float)[:, :, None] - u.astype(float)[:, None])
    X = sp.csr_array(np.eye(n + 1, dtype=dtype))  # row i has the score u_i for itself
    X.data[n], r, P = np.nan, np.append(r, 0), np.vstack([P, np.full((1, C), np.nan, dtype)])
    kernel = kernels.choose(X, C, cross_entropy()) if compiled else Tiled()
    V = np.asfortranarray(np.vstack([u, np.zeros((1, C), dtype)]).T)
    G, g = kernel.hessian_products(Block(X, P, r), V, np.zeros(C, dtype), 3.0)
    assert np.allclose(G[:, :n].T, expected, rtol=2e3 * np.finfo(dtype).eps, atol=1e-3 * np.abs(expected).max(axis=1).min())
    assert np.allclose(g, expected.sum(axis=0), rtol=0, atol=1e-2 * np.abs(expected).max())
    assert not G[:, n].any()
