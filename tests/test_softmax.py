"""softmax, log_softmax, logsumexp and the Jacobian against the textbook formulas in many digits."""

import mpmath
import numpy as np
import pytest
import scipy.special
import zoo

import softgrad
from softgrad import SoftgradError

TEMPERATURES = [0.5, 1.0, 2.7]
FUNCTIONS = [softgrad.softmax, softgrad.log_softmax]


def rounding(dtype):
    """Half a unit of the type's own rounding; float64 gets the few roundings of the formula itself, sum included."""
    return 8 * np.finfo(np.float64).eps if dtype == np.float64 else 0.501 * np.finfo(dtype).eps


def assert_close(value, exact, relative, size=None):
    """Relative error within bounds; below the normal range one step of the type is allowed."""
    size = np.abs(exact[0]) if size is None else size
    with np.errstate(invalid="ignore"):
        slack = np.where(np.isfinite(size), relative * size, 0) + np.finfo(value.dtype).smallest_subnormal
    wrong = ~(zoo.error(value, exact) <= slack)
    assert not wrong.any(), (np.asarray(value)[wrong], np.asarray(exact[0])[wrong])


@pytest.mark.parametrize("T", TEMPERATURES)
@pytest.mark.parametrize("C", zoo.CLASSES)
@pytest.mark.parametrize("dtype", zoo.FLOATS)
def test_every_entry_in_many_digits(dtype, C, T):
    """Also the largest class's log-probability near 0, shifts of 1e6, ties and impossible classes."""
    names, scores = zoo.score_rows(dtype, C, T)
    if C == 1000:
        names, scores = names[::3], scores[::3]
    p, log_p = softgrad.softmax(scores, temperature=T), softgrad.log_softmax(scores, temperature=T)
    assert p.dtype == log_p.dtype == dtype
    for i in range(len(names)):
        with mpmath.workdps(zoo.digits(scores[i], T)):
            exact_p, exact_log_p, _, _ = zoo.exact_softmax(scores[i], T)
            assert_close(p[i], zoo.pairs(exact_p), rounding(dtype))
            assert_close(log_p[i], zoo.pairs(exact_log_p), rounding(dtype))


@pytest.mark.parametrize("C", zoo.CLASSES)
@pytest.mark.parametrize("dtype", zoo.FLOATS)
def test_logsumexp_in_many_digits(dtype, C):
    """Against the larger of the two terms max and log1p(s), whose sum may vanish."""
    names, scores = zoo.score_rows(dtype, C)
    if C == 1000:
        names, scores = names[::3], scores[::3]
    value = softgrad.logsumexp(scores)
    for i in range(len(names)):
        with mpmath.workdps(zoo.digits(scores[i], 1)):
            exact = zoo.pairs([zoo.exact_softmax(scores[i], 1)[3]])
            assert_close(value[i : i + 1], exact, rounding(dtype), size=max(abs(float(scores[i].max())), abs(exact[0][0])))


def test_logsumexp_keeps_what_a_zero_maximum_leaves():
    """SciPy issue 18295: the sum of 1 and exp(-40) is not 1."""
    assert softgrad.logsumexp([0.0, -40.0]) == np.log1p(np.exp(-40.0))
    assert softgrad.logsumexp([0.0, -700.0]) == pytest.approx(np.exp(-700.0), rel=1e-15)


@pytest.mark.parametrize("T", TEMPERATURES)
def test_half_precision_is_rounded_once(T):
    scores = np.random.default_rng(3).normal(scale=4, size=(20, 7)).astype(np.float16)
    for function in FUNCTIONS:
        wide = function(scores.astype(np.float64), temperature=T)
        assert function(scores, temperature=T).dtype == np.float16
        assert np.array_equal(function(scores, temperature=T), wide.astype(np.float16))


