"""Entmax: many digits, reference values, sparse support, its compiled rows, its peer."""

import itertools

import mpmath
import numpy as np
import pytest
from test_links import scores

import softgrad
from softgrad import losses
from softgrad.kernels import native
from softgrad.losses.loss import plain, schedule_for

ALPHAS = [0.3, 0.8, 1.0, 1 + 1e-9, 1.01, 1.25, 1.5, 1.9, 2.0]


def exact_entmax(z, y, alpha):
    """p and the loss of label y by bisection in 120 digits, from the definition."""
    b, z = mpmath.mpf(alpha) - 1, [mpmath.mpf(float(x)) for x in z]
    low, high = b * max(z) - 1, b * max(z)

    def through(tau):
        return [max(b * x - tau, 0) ** (1 / b) for x in z]

    for _ in range(420):
        tau = (low + high) / 2
        low, high = (tau, high) if mpmath.fsum(through(tau)) > 1 else (low, tau)
    p = through((low + high) / 2)
    entropy = (1 - mpmath.fsum(x**alpha for x in p)) / (alpha * b)
    return p, entropy + mpmath.fsum(x * u for x, u in zip(p, z, strict=True)) - z[y]


@pytest.mark.parametrize("alpha", [1.1, 1.5, 1.7, 2.0])
def test_entmax_has_all_its_digits(alpha):
    """Also where a probability and a loss are tiny: a little within the margin 1 / (alpha - 1)."""
    margin = 1 / (alpha - 1)
    rows = [[0.0, -margin * (1 - gap), -margin * (1 - gap / 2), -2 * margin] for gap in (0.5, 1e-2, 1e-4, 1e-6)]
    for z, y in itertools.product(rows, (0, 1, 3)):
        value, gradient = losses.entmax(alpha).value_and_grad([z], [y])
        with mpmath.workdps(120):
            p, loss = exact_entmax(z, y, alpha)
            expected = [float(x - (k == y)) if k != y else float(-mpmath.fsum(p[:k] + p[k + 1 :])) for k, x in enumerate(p)]
        # a score's own rounding moves its distance to the margin, hence 1e-16 / gap, to the power that p has there
        assert value == pytest.approx(float(loss), rel=1e-13, abs=0)
        assert np.allclose(gradient[0], expected, rtol=2e-8 if alpha < 1.2 else 1e-9, atol=0)


@pytest.mark.parametrize("alpha", ALPHAS)
@pytest.mark.parametrize(("C", "size"), [(1, 1.0), (3, 100.0), (30, 2.0), (1000, 1e-9), (1000, 3.0)])
def test_probabilities_sum_to_one(alpha, C, size):
    p = losses.entmax_probabilities(scores(20, C, size)[0], alpha)
    assert (p >= 0).all()
    assert np.allclose(p.sum(axis=1), 1, rtol=0, atol=2e-15)


def test_entmax_reference_values():
    z = [-2.0, 0.0, 0.5]
    assert losses.entmax_probabilities(z, 2).tolist() == [0, 0.25, 0.75]
    assert np.allclose(losses.entmax_probabilities(z, 1.5), [0, 0.3260, 0.6740], atol=5e-5)
    assert np.allclose(losses.entmax_probabilities(z, 1), [0.0486, 0.3592, 0.5922], atol=5e-5)
    assert losses.entmax_alpha_slopes([-1.0, 0.0, 0.5], 1.33)[0] == pytest.approx(-0.2562, abs=5e-5)


@pytest.mark.parametrize("alpha", [0.5, 1.0, 1.0001, 1.2, 1.5, 1.8])
def test_derivative_by_alpha(alpha):
    z, h = scores(40, 6, 1.5)[0], 1e-4
    steps = [losses.entmax_probabilities(z, alpha + k * h) for k in (-2, -1, 1, 2)]
    numeric = (8 * (steps[2] - steps[1]) - (steps[3] - steps[0])) / (12 * h)
    slopes = losses.entmax_alpha_slopes(z, alpha)
    same = (steps[0] > 0) == (steps[3] > 0)  # rows where a class enters the support have a kink between the steps
    assert same.all(axis=1).sum() > 30
    assert np.allclose(slopes[same.all(axis=1)], numeric[same.all(axis=1)], rtol=0, atol=1e-8)
    assert np.allclose(slopes.sum(axis=1), 0, atol=1e-14)


def test_alpha_one_is_cross_entropy():
    z, y = scores()
    y[3] = 0
    q = np.random.default_rng(1).dirichlet(np.ones(30), 200)
    omega = losses.Weights(tuple(np.linspace(0.1, 2, 30)))
    for parts, targets in (((), y), ((losses.Smoothed(0.1), omega), y), ((losses.Temperature(1.7),), q)):
        z[3, 5] = 0.3 if parts else -np.inf
        ours, theirs = losses.compose(losses.Entmax(1.0), *parts), losses.compose(*parts)
        value, gradient = ours.value_and_grad(z, targets)
        expected, G = theirs.value_and_grad(z, targets)
        assert value == pytest.approx(expected, rel=1e-14)
        assert np.allclose(gradient, G, rtol=1e-12, atol=1e-18)


