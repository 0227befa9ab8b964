"""The C++ heads, dense and CSR, against the formula in float64."""

import numpy as np
import pytest
from compiled import DTYPES, each_isa, formula, native

from softgrad import threads, widening
from softgrad.blocks.memory import MemoryRows
from softgrad.kernels.fused import AbstractKernel, Head
from softgrad.kernels.native import OnePass
from softgrad.losses import cross_entropy

isa = each_isa


def linear_truth(X, coef, intercept, labels, *, targets=None, class_weight=None, row_weight=None, temperature=1.0,
                 smoothing=0.0, scale=1.0):
    """The head in float64, with the size of every sum: (losses, sizes) and (grad_coef, grad_intercept, grad_X) each."""
    X, coef, C = X.astype(np.float64), coef.astype(np.float64), len(coef)
    r = np.ones(len(X)) if row_weight is None else row_weight.copy()
    if labels is not None:
        r[labels < 0] = 0
    X = np.where(r[:, None] == 0, 0, X)
    q = np.eye(C)[labels] if targets is None else targets.astype(np.float64)
    a = (np.ones(C) if class_weight is None else class_weight) * ((1 - smoothing) * q + smoothing / C)
    z = (X @ coef.T + intercept) / temperature
    reach = (np.abs(X) @ np.abs(coef).T + np.abs(intercept)).max(axis=1, keepdims=True) / temperature
    e = np.exp(z - z.max(axis=1, keepdims=True))
    p = e / e.sum(axis=1, keepdims=True)
    lse = np.log(e.sum(axis=1, keepdims=True)) + z.max(axis=1, keepdims=True)
    losses = r * (a * (lse - z)).sum(axis=1)
    g = (r * scale / temperature)[:, None] * (p * a.sum(axis=1, keepdims=True) - a)
    big = (abs(r) * scale / temperature)[:, None] * (p * a.sum(axis=1, keepdims=True) + a) * (1 + reach)
    loss_size = r * a.sum(axis=1) * (1 + reach[:, 0]) + losses
    return losses, loss_size, (g.T @ X, g.sum(axis=0), g @ coef), (big.T @ np.abs(X), big.sum(axis=0), big @ np.abs(coef))


STORED = {"float32": np.float32, "float64": np.float64, "float16": np.float16, "uint8": np.uint8, "bfloat16": np.uint16}


def stored_rows(kind, n, D, rng):
    """X as it is stored, and the numbers it means."""
    if kind == "uint8":
        return (X := rng.integers(256, size=(n, D), dtype=np.uint8)), X.astype(np.float32)
    X = rng.normal(size=(n, D)).astype(np.float32)
    if kind == "bfloat16":
        bits = (X.view(np.uint32) >> 16).astype(np.uint16)
        return bits, (bits.astype(np.uint32) << 16).view(np.float32)
    X = X.astype(STORED[kind])
    return X, X.astype(np.float64)


def head_rows(X, coef, intercept, labels, *, targets=None, class_weight=None, row_weight=None, temperature=1.0, smoothing=0.0,
              scale=1.0, want_X=True):
    losses, grad_intercept = np.full(len(X), 7.0), np.full(len(coef), 7.0)
    grad_coef, grad_X = np.full_like(coef, 7), np.full(X.shape, 7, dtype=coef.dtype) if want_X else None
    asked = formula(len(coef), class_weight, temperature, smoothing)
    bad = native.head_rows(X, coef, intercept, asked, labels, targets, row_weight, None, scale, losses, grad_coef, grad_intercept, grad_X)
    return bad, losses, (grad_coef, grad_intercept, grad_X)


def assert_head(found, truth, X, eps):
    """Rounding of the scores and of the sums over D and over rows: random walks of sqrt(D) and sqrt(n) steps."""
    bad, losses, gradients = found
    true_losses, loss_size, true_gradients, sizes = truth
    assert bad == -1
    tolerance = 8 * eps * (2 + np.sqrt(max(X.shape)) / 4)
    assert (np.abs(losses - true_losses) <= tolerance * loss_size + 1e-300).all()
    for value, exact, size in zip(gradients, true_gradients, sizes, strict=True):
        if value is not None:
            assert (np.abs(value - exact) <= tolerance * size + 1e-300).all()


