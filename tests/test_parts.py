"""The family is extended from outside: new parts, written here, compose with everything and no room of the library changes."""

from dataclasses import dataclass
from itertools import product

import numpy as np
import pytest
import zoo

import softgrad
from softgrad import kernels, training
from softgrad.blocks.block import Block
from softgrad.kernels import native
from softgrad.kernels.reference import Reference
from softgrad.kernels.tiled import Tiled
from softgrad.losses import compose
from softgrad.losses.curves import Identity
from softgrad.losses.part import AbstractCurve, AbstractScores, AbstractTargets
from softgrad.losses.scores import Temperature
from softgrad.losses.targets import Smoothed
from softgrad.losses.weights import Weights
from softgrad.solvers.lbfgs import LBFGS
from softgrad.solvers.solver import Status


@dataclass(frozen=True)
class Poly1(AbstractCurve):
    """f(l) = l + e (1 - exp(-l)): l + e (1 - p) for a label (Leng et al. 2022, arXiv 2204.12511)."""

    e: float

    linear = False

    def convex(self, *, one_hot):
        return -1 <= self.e <= 0 or (one_hot and self.e <= 1)

    def derivatives(self, ell):
        tail = self.e * np.exp(-ell)
        return ell + self.e - tail, 1 + tail, -tail


@dataclass(frozen=True)
class SoftCap(AbstractScores):
    """u = k tanh(z / k)."""

    k: float

    keeps_shifts = False
    affine = False

    def forward(self, z, y):
        u = self.k * np.tanh(z[0] / self.k)
        return u, self.slope(z, y) * z[1]

    def slope(self, z, y):
        return 1 - np.tanh(z[0] / self.k) ** 2

    def bend(self, z, y):
        return -2 / self.k * np.tanh(z[0] / self.k) * self.slope(z, y)


@dataclass(frozen=True)
class Neighbours(AbstractTargets):
    """Labels in an order: the classes beside the true one get a share each (at the ends it goes round)."""

    share: float

    hard = False

    def rows(self, y, n_classes, omega):
        q = np.eye(n_classes)[y] if y.ndim == 1 else y
        q = (1 - 2 * self.share) * q + self.share * (np.roll(q, 1, axis=1) + np.roll(q, -1, axis=1))
        a = q * omega
        return a, a.sum(axis=1, keepdims=True) - a


SCORES = {"none": (), "cap": (SoftCap(3.0),), "cap of temperature": (Temperature(0.7), SoftCap(2.0)),
          "temperature of cap": (SoftCap(4.0), Temperature(1.6)),
          "cap of cap": (SoftCap(4.0), SoftCap(2.0))}  # fmt: skip
CURVES = {"identity": Identity(), "poly": Poly1(1.5), "negative poly": Poly1(-0.8)}
TARGETS = {"hard": Smoothed(0.0), "smoothed": Smoothed(0.1), "neighbours": Neighbours(0.15)}
NEW = [key for key in product(SCORES, CURVES, TARGETS) if key[0] != "none" or key[1] != "identity" or key[2] == "neighbours"]
OMEGA = (0.5, 2.0, 0.0, 1.3, 0.9)


def composed(scores, curve, targets, omega=None, ignore=None):
    return compose(*SCORES[scores], CURVES[curve], TARGETS[targets], Weights(omega, ignore))


def rows_of_scores(kind="labels", seed=21):
    rng = np.random.default_rng(seed)
    z = 2 * rng.normal(size=(6, 5))
    y = rng.integers(5, size=6) if kind == "labels" else rng.dirichlet(np.ones(5), 6)
    return z, y, rng.uniform(0.5, 2, 6), rng.normal(size=z.shape)


@pytest.mark.parametrize("omega", [None, OMEGA])
@pytest.mark.parametrize("kind", zoo.KINDS)
@pytest.mark.parametrize("key", NEW, ids=", ".join)
def test_derivatives_of_every_composition(key, kind, omega):
    loss = composed(*key, omega)
    z, y, r, v = rows_of_scores(kind)
    value, g = loss.value_and_grad(z, y, sample_weight=r)
    assert loss(z, y, sample_weight=r) == value
    assert np.allclose(g, zoo.gradient(lambda x: loss(x, y, sample_weight=r), z), rtol=0, atol=2e-11)
    numeric = zoo.slope(lambda x: loss.value_and_grad(x, y, sample_weight=r)[1], z, v)
    assert np.allclose(loss.hessian_product(z, y, v, sample_weight=r), numeric, rtol=0, atol=2e-10)


def test_poly_by_hand():
    """For a label it is l + e (1 - p_y)."""
    z, y, _, _ = rows_of_scores()
    p = softgrad.softmax(z)[np.arange(6), y]
    assert np.allclose(composed("none", "poly", "hard")(z, y, reduction="none"), -np.log(p) + 1.5 * (1 - p), rtol=1e-14)


