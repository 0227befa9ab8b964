"""Compiled rows of small scores, which need no level of their own: the digits, and where classes are few the bits, of all other rows."""

import numpy as np
import pytest
from compiled import DTYPES, each_isa
from test_native import exact_row, score_rows, worst

isa = each_isa
SMALL = {np.float32: 40.0, np.float64: 300.0}  # native/exponential.hpp
N = 128  # two tiles


def rows(dtype, C, seed=0):
    rng = np.random.default_rng([C, seed])
    return (3 * rng.standard_normal((N, C))).astype(dtype), rng.integers(0, C, N)


@pytest.mark.parametrize("temperature", [1.0, 2.7])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("C", [1, 2, 3, 4, 7, 10, 16, 31, 32])
@pytest.mark.parametrize("dtype", DTYPES)
def test_a_large_row_nearby_changes_no_bit(isa, dtype, C, weighted, temperature):
    z, y = rows(dtype, C)
    options = {"labels": y, "temperature": temperature, "class_weight": np.arange(C) / 2 if weighted else None}
    _, losses, gradient = score_rows(z, **options)
    moved = z.copy()
    moved[[5, 64]] += 1000
    bad, others, theirs = score_rows(moved, **options)
    rest = np.delete(np.arange(N), [5, 64])
    assert bad == -1
    np.testing.assert_array_equal(others[rest], losses[rest])
    np.testing.assert_array_equal(theirs[rest], gradient[rest])
    np.testing.assert_array_equal(score_rows(z, out=None, **options)[1], losses)


@pytest.mark.parametrize("C", [2, 10, 40])
@pytest.mark.parametrize("dtype", DTYPES)
def test_digits_are_kept_on_both_sides_of_where_small_ends(isa, dtype, C):
    z, y = rows(dtype, C)
    sizes = np.array([0.5, 0.999, 1.001, 1.04, 1.05, 1.06, 1.59, 1.61, 1.66]) * SMALL[dtype]  # many classes: floats to 1.6 of it
    n = len(sizes)
    for k, size in enumerate(sizes):
        z[k], z[k + n] = -size, -size  # the label lowest, the label highest
        z[k, 0], z[k + n, 0] = size, size
        y[k], y[k + n] = 1, 0
    for first in range(n):  # each of them with small neighbours only
        part = np.r_[first, first + n, 2 * n : 2 * n + 62]
        _, losses, gradient = score_rows(z[part], labels=y[part])
        for k in range(4):
            i, one = part[k], np.eye(C)[y[part[k]]]
            loss, exact, size = exact_row(z[i], one, np.ones(C), 1.0, 1.0, 0.0)
            eps, tiny = np.finfo(dtype).eps, np.finfo(dtype).tiny
            assert worst([losses[k]], [loss], [loss], tiny) <= 16 * eps
            assert worst(gradient[k], exact, size, tiny) <= 16 * eps


@pytest.mark.parametrize("poison", [np.nan, np.inf, "nothing"])
@pytest.mark.parametrize("C", [10, 40])
@pytest.mark.parametrize("dtype", DTYPES)
def test_rows_without_a_softmax_are_named_among_small_ones(isa, dtype, C, poison):
    for first in (0, 63, 64, N - 1):
        z, y = rows(dtype, C)
        if poison == "nothing":
            z[first] = -np.inf
        else:
            z[first, 3] = poison
        assert score_rows(z, labels=y)[0] == first


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("scale", [1e-30, 1e-12, 1e12, 1e30])
@pytest.mark.parametrize("C", [10, 40])
def test_tiny_and_huge_steps_lose_no_digit(isa, C, scale, smoothing):
    z, y = rows(np.float32, C)
    z += np.where(np.arange(N) % 2, 25, -25)[:, None].astype(np.float32)
    _, losses, gradient = score_rows(z, labels=y, smoothing=smoothing)
    _, same, scaled = score_rows(z, labels=y, smoothing=smoothing, scale=scale)
    np.testing.assert_array_equal(same, losses)
    np.testing.assert_allclose(scaled.astype(np.float64) / scale, gradient, rtol=1e-6, atol=1e-6 * smoothing / C)


@pytest.mark.parametrize("temperature", [1.0, 0.7])
@pytest.mark.parametrize("smoothing", [1e-6, 0.1, 0.5, 0.51, 0.99, 1.0])
@pytest.mark.parametrize("C", [33, 100])
@pytest.mark.parametrize("dtype", DTYPES)
def test_smoothed_rows_keep_their_digits(isa, dtype, C, smoothing, temperature):
    """Also where the label, far below the others, has little of the target: relative to its score alone 12 to 15 eps were lost."""
    far = (60 if dtype == np.float32 else 290) * temperature
    rng = np.random.default_rng(C)
    z, y = (rng.standard_normal((6, C)) * [[0.1], [0.1], [0.1], [3], [3], [3]]).astype(dtype), rng.integers(0, C, 6)
    k = np.arange(6)
    z[:3] += far
    z[k, y] = far * np.array([-0.95, -1, 0, 1, 0.5, -1], dtype)
    for out in ("fresh", z.copy()):
        scores = z if isinstance(out, str) else out
        _, losses, gradient = score_rows(scores, labels=y, smoothing=smoothing, temperature=temperature, out=out)
        for i in k:
            loss, exact, size = exact_row(z[i], np.eye(C)[y[i]], np.ones(C), 1.0, temperature, smoothing)
            eps, tiny = np.finfo(dtype).eps, np.finfo(dtype).tiny
            assert worst([losses[i]], [loss], [loss], tiny) <= 6 * eps
            assert worst(gradient[i], exact, size, tiny) <= 16 * eps


@pytest.mark.parametrize("C", [10, 40])
@pytest.mark.parametrize("dtype", DTYPES)
def test_a_class_of_no_weight_costs_nothing(isa, dtype, C):
    z, y = rows(dtype, C)
    bad, losses, gradient = score_rows(z, labels=y, class_weight=np.where(np.arange(C) == 3, 0.0, 1.0))
    assert bad == -1
    assert (losses[y == 3] == 0).all()
    assert (gradient[y == 3] == 0).all()
    assert (losses[y != 3] > 0).all()
