"""Tiled Gram matrices and Cholesky factors: right, and the same bits for every number of threads."""

from __future__ import annotations

import numpy as np
import pytest

from softgrad import threads as threads_room
from softgrad.cholesky import WIDTH, factorise, gram

SIZES = [1, 3, WIDTH - 1, WIDTH, WIDTH + 1, 2 * WIDTH + 37]


def rows(D, dtype):
    return np.random.default_rng(D).normal(size=(D + 20, D)).astype(dtype)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("D", SIZES)
def test_gram_and_solve(D, dtype):
    S = rows(D, dtype)
    exact = S.T.astype(np.float64) @ S
    G = gram(S)
    eps = np.finfo(dtype).eps
    assert np.abs(G - exact).max() <= 2 * np.sqrt(len(S)) * eps * exact.max()
    assert (G == G.T).all()
    A = exact / len(S) + np.eye(D)  # condition below 10
    factor = factorise(A.astype(dtype))
    for b in (np.ones(D, dtype), np.arange(2 * D).reshape(D, 2).astype(dtype)):
        x = factor.solve(b)
        assert np.abs(A @ x - b).max() <= 50 * np.sqrt(D) * eps * np.abs(b).max()


@pytest.mark.parametrize("D", [WIDTH + 1, 3 * WIDTH - 5])
def test_same_bits_at_every_thread_count(D):
    found = []
    for n in (1, 2, 5):
        with threads_room.limit(n):
            G = gram(rows(D, np.float32))
            found.append((G.copy(), factorise(G + np.eye(D, dtype=np.float32)).solve(np.ones(D))))
    for G, x in found[1:]:
        assert (found[0][0] == G).all()
        assert (x == found[0][1]).all()


@pytest.mark.parametrize("D", [5, WIDTH + 50])
def test_a_singular_matrix_is_restored_before_the_next_ridge(D):
    S = np.random.default_rng(1).normal(size=(3, D)).astype(np.float32)
    A = gram(S) - np.float32(1e-3) * np.eye(D, dtype=np.float32)  # not positive definite: several ridges are needed
    b = (S.T @ np.ones(3)).astype(np.float32)
    x = factorise(A.copy()).solve(b)
    ridge = 8 * np.finfo(np.float32).eps * float(A.diagonal().mean())
    while ridge <= 1e-3:
        ridge *= 32
    residual = A.astype(np.float64) @ x + ridge * x - b
    assert np.abs(residual).max() <= 1e-4 * np.abs(b).max()  # tiles of a factor that failed would leave residuals of order 1


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_an_overflown_matrix_gives_the_identity(bad):
    A = np.eye(4)
    A[2, 2] = bad
    assert (factorise(A).solve(np.arange(4.0)) == np.arange(4.0)).all()
