"""Cross-entropy with all its options: accuracy, derivatives, agreement with torch, and what it deliberately does otherwise."""

from functools import cache

import numpy as np
import pytest
import zoo

from softgrad import SoftgradError
from softgrad.losses import cross_entropy
from softgrad.losses.loss import plain, schedule_for

PATHS = zoo.paths()


@pytest.fixture(params=PATHS)
def path(request, monkeypatch):
    """The plain formula, then the compiled rows where there are any."""
    monkeypatch.setattr("softgrad.losses.loss.schedules", PATHS[request.param])
    return request.param


def test_the_paths_are_what_they_are_called(path):
    assert (schedule_for(cross_entropy(), np.dtype(np.float32)) is plain) == (path == "plain")


@cache
def case(name, kind, C, dtype):
    """Rows of the zoo twice over, targets, row weights with a few zeros, ignored rows; scores of rows that do not count are NaN."""
    names, z = zoo.score_rows(dtype, C, zoo.temperature(name))
    if C == 1000:
        names, z = names[::4], z[::4]
    z = np.concatenate([z, z]) if C < 1000 else z
    y, N = zoo.targets(kind, z), len(z)
    rng = np.random.default_rng([N, C])
    r = rng.uniform(0.5, 3, N)
    r[::7] = 0
    ignore = zoo.OPTIONS[name].get("ignore_index")
    if kind == "labels" and ignore is not None:
        y[1::5] = ignore
    counted = (r > 0) & (y != ignore if kind == "labels" and ignore is not None else True)
    return names, np.where(counted[:, None], z, np.nan).astype(dtype), y, r, counted


@cache
def truth(name, kind, C, dtype):
    """Exact weighted losses and gradient rows of the case's counted rows."""
    _, z, y, r, counted = case(name, kind, C, dtype)
    options = zoo.OPTIONS[name]
    omega = zoo.class_weights(C) if "class_weight" in options else np.ones(C)
    rows = np.flatnonzero(counted)
    q = zoo.distributions(y[rows], C)
    eps, T = options.get("label_smoothing", 0.0), zoo.temperature(name)
    total = sum(r[i] * (omega[y[i]] if kind == "labels" else omega @ y[i].astype(float)) for i in rows)
    return rows, [zoo.exact_row(z[i], q[k], omega, r[i], T, eps) for k, i in enumerate(rows)], float(total)


# Many digits of a thousand classes are slow; two losses hold all that depends on their number.
CASES = [(name, kind, C) for name in zoo.OPTIONS for kind in zoo.KINDS for C in zoo.CLASSES
         if C < 1000 or (name in ("plain", "all at once") and kind == "labels")]  # fmt: skip


@pytest.mark.parametrize(("name", "kind", "C"), CASES)
@pytest.mark.parametrize("dtype", zoo.FLOATS)
def test_loss_and_every_gradient_entry_within_16_eps(path, dtype, name, kind, C):
    """Relative to the entry itself where one term makes it (plain labels), else to its two terms, whose difference may vanish."""
    names, z, y, r, counted = case(name, kind, C, dtype)
    loss = zoo.loss(name, C)
    losses, g = loss.value_and_grad(z, y, sample_weight=r, reduction="none")
    assert losses.dtype == g.dtype == dtype
    assert not losses[~counted].any()
    assert not g[~counted].any()
    rows, exact, _ = truth(name, kind, C, dtype)
    eps, step = np.finfo(dtype).eps, np.finfo(dtype).smallest_subnormal
    for i, (value, gradient, size) in zip(rows, exact, strict=True):
        where = names[i % len(names)]
        assert (zoo.error(losses[i : i + 1], value) <= 16 * eps * np.abs(value[0]) + step).all(), (
            where,
            losses[i],
            value,
        )
        one_term = kind == "labels" and "label_smoothing" not in zoo.OPTIONS[name]
        assert (zoo.error(g[i], gradient) <= 16 * eps * (np.abs(gradient[0]) if one_term else size) + step).all(), (
            where,
            g[i],
            gradient,
        )