@pytest.mark.parametrize("D", [1, 3, 17, 64, 100, 3072])
@pytest.mark.parametrize("C", [1, 2, 7, 10, 33, 100])
@pytest.mark.parametrize("kind", STORED)
def test_head_agrees_with_float64(isa, kind, C, D):
    rng = np.random.default_rng([C, D])
    for n in (1, 2, 15, 16, 37) if D < 3000 else (17,):
        X, numbers = stored_rows(kind, n, D, rng)
        T = np.float64 if kind == "float64" else np.float32
        coef = (rng.normal(size=(C, D)) / np.sqrt(D) / (100 if kind == "uint8" else 1)).astype(T)
        intercept = rng.normal(size=C).astype(T)
        labels = rng.integers(-1 if n > 2 else 0, C, size=n)
        weights = {"class_weight": rng.uniform(0.5, 2, C), "row_weight": rng.integers(0, 3, n).astype(float)}
        for extra in ({}, {"temperature": 1.7, "scale": 0.3}, {"smoothing": 0.1, **weights}):
            found = head_rows(X, coef, intercept, labels, **extra)
            assert_head(found, linear_truth(numbers, coef, intercept, labels, **extra), X, np.finfo(T).eps)


def test_head_takes_distributions_and_read_only_rows_and_repeats_its_bits(isa):
    rng = np.random.default_rng(5)
    X = rng.normal(size=(45, 777)).astype(np.float32)
    X.flags.writeable = False
    for C in (4, 40):
        coef, intercept = rng.normal(size=(C, 777)).astype(np.float32), np.zeros(C, np.float32)
        q = rng.dirichlet(np.ones(C), size=45).astype(np.float32)
        found, again = (head_rows(X, coef, intercept, None, targets=q) for _ in range(2))
        assert_head(found, linear_truth(X, coef, intercept, None, targets=q), X, np.finfo(np.float32).eps)
        assert np.array_equal(found[1], again[1])
        assert all(np.array_equal(a, b) for a, b in zip(found[2], again[2], strict=True))


def test_head_keeps_the_gradient_of_confident_rows(isa):
    """One exact feature per class: a margin of 60 gives a gradient near 1e-26, to a few eps; p - 1 would be 0."""
    X, coef = np.eye(4, dtype=np.float32), 60 * np.eye(4, dtype=np.float32)
    labels = np.arange(4)
    for kind in (np.float32, np.float16, np.uint8):
        _, losses, (grad_coef, _, _) = head_rows(X.astype(kind), coef, np.zeros(4, np.float32), labels)
        assert np.allclose(losses, 3 * np.exp(-60.0), rtol=1e-6, atol=0)
        assert np.allclose(grad_coef, np.exp(-60.0) * (1 - 4 * np.eye(4)), rtol=1e-6, atol=0)


def test_half_numbers_of_every_kind(isa):
    """All 65536 bit patterns: infinities and NaN name their row, all others act as the number they are."""
    patterns = np.arange(65536, dtype=np.uint16).view(np.float16)
    coef, intercept = np.array([[1.0], [0.0]], dtype=np.float32), np.zeros(2, np.float32)
    finite = np.isfinite(patterns)
    X = patterns[finite][:, None]
    bad, losses, _ = head_rows(X, coef, intercept, np.ones(len(X), dtype=np.int64))
    assert bad == -1
    assert np.allclose(losses, np.logaddexp(0, X[:, 0].astype(float)), rtol=1e-6, atol=1e-38)
    for value in patterns[~finite][::97]:
        if value != -np.inf:
            assert head_rows(np.full((3, 1), value), coef, intercept, np.zeros(3, dtype=np.int64))[0] == 0


def test_how_many_classes_stay_in_registers(isa):
    """32 of any number of features; more while coef, in the type of the pass, has at most 400 bytes a feature and 400 KiB in all."""
    loss = cross_entropy()
    for kind, D, most in (
        ("f4", 16, 100), ("f4", 0, 100), ("f4", 1024, 100), ("f4", 2560, 40), ("u1", 2560, 40), ("f2", 2560, 40), ("f8", 16, 50),
        ("f8", 1280, 40), ("f4", 100_000, 32),
    ):  # fmt: skip
        most = 32 if native.isa() == "baseline" else most
        X = np.empty((1, D), kind)
        assert not OnePass().refuses(X, most, loss)
        assert f"at most {most} classes" in OnePass().refuses(X, most + 1, loss)