def test_cap_by_hand():
    z, y, _, _ = rows_of_scores()
    expected = composed("none", "identity", "hard")(3 * np.tanh(z / 3), y, reduction="none")
    assert np.allclose(composed("cap", "identity", "hard")(z, y, reduction="none"), expected, rtol=1e-14)


def test_neighbours_by_hand():
    """Class 0 of 5 with a share of 0.15: its neighbours are 1 and 4."""
    z = rows_of_scores()[0][:1]
    q = [[0.7, 0.15, 0, 0, 0.15]]
    assert composed("none", "identity", "neighbours")(z, [0]) == pytest.approx(composed("none", "identity", "hard")(z, q), rel=1e-14)


@pytest.mark.parametrize("curve", CURVES)
def test_class_weights_stand_before_the_curve(curve):
    """A row of weight w counts w f(l), not f(w l); where f is linear both are the same."""
    z, y, r, _ = rows_of_scores()
    weighted = composed("cap", curve, "hard", OMEGA)(z, y, sample_weight=r, reduction="none")
    assert np.allclose(weighted, np.array(OMEGA)[y] * r * composed("cap", curve, "hard")(z, y, reduction="none"), rtol=1e-14)
    mean = weighted.sum() / (np.array(OMEGA)[y] * r).sum()
    assert composed("cap", curve, "hard", OMEGA)(z, y, sample_weight=r) == pytest.approx(mean, rel=1e-14)


@pytest.mark.parametrize("key", NEW, ids=", ".join)
def test_the_compiled_twin_refuses_what_it_does_not_know(key):
    loss = composed(*key, OMEGA)
    X = np.zeros((2, 3))
    assert native.options(loss) is None
    assert native.OnePass().refuses(X, 5, loss)
    assert kernels.choose(X, 5, loss).name == "tiled"


@pytest.mark.parametrize("features", zoo.FEATURES)
@pytest.mark.parametrize("key", NEW[::4], ids=", ".join)
def test_kernels_run_new_losses(key, features):
    loss = composed(*key, OMEGA, ignore=3)
    X, y, coef, b = zoo.head(features, 5, 67, 17, ignored=3)
    dtype = np.float64 if "float64" in features else np.float32
    block = Block(X, np.where(y == 3, -1, y), np.where(y == 3, 0.0, 1.5))
    coef, b = coef.astype(dtype), b.astype(dtype)
    value, G, g = Tiled().sums(block, loss, coef, b, 0.3)
    true_value, true_G, true_g = Reference().sums(block, loss, coef, b, 0.3)
    tolerance = 100 * float(np.finfo(dtype).eps)  # a few units over 67 rows and 17 features, scores of a few units, f' up to 2.5
    assert value == pytest.approx(true_value, rel=tolerance)
    assert np.allclose(G, true_G, rtol=0, atol=tolerance * np.abs(true_G).max())
    assert np.allclose(g, true_g, rtol=0, atol=tolerance * np.abs(true_g).max())


def test_a_linear_head_with_new_parts_has_the_right_gradient():
    loss = composed("cap of temperature", "poly", "neighbours", OMEGA)
    X, y, coef, b = zoo.head("float64", 5, 30, 4)
    r = np.random.default_rng(22).uniform(0, 2, 30)
    _, G, g = softgrad.linear_value_and_grad(X, y, coef, b, loss=loss, l2=0.2, sample_weight=r)

    def value(c, i):
        return softgrad.linear_value_and_grad(X, y, c, i, loss=loss, l2=0.2, sample_weight=r)[0]

    assert np.allclose(G, zoo.gradient(lambda c: value(c, b), coef), rtol=0, atol=1e-11)
    assert np.allclose(g, zoo.gradient(lambda i: value(coef, i), b), rtol=0, atol=1e-11)


def test_a_fit_with_new_parts_reaches_a_stationary_point():
    loss = composed("cap", "poly", "smoothed")
    X, y, _, _ = zoo.head("float64", 5, 300, 6)
    problem = training.Problem(X, y, np.ones(300), 5, loss, 0.01, True, 0)
    found = training.fit(problem, LBFGS(tol=1e-6))
    assert found.result.status is Status.CONVERGED
    _, G, g = softgrad.linear_value_and_grad(X, y, found.coef, found.intercept, loss=loss, l2=0.01)
    assert max(np.abs(G).max(), np.abs(g).max()) <= 1.001e-6


def test_only_parts_that_keep_shifts_keep_the_loss_shift_invariant():
    z, y, _, _ = rows_of_scores()
    for scores in SCORES:
        loss = composed(scores, "poly", "hard")
        moved = np.isclose(loss(z + 1.0, y), loss(z, y), rtol=1e-13)
        assert loss.shift_invariant == bool(moved)
