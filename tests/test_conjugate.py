"""Newton steps by conjugate gradients: as far as asked for, and never up the hill."""

import numpy as np
import pytest

from softgrad.solvers import conjugate
from softgrad.solvers.conjugate import newton_step


def quadratic(n=40, seed=0, dtype=np.float64, smallest=1e-4):
    """H with eigenvalues from `smallest` to 1 under badly scaled features, g, and the inverse of H's diagonal."""
    rng = np.random.default_rng(seed)
    Q, scale = np.linalg.qr(rng.normal(size=(n, n)))[0], np.logspace(-2, 2, n)
    H = (scale[:, None] * (Q * np.geomspace(smallest, 1, n)) @ Q.T * scale).astype(dtype)
    g = (scale * rng.normal(size=n)).astype(dtype)
    return H, g, 1 / H.diagonal()


def fall(H, g, s):
    return g @ s - 0.5 * s @ H @ s


def test_a_step_that_is_small_beside_the_value_is_nearly_exact(monkeypatch):
    monkeypatch.setattr(conjugate, "FINE", 1e-9)
    H, g, inverse = quadratic()
    exact = np.linalg.solve(H, g)
    s = newton_step(lambda v: H @ v, g, inverse, size=1e40)
    assert fall(H, g, s) == pytest.approx(fall(H, g, exact), rel=1e-6)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_large_step_is_coarse_and_takes_few_products(dtype):
    H, g, inverse = quadratic(dtype=dtype)
    taken = []
    for size in (1e-6, 1e8):
        n = []
        s = newton_step(lambda v, n=n: (n.append(0), H @ v)[1], g, inverse, size)
        assert s.dtype == dtype
        assert 0 < fall(H, g, s) <= fall(H, g, np.linalg.solve(H, g)) * (1 + 1e-3)
        taken.append((len(n), fall(H, g, s)))
    assert taken[0][0] < 0.5 * taken[1][0]
    assert taken[0][1] < taken[1][1]


def test_what_is_less_than_the_least_is_left_undone(monkeypatch):
    monkeypatch.setattr(conjugate, "FINE", 1e-9)
    H, g, inverse = quadratic(smallest=0.1)
    best = fall(H, g, np.linalg.solve(H, g))
    products = {least: [] for least in (0.0, 1e-2 * best, best)}
    falls = [fall(H, g, newton_step(lambda v, n=n: (n.append(0), H @ v)[1], g, inverse, 1e40, least)) for least, n in products.items()]
    assert falls == sorted(falls, reverse=True)
    assert falls[1] > 0.95 * best
    counts = [len(n) for n in products.values()]
    assert counts[0] > counts[1] > counts[2]


def test_nothing_to_do_and_nothing_to_go_by():
    """A gradient of 0; a direction without curvature, where the metric's step is taken."""
    H, g, inverse = quadratic()
    assert not newton_step(lambda v: H @ v, 0 * g, inverse, 1.0).any()
    assert np.array_equal(newton_step(lambda v: 0 * v, g, inverse, 1.0), inverse * g)


def test_no_more_products_than_allowed(monkeypatch):
    monkeypatch.setattr(conjugate, "MOST", 7)
    H, g, inverse = quadratic(n=200)
    n = []
    newton_step(lambda v: (n.append(0), H @ v)[1], g, inverse, 1e30)
    assert len(n) == 7