@pytest.mark.parametrize("T", TEMPERATURES)
@pytest.mark.parametrize("C", [1, 2, 3, 10, 33])
def test_jacobian_in_many_digits(C, T):
    names, scores = zoo.score_rows(np.float64, C, T)
    J = softgrad.softmax_jacobian(scores, temperature=T)
    for i in range(len(names)):
        with mpmath.workdps(zoo.digits(scores[i], T)):
            p, _, complement, _ = zoo.exact_softmax(scores[i], T)
            t = mpmath.mpf(T)
            exact = [p[j] * complement[j] / t if j == k else -p[j] * p[k] / t for j in range(C) for k in range(C)]
            assert_close(J[i].ravel(), zoo.pairs(exact), 16 * np.finfo(np.float64).eps)


@pytest.mark.parametrize("T", TEMPERATURES)
def test_jacobian_is_the_derivative_of_softmax(T):
    rng = np.random.default_rng(4)
    z, v = rng.normal(size=(5, 6)), rng.normal(size=(5, 6))
    along = zoo.slope(lambda x: softgrad.softmax(x, temperature=T), z, v, h=1e-3 * min(T, 1))
    assert np.allclose(np.einsum("njk,nk->nj", softgrad.softmax_jacobian(z, temperature=T), v), along, rtol=0, atol=1e-11)


@pytest.mark.parametrize("dtype", [np.float16, *zoo.FLOATS])
def test_jacobian_is_symmetric_and_its_rows_sum_to_zero(dtype):
    """A row's rounding error is that of its largest entry, once for each of C terms."""
    z = (3 * np.random.default_rng(5).normal(size=(2, 3, 9))).astype(dtype)
    J = softgrad.softmax_jacobian(z)
    assert J.shape == (2, 3, 9, 9)
    assert J.dtype == dtype
    assert np.array_equal(J, np.swapaxes(J, -1, -2))
    assert (np.abs(J.sum(axis=-1, dtype=np.float64)) <= 9 * np.finfo(dtype).eps * np.abs(J).max(axis=-1)).all()


@pytest.mark.parametrize("function", FUNCTIONS)
@pytest.mark.parametrize("axis", [0, 1, 2, -1, -3, (0, 2), (2, 0), (1, -1), (0, 1, 2), (1,), None])
def test_axes_mean_what_they_mean_one_row_at_a_time(function, axis):
    """Each slice along the axes, laid out as one row: the same numbers but for the order of its sum."""
    z = np.random.default_rng(6).normal(size=(2, 3, 4))
    axes = {0, 1, 2} if axis is None else {k % 3 for k in ([axis] if isinstance(axis, int) else axis)}
    value, lse = function(z, axis=axis), softgrad.logsumexp(z, axis=axis)
    assert value.shape == z.shape
    assert np.shape(lse) == tuple(n for k, n in enumerate(z.shape) if k not in axes)
    for place in np.ndindex(np.shape(lse)):
        rest = iter(place)
        cut = tuple(slice(None) if k in axes else next(rest) for k in range(3))
        assert np.allclose(value[cut].ravel(), function(z[cut].ravel()), rtol=1e-14, atol=0)
        assert np.isclose(np.asarray(lse)[place], softgrad.logsumexp(z[cut].ravel()), rtol=1e-14, atol=0)


@pytest.mark.parametrize(("shape", "axis"), [((0, 4), -1), ((2, 0, 3), -1), ((3, 0), 0), ((0, 4), 1)])
def test_batches_may_be_empty(shape, axis):
    for function in FUNCTIONS:
        assert function(np.zeros(shape, np.float32), axis=axis).shape == shape
    assert softgrad.logsumexp(np.zeros(shape), axis=axis).size == 0


def test_a_single_number_has_probability_one():
    assert softgrad.softmax(3.0, axis=None) == 1
    assert softgrad.logsumexp(3.0, axis=None) == 3
    assert np.shape(softgrad.softmax(3.0, axis=None)) == ()


@pytest.mark.parametrize("axis", [-1, 0, None, (0, 1)])
def test_agrees_with_scipy_where_scipy_is_accurate(axis):
    z = np.random.default_rng(7).normal(size=(6, 8))
    assert np.allclose(softgrad.softmax(z, axis=axis), scipy.special.softmax(z, axis=axis), rtol=1e-14, atol=0)
    assert np.allclose(softgrad.log_softmax(z, axis=axis), scipy.special.log_softmax(z, axis=axis), rtol=1e-13, atol=0)
    assert np.allclose(softgrad.logsumexp(z, axis=axis), scipy.special.logsumexp(z, axis=axis), rtol=1e-14, atol=0)