@pytest.mark.parametrize("kind", zoo.KINDS)
@pytest.mark.parametrize("name", zoo.OPTIONS)
@pytest.mark.parametrize("dtype", zoo.FLOATS)
def test_reductions(path, dtype, name, kind):
    """The sum of the rows is the sum, exact sum / total weight is the mean; gradients are scaled alike; a call alone gives the value."""
    C = 10
    _, z, y, r, _ = case(name, kind, C, dtype)
    rows, exact, total = truth(name, kind, C, dtype)
    finite = [k for k, (value, _, _) in enumerate(exact) if np.isfinite(value[0][0])]
    rows = rows[finite]
    z, y, r = z[rows], y[rows], r[rows]
    sums = sum(exact[k][0][0][0] for k in finite)
    omega = zoo.class_weights(C) if "class_weight" in zoo.OPTIONS[name] else np.ones(C)
    total = float((r * (zoo.distributions(y, C) @ omega)).sum())
    loss, eps = zoo.loss(name, C), 16 * float(np.finfo(dtype).eps)
    each, g = loss.value_and_grad(z, y, sample_weight=r, reduction="none")
    for reduction, divisor in (("sum", 1.0), ("mean", total)):
        value, scaled = loss.value_and_grad(z, y, sample_weight=r, reduction=reduction)
        assert isinstance(value, float)
        assert value == pytest.approx(sums / divisor, rel=eps)
        assert loss(z, y, sample_weight=r, reduction=reduction) == value
        assert np.allclose(scaled, g / divisor, rtol=eps, atol=np.finfo(dtype).smallest_subnormal)
    assert np.array_equal(loss(z, y, sample_weight=r, reduction="none"), each)


def smooth_case(name, kind, C=4, N=6, seed=0):
    rng = np.random.default_rng([seed, C, N])
    z, r = rng.normal(size=(N, C)), rng.uniform(0.5, 2, N)
    y = zoo.targets(kind, z)
    ignore = zoo.OPTIONS[name].get("ignore_index")
    if kind == "labels" and ignore is not None:
        y[-1] = ignore
    return zoo.loss(name, C), z, y, r, rng.normal(size=(N, C))


@pytest.mark.parametrize("reduction", ["mean", "sum"])
@pytest.mark.parametrize("kind", zoo.KINDS)
@pytest.mark.parametrize("name", zoo.OPTIONS)
def test_the_gradient_is_the_derivative_of_the_value(path, name, kind, reduction):
    loss, z, y, r, _ = smooth_case(name, kind)
    _, g = loss.value_and_grad(z, y, sample_weight=r, reduction=reduction)
    T = min(1, zoo.temperature(name))
    numeric = zoo.gradient(lambda x: loss(x, y, sample_weight=r, reduction=reduction), z, h=1e-3 * T)
    assert np.allclose(g, numeric, rtol=0, atol=2e-11)


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("kind", zoo.KINDS)
@pytest.mark.parametrize("name", zoo.OPTIONS)
def test_the_hessian_product_is_the_derivative_of_the_gradient(name, kind, reduction):
    loss, z, y, r, v = smooth_case(name, kind)
    product = loss.hessian_product(z, y, v, sample_weight=r, reduction=reduction)
    h = 1e-3 * min(1, zoo.temperature(name))
    numeric = zoo.slope(lambda x: loss.value_and_grad(x, y, sample_weight=r, reduction=reduction)[1], z, v, h)
    assert np.allclose(product, numeric, rtol=0, atol=2e-10)


@pytest.mark.parametrize("name", zoo.OPTIONS)
def test_the_hessian_is_symmetric_and_not_negative(name):
    loss, z, y, r, v = smooth_case(name, "labels")
    w = np.random.default_rng(11).normal(size=z.shape)
    Hv, Hw = (loss.hessian_product(z, y, x, sample_weight=r, reduction="none") for x in (v, w))
    assert np.allclose((w * Hv).sum(axis=1), (v * Hw).sum(axis=1), rtol=1e-12, atol=1e-14)
    assert ((v * Hv).sum(axis=1) >= -1e-15).all()


@pytest.mark.parametrize("dtype", zoo.FLOATS)
def test_the_hessian_keeps_its_digits_where_one_class_has_it_all(dtype):
    """Two classes at margin d: H (1, -1) = 2 p (1 - p) (1, -1), and p (1 - p) = exp(-d) to rounding."""
    d = dtype(0.9 * zoo.FARTHEST[dtype])
    product = cross_entropy().hessian_product(np.array([[d, 0]]), [0], [[1.0, -1.0]])
    expected = 2 * np.exp(-np.float64(d))
    assert np.allclose(product, [[expected, -expected]], rtol=4 * np.finfo(dtype).eps, atol=0)


INTEGERS = [np.int8, np.int16, np.int32, np.int64, np.uint8, np.uint16, np.uint32, np.uint64]