@pytest.mark.parametrize("alpha", [1.2, 1.5, 2.0])
def test_no_loss_from_the_margin_on(alpha):
    margin = 1 / (alpha - 1)
    loss = losses.entmax(alpha)
    value, gradient = loss.value_and_grad([[margin + 1e-9, 0.0, -3.0]], [0])
    assert value == 0
    assert (gradient == 0).all()
    assert loss([[margin - 1e-3, 0.0, -3.0]], [0]) > 0


def test_support_is_sparse_and_exactly_zero_outside():
    z, y = scores(C=1000)
    p = losses.entmax_probabilities(z, 1.5)
    assert 1 < (p > 0).sum(axis=1).mean() < 30
    gradient = losses.entmax(1.5).value_and_grad(z, y, reduction="none")[1]
    away = np.arange(1000) != y[:, None]
    assert np.array_equal((gradient != 0) & away, (p > 0) & away)
    impossible = losses.entmax_probabilities([[0.0, -np.inf, 0.1]], 0.5)
    assert impossible[0, 1] == 0


def test_soft_targets_cost_the_mean_of_the_labels_and_at_least_their_entropy():
    z, _ = scores(20, 5)
    q = np.random.default_rng(6).dirichlet(np.ones(5), 20)
    loss = losses.entmax(1.5)
    each = np.stack([loss(z, np.full(20, j), reduction="none") for j in range(5)], axis=1)
    found = loss(z, q, reduction="none")
    assert np.allclose(found, (q * each).sum(axis=1), rtol=1e-14)
    entropy = (1 - (q**1.5).sum(axis=1)) / 0.75
    assert (found > entropy).all()
    there = 2 * np.sqrt(q)  # scores whose entmax is q
    assert np.allclose(loss(there, q, reduction="none"), entropy, rtol=1e-14)


@pytest.mark.parametrize("alpha", [1.3, 1.5, 2.0])
def test_entmax_package_agrees(alpha):
    torch, entmax = pytest.importorskip("torch"), pytest.importorskip("entmax")
    z, y = scores()
    t = torch.tensor(z, requires_grad=True)
    peer = entmax.EntmaxBisectLoss(alpha, n_iter=100)(t, torch.tensor(y))
    peer.backward()
    value, gradient = losses.entmax(alpha).value_and_grad(z, y)
    assert value == pytest.approx(float(peer.detach()), rel=1e-13)
    assert np.allclose(gradient, t.grad.numpy(), rtol=0, atol=1e-15)


# ---- a row of only a few classes that matter ------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(("alpha", "C"), [(1.001, 500), (1.05, 40), (1.5, 7), (1.5, 500), (2.0, 3000)])
@pytest.mark.skipif(native.module is None, reason="softgrad was built without its C++ kernels")
def test_compiled_rows_agree_with_the_plain_formula_in_every_entry(dtype, alpha, C, monkeypatch):
    z, y = scores(300, C)
    z[7, 1:] = -np.inf
    y[7], z[9], y[11] = 0, np.nan, 2
    z, r = z.astype(dtype), np.random.default_rng(2).uniform(0.5, 2, 300)
    r[9] = 0
    weights = losses.Weights(tuple(np.linspace(0, 2, C)), ignore_index=2)
    loss = losses.compose(losses.Entmax(alpha), losses.Temperature(1.4), weights)
    assert schedule_for(loss, z.dtype) is not plain
    value, gradient = loss.value_and_grad(z, y, sample_weight=r)
    over = z.copy()
    assert loss.value_and_grad(over, y, sample_weight=r, out=over)[0] == value
    assert np.array_equal(over, gradient)
    monkeypatch.setattr("softgrad.losses.loss.schedules", [])
    expected, G = loss.value_and_grad(z, y, sample_weight=r)
    assert value == pytest.approx(expected, rel=1e-14)
    assert np.allclose(gradient, G, rtol=max(1e-12, 4 * np.finfo(dtype).eps), atol=0)


def test_a_row_has_the_same_bits_in_any_company():
    z, y = scores(50, 2000, seed=8)
    z[::5] *= 0.1  # hundreds of candidates in some rows
    loss = losses.entmax(1.5)
    found, G = loss.value_and_grad(z, y, reduction="none")
    for i in range(50):
        one, g = loss.value_and_grad(z[i : i + 1], y[i : i + 1], reduction="none")
        assert one[0] == found[i]
        assert np.array_equal(g[0], G[i])


def test_the_broken_row_is_named():
    z, y = scores(40, 100)
    z[17, 3] = np.nan
    with pytest.raises(softgrad.SoftgradError, match="row 17"):
        losses.entmax()(z, y)