@pytest.mark.parametrize("shape", [(1, 65536), (4096, 16), (1, 1), (3, 0), (0, 3), (7, 5), (33, 31)])
def test_halves_become_the_floats_they_are(isa, shape):
    X = np.resize(np.arange(65536, dtype=np.uint16), shape).view(np.float16)
    found = np.full(X.size + 1, 7, np.float32)
    native.of_halves(X, found[:-1].reshape(shape))
    with np.errstate(invalid="ignore"):  # NumPy says so of NaN that signal
        assert np.array_equal(found[:-1].reshape(shape), X.astype(np.float32), equal_nan=True)
    assert found[-1] == 7


@pytest.mark.parametrize("kind", [np.float16, np.uint8, np.float32, np.float64])
@pytest.mark.parametrize("compiled", [True, False])
def test_rows_are_widened_whatever_they_are_and_however_they_lie(monkeypatch, compiled, kind):
    if not compiled:
        monkeypatch.setattr(widening, "of_halves", [])
    X = np.arange(60).reshape(6, 10).astype(kind)
    for x in (X, X[::2], X[:, 1:4], X.T, X[:0], X[[3, 1]]):
        for dtype in map(np.dtype, (np.float32, np.float64)):
            found = widening.widened(x, dtype)
            assert found.dtype == dtype
            assert np.array_equal(found, x)
    assert widening.widened(X, X.dtype) is X


def test_head_names_the_bad_row_and_skips_those_that_do_not_count(isa):
    X = np.ones((60, 9), dtype=np.float32)
    labels = np.zeros(60, dtype=np.int64)
    X[7], labels[7], X[33, 4] = np.nan, -1, np.nan
    coef, intercept = np.ones((3, 9), np.float32), np.zeros(3, np.float32)
    assert head_rows(X, coef, intercept, labels)[0] == 33
    labels[33] = -5
    bad, losses, (_, _, grad_X) = head_rows(X, coef, intercept, labels)
    assert bad == -1
    assert losses[7] == losses[33] == 0
    assert (grad_X[[7, 33]] == 0).all()


@pytest.mark.parametrize("C", [1, 2, 10, 31, 77, 1016])
@pytest.mark.parametrize("dtype", DTYPES)
def test_sparse_curvature_agrees_with_float64(isa, dtype, C):
    """Of sure rows too, where p_y is 1 in floating point: p_j sum_k p_k (u_j - u_k) keeps its digits, u - p'u does not."""
    rng = np.random.default_rng(C)
    n, D, eps = 41, 300, np.finfo(dtype).eps
    dense = np.where(rng.uniform(size=(n, D)) < 0.05, rng.normal(size=(n, D)), 0).astype(dtype)
    indices, data = np.nonzero(dense)[1].astype(np.int32), dense[dense != 0]
    indptr = np.concatenate([[0], np.cumsum((dense != 0).sum(axis=1))]).astype(np.int64)
    V, v = rng.normal(size=(C, D)).astype(dtype), rng.normal(size=C).astype(dtype)
    P = rng.dirichlet(np.full(C, 0.3), n)
    P[:20, 0] = 1
    P[:20, 1:] *= 1e-9
    P, r = P.astype(dtype), rng.uniform(0, 2, n) * (rng.uniform(size=n) < 0.8)
    P[r == 0] = np.nan
    grad_t, grad_v = np.ones((D, C), dtype), np.full(C, 7.0)
    native.csr_curvature(indptr, indices, data, np.ascontiguousarray(V.T), v, P, r, 0.5, grad_t, grad_v)
    X, P = dense.astype(np.float64), np.where(r[:, None] == 0, 0, P).astype(np.float64)
    u, size = X @ V.T.astype(np.float64) + v, np.abs(X) @ np.abs(V.T) + np.abs(v)
    between = u[:, :, None] - u[:, None]  # u_j - u_k
    Ju = 0.5 * r[:, None] * P * np.einsum("ik,ijk->ij", P, between)
    bound = 50 * eps * r[:, None] * P * (np.einsum("ik,ijk->ij", P, np.abs(between)) + (1 - P + eps) * size.max(axis=1, keepdims=True))
    assert (np.abs(grad_v - Ju.sum(axis=0)) <= bound.sum(axis=0) + 1e-300).all()
    assert (np.abs(grad_t.T - 1 - Ju.T @ X) <= bound.T @ np.abs(X) + 8 * eps).all()