@pytest.mark.parametrize("integer", INTEGERS)
@pytest.mark.parametrize("ignore", [-100, 2, 255, 2**63 - 1])
def test_labels_of_every_integer_type_mean_the_same(path, integer, ignore):
    """Also where ignore_index is no value of the type: then no row is ignored."""
    z = np.random.default_rng(12).normal(size=(9, 5))
    y = np.array([0, 1, 2, 3, 4, 2, 0, 1, 3])
    fits = np.iinfo(integer).min <= ignore <= np.iinfo(integer).max
    if fits:
        y[4] = ignore
    loss = cross_entropy(ignore_index=ignore)
    value, g = loss.value_and_grad(z, y.astype(integer))
    counted = y != ignore
    expected, rows = cross_entropy().value_and_grad(z[counted], y[counted])
    assert value == pytest.approx(expected, rel=1e-15)
    assert np.allclose(g[counted], rows, rtol=1e-15, atol=0)
    assert not g[~counted].any()


@pytest.mark.parametrize("C", [2, 10, 33])
@pytest.mark.parametrize("name", zoo.OPTIONS)
@pytest.mark.parametrize("dtype", zoo.FLOATS)
def test_one_hot_distributions_equal_labels(path, dtype, name, C):
    """To the last bits: sums over a row may be in another order."""
    _, z = zoo.score_rows(dtype, C, zoo.temperature(name))
    y = zoo.targets("labels", z)
    loss, eps = zoo.loss(name, C), float(np.finfo(dtype).eps)
    y = np.where(y == zoo.OPTIONS[name].get("ignore_index"), 1, y)
    value, g = loss.value_and_grad(z, y, reduction="none")
    same_value, same_g = loss.value_and_grad(z, np.eye(C, dtype=dtype)[y], reduction="none")
    assert np.allclose(value, same_value, rtol=4 * eps, atol=0)
    assert np.allclose(g, same_g, rtol=8 * eps, atol=2 * eps * ("label_smoothing" in zoo.OPTIONS[name]))
    if name == "weighted":  # the mean divides both by the same weights
        assert loss(z, y) == pytest.approx(loss(z, np.eye(C)[y]), rel=8 * eps)


