"""Long vectors in pieces on all threads give what plain NumPy gives, and the same bits for every number of threads."""

import numpy as np
import pytest

from softgrad import threads
from softgrad.solvers import vectors
from softgrad.solvers.lbfgs import Pairs

LENGTHS = [1, 7, vectors.PIECE, vectors.PIECE + 1, vectors.SHARE + 3, 2 * vectors.SHARE + vectors.PIECE + 5]


@pytest.mark.parametrize("n", LENGTHS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_products_and_sums_of_vectors(n, dtype):
    rng = np.random.default_rng(n)
    A, B, factors = rng.normal(size=(3, n)).astype(dtype), rng.normal(size=(2, n)).astype(dtype), [0.5, -2.0, 3.0]
    found = []
    for count in (1, 2, 3):
        with threads.limit(count):
            found.append((vectors.products(A, B), vectors.combined(A, factors)))
    wide = A.astype(np.float64)
    assert np.allclose(found[0][0], wide @ B.T.astype(np.float64), rtol=0, atol=20 * np.finfo(dtype).eps * n**0.5 * 4)
    assert np.allclose(found[0][1], factors @ wide, rtol=0, atol=20 * np.finfo(dtype).eps)
    assert found[0][1].dtype == dtype
    for products, combined in found[1:]:
        assert np.array_equal(products, found[0][0])
        assert np.array_equal(combined, found[0][1])


def two_loops(pairs, g, M_inverse):
    """The recursion as the textbook has it: Nocedal & Wright 2006, algorithm 7.4."""
    q, along = g.copy(), []
    for s, y, _, rho in reversed(pairs):
        along.append(rho * s @ q)
        q = q - along[-1] * y
    _, y, _, rho = pairs[-1]
    d = M_inverse @ q / (rho * y @ M_inverse @ y)
    for (s, y, _, rho), a in zip(pairs, reversed(along), strict=True):
        d = d + (a - rho * y @ d) * s
    return -d


@pytest.mark.parametrize("memory", [3, 5, 20])
def test_the_direction_is_that_of_the_two_loops(memory):
    rng, n = np.random.default_rng(memory), 30
    root, bend = rng.normal(size=(n, n)), rng.normal(size=(n, n))
    A, M_inverse = root @ root.T + np.eye(n), np.linalg.inv(bend @ bend.T + np.eye(n))
    pairs = Pairs(memory, 8 * n)
    for _ in range(12):
        s = rng.normal(size=n)
        pairs.add(s, A @ s, M_inverse @ (A @ s))
        g = rng.normal(size=n)
        expected = two_loops(pairs.kept, g, M_inverse)
        assert np.allclose(pairs.direction(g, M_inverse @ g), expected, rtol=0, atol=1e-9 * np.abs(expected).max())
    assert len(pairs.kept) == min(12, memory)


def test_a_pair_without_curvature_is_left_out():
    pairs, s = Pairs(5, 80), np.arange(10.0)
    pairs.add(s, -s, -s)
    pairs.add(s, 0 * s, 0 * s)
    assert not pairs.kept