@pytest.mark.parametrize("C", [1, 2, 10, 31, 77, 1016])
@pytest.mark.parametrize("dtype", DTYPES)
def test_sparse_head_agrees_with_float64(isa, dtype, C):
    rng = np.random.default_rng(C)
    n, D = 41, 300
    dense = np.where(rng.uniform(size=(n, D)) < 0.05, rng.normal(size=(n, D)), 0).astype(dtype)
    dense[4] = 0
    counts = (dense != 0).sum(axis=1)
    indices, data = np.nonzero(dense)[1].astype(np.int32), dense[dense != 0]
    coef, intercept = rng.normal(size=(C, D)).astype(dtype), rng.normal(size=C).astype(dtype)
    labels, weight = rng.integers(-1, C, size=n), rng.uniform(0, 2, n)
    indptr = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    for temperature, smoothing in ((1.0, 0.0), (1.4, 0.1)):
        losses, grad_t, grad_intercept = np.full(n, 7.0), np.ones((D, C), dtype), np.full(C, 7.0)
        bad = native.csr_rows(indptr, indices, data, np.ascontiguousarray(coef.T), intercept, formula(C, None, temperature, smoothing),
                              labels, None, weight, None, 0.5, losses, grad_t, grad_intercept)
        truth = linear_truth(dense, coef, intercept, labels, row_weight=weight, temperature=temperature, smoothing=smoothing,
                             scale=0.5)
        grown = (truth[2][0] + 1, truth[2][1], None), (truth[3][0] + 1, truth[3][1], None)
        assert_head((bad, losses, (grad_t.T, grad_intercept, None)), (truth[0], truth[1], *grown), dense, np.finfo(dtype).eps)


@pytest.mark.parametrize("n_threads", [1, 2, 5])
@pytest.mark.parametrize("kind", ["float32", "float64", "float16", "uint8"])
def test_blocks_in_one_call_give_the_bits_of_one_call_each(kind, n_threads):
    rng = np.random.default_rng(3)
    N, D, C = 3000, 37, 7
    X, _ = stored_rows(kind, N, D, rng)
    dtype = np.float64 if kind == "float64" else np.float32
    coef = rng.standard_normal((C, D)) / (256 if kind == "uint8" else 1)
    head = Head(coef.astype(dtype), rng.standard_normal(C).astype(dtype), 0, 0.25)
    y, r = rng.integers(0, C, N), rng.random(N) * (rng.random(N) < 0.9)
    loss, kernel = cross_entropy(label_smoothing=0.1, class_weight=rng.random(C)), OnePass()
    ours, theirs = (MemoryRows(X, y, r, 11, np.full((N, D), 7.0, dtype)) for _ in range(2))
    with threads.limit(n_threads):
        found = kernel.over(ours, loss, head)
    for a, b in zip(found, AbstractKernel.over(kernel, theirs, loss, head), strict=True):
        np.testing.assert_array_equal(a, b)
    np.testing.assert_array_equal(ours.out, theirs.out)


def test_a_bad_row_in_any_block_spoils_the_value():
    X = np.ones((1000, 8), np.float32)
    rows = MemoryRows(X, np.zeros(1000, np.int64), np.ones(1000), 7)
    head = Head(np.zeros((2, 8), np.float32), np.zeros(2, np.float32), 0, 1.0)
    assert OnePass().over(rows, cross_entropy(), head)[0] == pytest.approx(1000 * np.log(2))
    X[613, 5] = np.nan
    assert np.isnan(OnePass().over(rows, cross_entropy(), head)[0])