@pytest.mark.parametrize("poison", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("dtype", [np.float16, *zoo.FLOATS])
def test_rows_that_do_not_count_are_never_read(path, dtype, poison):
    rng = np.random.default_rng(13)
    z, y, r, v = (
        rng.normal(size=(12, 4)).astype(dtype),
        rng.integers(4, size=12),
        rng.uniform(1, 2, 12),
        rng.normal(size=(12, 4)),
    )
    loss = cross_entropy(0.1, 1.3, [1, 2, 3, 4], ignore_index=-100)
    y[[1, 5]], r[[2, 11]] = -100, 0
    out = [1, 2, 5, 11]
    spoiled = z.copy()
    spoiled[out] = poison
    for reduction in ("mean", "sum", "none"):
        clean, found = (loss.value_and_grad(x, y, sample_weight=r, reduction=reduction) for x in (z, spoiled))
        assert np.array_equal(found[0], clean[0])
        assert np.array_equal(found[1], clean[1])
        assert not found[1][out].any()
        products = [loss.hessian_product(x, y, v, sample_weight=r, reduction=reduction) for x in (z, spoiled)]
        assert np.array_equal(*products)


@pytest.mark.parametrize("shape", [(50, 4), (5000, 33)])
@pytest.mark.parametrize("dtype", [np.float16, *zoo.FLOATS])
def test_out_may_be_fresh_given_or_the_scores(path, dtype, shape):
    rng = np.random.default_rng(14)
    z, y = rng.normal(size=shape).astype(dtype), rng.integers(shape[1], size=shape[0])
    loss, given, place = cross_entropy(0.1, ignore_index=0), np.full(shape, np.nan, dtype), z.copy()
    value, fresh = loss.value_and_grad(z, y)
    for scores, out in ((z, given), (place, place)):
        same_value, returned = loss.value_and_grad(scores, y, out=out)
        assert returned is out
        assert same_value == value
        assert np.array_equal(out, fresh)


@pytest.mark.parametrize("C", [2, 3, 40])
@pytest.mark.parametrize("dtype", zoo.FLOATS)
def test_an_impossible_target_costs_infinitely_much_and_its_gradient_is_finite(path, dtype, C):
    z = np.zeros((2, C), dtype)
    z[0, 1] = -np.inf
    losses, g = cross_entropy().value_and_grad(z, [1, 0], reduction="none")
    assert losses[0] == np.inf
    assert losses[1] == pytest.approx(np.log(C), rel=1e-6)
    assert np.isfinite(g).all()
    assert g[0, 1] == -1
    assert cross_entropy()(z, np.eye(C)[[0, 0]]) == pytest.approx((np.log(C) + np.log(C - 1)) / 2, rel=1e-6)


@pytest.mark.parametrize("targets", [[-1, -1], [[0.0, 1.0], [0.0, 1.0]]])
def test_nothing_counts_gives_zero_not_nan(path, targets):
    loss = cross_entropy(ignore_index=-1, class_weight=[1, 0])
    value, g = loss.value_and_grad(np.eye(2), targets)
    assert value == 0
    assert not g.any()
    empty = loss.value_and_grad(np.empty((0, 2)), np.empty(0, int))
    assert empty[0] == 0
    assert empty[1].shape == (0, 2)


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_losses_beyond_the_type_are_infinite_without_a_warning(path, dtype):
    top = np.finfo(dtype).max
    assert cross_entropy()(np.array([[top, -top]]), [1], reduction="none").tolist() == [np.inf]


def test_the_first_row_without_a_softmax_is_named(path):
    z = np.zeros((70000, 3))
    z[[68000, 69000], 1] = np.nan
    for call in (cross_entropy(), cross_entropy().value_and_grad):
        with pytest.raises(SoftgradError, match="row 68000"):
            call(z, np.zeros(70000, int))


# ---- torch ----------------------------------------------------------------------------------------------------------


def torch_value_and_grad(z, y, reduction, **options):
    torch = pytest.importorskip("torch")
    scores = torch.tensor(z, requires_grad=True)
    value = torch.nn.functional.cross_entropy(scores, torch.tensor(y), reduction=reduction, **options)
    value.sum().backward()
    return value.detach().numpy(), scores.grad.numpy()


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("smoothing", [0.0, 0.15])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("ignore", [None, -100, 2])
def test_agrees_with_torch_on_labels(path, reduction, smoothing, weighted, ignore):
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(15)
    z, y, w = rng.normal(size=(20, 6)), rng.integers(6, size=20), rng.uniform(0.2, 3, 6)
    if ignore is not None:
        y[3:6] = ignore
    theirs = {"label_smoothing": smoothing, "ignore_index": -100 if ignore is None else ignore}
    loss = cross_entropy(smoothing, class_weight=w if weighted else None, ignore_index=ignore)
    value, g = torch_value_and_grad(z, y, reduction, weight=torch.tensor(w) if weighted else None, **theirs)
    ours, mine = loss.value_and_grad(z, y, reduction=reduction)
    assert np.allclose(ours, value, rtol=1e-13, atol=0)
    assert np.allclose(mine, g, rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_agrees_with_torch_on_distributions_but_for_the_weighted_mean(path, reduction):
    """There torch divides by N; here a row counts sum_j w_j q_j, so that one-hot rows equal labels (torch: 1.755 against 1.170)."""
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(16)
    z, q, w = rng.normal(size=(20, 6)), rng.dirichlet(np.ones(6), 20), rng.uniform(0.2, 3, 6)
    value, g = torch_value_and_grad(z, q, reduction, weight=torch.tensor(w))
    ours, mine = cross_entropy(class_weight=w).value_and_grad(z, q, reduction=reduction)
    divided_otherwise = 20 / (q @ w).sum() if reduction == "mean" else 1
    assert np.allclose(ours, value * divided_otherwise, rtol=1e-13, atol=0)
    assert np.allclose(mine, g * divided_otherwise, rtol=1e-12, atol=1e-15)


# ---- numbers that others publish ------------------------------------------------------------------------------------


def test_known_numbers(path):
    """The suites of optax, Keras and TensorFlow, and torch issues 25571 and 107680, to the digits they give."""
    ce = cross_entropy()
    assert ce([[10.0, 1, -2], [1, 4, 0.2]], [1, 0], reduction="none") == pytest.approx([9.00013, 3.0696733], abs=1e-5)
    assert ce([[1.2, -0.8, -0.5], [0.9, -1.2, 1.1]], [0, 1], reduction="none") == pytest.approx([0.2761, 2.9518], abs=1e-4)
    assert ce([[8.0, 1, 1], [0, 9, 1], [2, 3, 5]], [0, 1, 2]) == pytest.approx(0.0573756, abs=1e-7)
    assert ce([[3.2, 5.1, -1.7]], [0]) == pytest.approx(2.0404, abs=1e-4)
    assert ce([[1.0, 1, 1, 1], [1, 2, 3, 4]], [[0, 0, 0, 1], [0, 0.5, 0.5, 0]], reduction="none") == pytest.approx(
        [1.3862, 1.9401], abs=1e-4
    )