def test_keeps_the_tail_where_others_return_zero():
    """Margins of 50 in float64 and 20 in float32: the usual formulas give exactly 0 for the largest class's log- probability."""
    for dtype, margin in ((np.float64, 50), (np.float32, 20)):
        value = softgrad.log_softmax(np.array([margin, 0], dtype))[0]
        assert value == pytest.approx(-np.exp(-float(margin)), rel=float(np.finfo(dtype).eps))
        assert scipy.special.log_softmax(np.array([margin, 0], dtype))[0] == 0


def test_impossible_classes():
    """-inf means "not possible": probability 0, and the others share what there is."""
    z = [-np.inf, 0.0, np.log(3.0)]
    assert np.allclose(softgrad.softmax(z), [0, 0.25, 0.75], rtol=1e-15, atol=0)
    assert softgrad.softmax(z)[0] == 0
    assert softgrad.log_softmax(z)[0] == -np.inf
    assert np.isfinite(softgrad.softmax_jacobian(z)).all()
    assert (softgrad.softmax_jacobian(z)[0] == 0).all()
    assert softgrad.logsumexp([-np.inf, -np.inf]) == -np.inf
    assert softgrad.logsumexp([-np.inf, np.inf, 3.0]) == np.inf


@pytest.mark.parametrize("T", TEMPERATURES)
def test_temperature_limits(T):
    """T -> 0 tends to argmax, T -> inf to uniform; T itself is a division."""
    z = np.array([1.0, 2.0, 3.0])
    assert softgrad.softmax(z, temperature=1e-300).tolist() == [0, 0, 1]
    assert np.allclose(softgrad.softmax(z, temperature=1e300), 1 / 3, rtol=1e-15, atol=0)
    assert np.allclose(softgrad.softmax(z * T, temperature=T), softgrad.softmax(z), rtol=1e-14, atol=0)


@pytest.mark.parametrize("scores", [[1.7e308, -1.7e308], [1e308, 0.0], [-1.7e308, 1.7e308, 1.7e308]])
@pytest.mark.parametrize("T", [0.5, 1.0])
def test_no_finite_scores_overflow(scores, T):
    """Differences and quotients of finite scores may be beyond the largest number; their softmax is not."""
    best = np.array(scores) == max(scores)
    assert np.allclose(softgrad.softmax(scores, temperature=T), best / best.sum(), rtol=1e-15, atol=0)


def test_a_tiny_temperature_gives_the_argmax():
    """Below 1e-308 even ordinary scores divided by T are infinite."""
    assert softgrad.softmax([1.0, 2.0, 3.0], temperature=1e-310).tolist() == [0, 0, 1]


@pytest.mark.parametrize("bad", [[[1.0, np.nan]], [[np.inf, 0.0]], [[-np.inf, -np.inf]]])
def test_rows_without_a_softmax_are_refused(bad):
    for function in (*FUNCTIONS, softgrad.softmax_jacobian):
        with pytest.raises(SoftgradError, match="scores"):
            function(bad)


@pytest.mark.parametrize("axis", [2, -3, (0, 0), (0, -2), (1, 5), np.int64(4), 0.5, "rows"])
def test_axes_that_are_not_there_are_refused(axis):
    for function in (*FUNCTIONS, softgrad.logsumexp):
        with pytest.raises(SoftgradError, match="axis"):
            function(np.zeros((2, 3)), axis=axis)


def test_numpy_integers_name_axes_too():
    z = np.random.default_rng(8).normal(size=(2, 3))
    assert np.array_equal(softgrad.softmax(z, axis=np.int64(0)), softgrad.softmax(z, axis=0))


def test_the_scores_themselves_are_left_alone():
    z = np.random.default_rng(9).normal(size=(3, 4))
    before = z.copy()
    for function in (*FUNCTIONS, softgrad.logsumexp, softgrad.softmax_jacobian):
        function(z)
    assert np.array_equal(z, before)
