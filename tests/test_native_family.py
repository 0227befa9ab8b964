"""The compiled rows of softmax and entmax losses against the plain formula in float64, on both sides of every border between kernels."""

import numpy as np
import pytest
from compiled import each_isa

from softgrad import kernels, losses, threads
from softgrad.blocks.block import Block
from softgrad.kernels import native
from softgrad.kernels.reference import Reference
from softgrad.losses.loss import Rows, plain, schedule_for

isa = each_isa
SIZES = [1, 2, 5, 17, 32, 33, 100, 1003]
EPS = {np.float32: 2.0**-23, np.float64: 2.0**-52}


def numbers(C, seed=3):
    return np.random.default_rng([seed, C])


def counts(C):
    return tuple(numbers(C).integers(1, 1000, C).astype(float).tolist())


def prior(C):
    r = numbers(C).dirichlet(np.full(C, 0.3))
    return tuple((r / r.sum()).tolist())


def omega(C):
    w = numbers(C).uniform(0.2, 3, C)
    w[0] = 0 if C > 1 else 1
    return tuple(w.tolist())


def narrow(C):
    return tuple(numbers(C).uniform(0, 0.5, C).tolist())


MAKERS = {  # loss of C classes
    "scaled": lambda C: losses.compose(losses.Scale(30.0)),
    "hot, scaled": lambda C: losses.compose(losses.Temperature(1.7), losses.Scale(3.0)),
    "smoothed by a prior": lambda C: losses.compose(losses.Smoothed(0.2, prior(C)), losses.Weights(omega(C))),
    "shifted": lambda C: losses.logit_adjusted(counts(C), 1.3),
    "shifted, smoothed, hot": lambda C: losses.compose(losses.Temperature(0.7), losses.PriorShift(counts(C)), losses.Smoothed(0.1)),
    "shifted, then scaled": lambda C: losses.compose(losses.PriorShift(counts(C)), losses.Scale(2.5)),
    "focal": lambda C: losses.focal(2.0),
    "focal 0.5, weighted": lambda C: losses.focal(0.5, class_weight=omega(C)),
    "focal, smoothed": lambda C: losses.focal(1.0, label_smoothing=0.1, temperature=1.3),
    "poly": lambda C: losses.poly1(2.0),
    "poly, -1": lambda C: losses.poly1(-1.0),
    "generalised": lambda C: losses.generalized_cross_entropy(),
    "truncated": lambda C: losses.compose(losses.Truncated(0.3)),
    "Taylor": lambda C: losses.taylor_cross_entropy(4),
    "symmetric": lambda C: losses.symmetric_cross_entropy(),
    "z-loss": lambda C: losses.compose(losses.ZLoss(0.3), losses.Weights(omega(C))),
    "z-loss, smoothed, shifted": lambda C: losses.compose(losses.ZLoss(0.3), losses.Smoothed(0.1), losses.PriorShift(counts(C))),
    "focal, shifted, z-loss": lambda C: losses.compose(losses.Focal(3.0), losses.PriorShift(counts(C)), losses.ZLoss(0.01)),
    "confidence penalty": lambda C: losses.compose(losses.ConfidencePenalty(0.3), losses.Weights(omega(C))),
    "confidence penalty, hot, focal, z-loss": lambda C: losses.compose(
        losses.ConfidencePenalty(0.1), losses.ZLoss(0.1), losses.Temperature(1.7), losses.Focal(2.0), losses.Smoothed(0.1)),
    "ldam": lambda C: losses.ldam(counts(C), s=30.0, head=losses.Linear()),
    "label margin after scale": lambda C: losses.compose(losses.Temperature(0.3), losses.LabelMargin(narrow(C))),
    "label margin, smoothed": lambda C: losses.compose(losses.LabelMargin(narrow(C)), losses.Smoothed(0.2), losses.Weights(omega(C))),
    "cosface": lambda C: losses.compose(losses.AngularMargin(m3=0.35), losses.Scale(64.0)),
    "arcface": lambda C: losses.compose(losses.AngularMargin(m2=0.5), losses.Scale(64.0)),
    "arcface, focal, z-loss": lambda C: losses.compose(
        losses.AngularMargin(m2=0.5), losses.Scale(16.0), losses.Focal(2.0), losses.ZLoss(0.01), losses.Weights(omega(C))),
    "arcface, shifted, hot": lambda C: losses.compose(
        losses.AngularMargin(m2=0.5), losses.Scale(16.0), losses.PriorShift(counts(C)), losses.Temperature(0.7)),
    "combined, smoothed": lambda C: losses.compose(losses.AngularMargin(0.9, 0.4, 0.15), losses.Scale(10.0), losses.Smoothed(0.1)),
    "entmax": lambda C: losses.entmax(1.5),
    "entmax 1.3, hot": lambda C: losses.compose(losses.Entmax(1.3), losses.Temperature(1.4), losses.Weights(omega(C))),
    "entmax 1.05, smoothed": lambda C: losses.compose(losses.Entmax(1.05), losses.Smoothed(0.2, prior(C)), losses.Weights(omega(C))),
    "sparsemax": lambda C: losses.compose(losses.Entmax(2.0), losses.Scale(0.7)),
    "sparsemax, smoothed": lambda C: losses.compose(losses.Entmax(2.0), losses.Smoothed(0.1)),
    "sphereface": lambda C: losses.compose(losses.SphereMargin(4), losses.Scale(20.0)),
}  # fmt: skip
ANGLES = {"cosface", "arcface", "arcface, shifted, hot", "arcface, focal, z-loss", "combined, smoothed", "sphereface"}
MARGINS = ANGLES | {"ldam", "label margin after scale", "label margin, smoothed"}


def rows_of(name, C, dtype, kind="labels", n=67):
    """Scores in which labels win, lose and tie, with holes; some rows do not count."""
    rng = numbers(C, len(name))
    z = rng.uniform(-1, 1, (n, C)) if name in ANGLES else 3 * rng.normal(size=(n, C))
    y = rng.integers(C, size=n)
    z[np.arange(n), y] += np.where(np.arange(n) % 3 == 0, 0.5 if name in ANGLES else 9.0, 0)
    if name in ANGLES:
        z = np.clip(z, -1, 1)
    if C > 2:
        z[5:8, :2] = z[5:8].max(axis=1, keepdims=True)
        z[9, (y[9] + 1) % C] = -np.inf
        z[10] = np.where(np.arange(C) == y[10], z[10], -np.inf)
        z[11, y[11]] = -1 if name in ANGLES else -30
    r = rng.uniform(0.5, 2, n)
    r[[0, 30]] = 0
    z[[0, 30]] = np.nan
    if kind == "distributions":
        y = rng.dirichlet(np.ones(C), n)
        y[np.isneginf(z)] = 0
        y /= y.sum(axis=1, keepdims=True)
    return Rows(z.astype(dtype), y, r)


def penalised_labels(loss, rows, out, scale, losses_):
    """The plain formula of labels with class weights and a penalty on confidence, in long doubles.

    A label's entry may be 0.2404 - 0.2358: there the plain formula in float64 is 43 eps off itself, the compiled rows 39.
    """
    (term,), counts = loss.terms, rows.r > 0
    z, y = rows.z[counts].astype(np.longdouble), rows.y[counts]
    each, d = np.arange(len(y)), z - z.max(axis=1, keepdims=True)
    others = np.exp(d)
    others[each, d.argmax(axis=1)] = 0
    log_p = d - np.log1p(others.sum(axis=1, keepdims=True))
    p, wrong = np.exp(log_p), np.exp(log_p)
    wrong[each, y] = 0
    entropies = np.where(p > 0, p * np.where(p > 0, log_p, 0), 0)  # minus those of the row's classes
    slope = term.log_p * (entropies - p * entropies.sum(axis=1, keepdims=True)) + wrong
    slope[each, y] -= wrong.sum(axis=1)
    w = rows.r[counts] * loss.weights.omega(z.shape[1])[y]
    out[:], losses_[:] = 0, 0
    out[counts] = (scale * w)[:, None] * slope
    losses_[counts] = w * (term.log_p * entropies.sum(axis=1) - log_p[each, y])
    return -1


def compare(loss, rows, dtype, tolerance, plain=plain):
    """The schedule in use with the plain formula in float64: losses and gradients, errors relative to their terms."""
    assert schedule_for(loss, np.dtype(dtype)).__name__ != "plain"
    wide = Rows(rows.z.astype(np.float64), rows.y.astype(dtype).astype(np.float64) if rows.y.ndim == 2 else rows.y, rows.r)
    g, G = np.full_like(rows.z, 7), np.full(rows.z.shape, 7.0)
    found, true = np.full(len(rows.r), 7.0), np.full(len(rows.r), 7.0)
    assert schedule_for(loss, np.dtype(dtype))(loss, rows, g, 0.3, found) == plain(loss, wide, G, 0.3, true) == -1
    tiny = 100 * float(np.finfo(dtype).smallest_normal)  # exponentials below the smallest are 0, and slopes and weights are up to 64
    largest = np.abs(G).max(axis=1, keepdims=True)
    if rows.y.ndim == 2 or not loss.targets.hard:  # an entry is a difference of terms up to r scale, which may vanish in all of a row
        largest = np.maximum(largest, 0.3 * rows.r[:, None])
    possible = np.isfinite(true)
    assert np.array_equal(found[~possible], true[~possible])
    off = (np.abs(found[possible] - true[possible]) - tiny) / (true[possible] + true[possible].mean() + tiny)
    assert off.max() <= tolerance
    off = (np.abs(g - G) - tiny) / (np.abs(G) + 0.05 * largest + tiny)
    assert off.max() <= tolerance, np.argwhere(off > tolerance)[:5]
    none, place = np.empty(len(rows.r)), rows.z.copy()
    schedule_for(loss, np.dtype(dtype))(loss, rows, None, 0.3, none)
    assert np.array_equal(none, found)
    schedule_for(loss, np.dtype(dtype))(loss, Rows(place, rows.y, rows.r), place, 0.3, none)
    assert np.array_equal(place, g)


@pytest.mark.parametrize("dtype", EPS)
@pytest.mark.parametrize("C", SIZES)
@pytest.mark.parametrize("name", MAKERS)
def test_rows_agree_with_the_plain_formula(isa, name, C, dtype):
    loss = MAKERS[name](C)
    compare(loss, rows_of(name, C, dtype), dtype, 64 * EPS[dtype], penalised_labels if name == "confidence penalty" else plain)
    compare(loss, rows_of(name, C, dtype, "distributions"), dtype, 64 * EPS[dtype])


@pytest.mark.parametrize("kind", ["labels", "distributions"])
@pytest.mark.parametrize("dtype", EPS)
@pytest.mark.parametrize("name", MAKERS)
def test_gradients_larger_than_caches_have_the_same_bits(isa, name, dtype, kind):
    """They are stored past the caches, from the border of a line on: rows of 1003 classes begin everywhere between two borders."""
    loss, rows = MAKERS[name](1003), rows_of(name, 1003, dtype, kind)
    if name not in ANGLES:
        rows.z[20:23] *= 30  # scores that are not small, between rows whose are
    times = -(-(1 << 25) // rows.z.nbytes) + 1
    many = Rows(np.tile(rows.z, (times, 1)), np.concatenate([rows.y] * times), np.tile(rows.r, times))
    few_g, few_losses, g, found = np.empty_like(rows.z), np.empty(len(rows.r)), np.full_like(many.z, 7), np.empty(len(many.r))
    schedule = schedule_for(loss, np.dtype(dtype))
    assert schedule(loss, rows, few_g, 0.3, few_losses) == schedule(loss, many, g, 0.3, found) == -1
    assert all(np.array_equal(part, few_g) for part in np.split(g, times))
    assert all(np.array_equal(part, few_losses) for part in np.split(found, times))


@pytest.mark.parametrize("dtype", EPS)
def test_a_large_gradient_may_lie_anywhere(isa, dtype):
    """Also where its numbers lie across words of memory, as in a mapped file behind a header."""
    loss, rng = losses.cross_entropy(), numbers(1003)
    z, y = rng.normal(size=(9000, 1003)).astype(dtype), rng.integers(1003, size=9000)
    _, g = loss.value_and_grad(z, y)
    for first in (1, dtype().itemsize, 20):
        out = np.empty(z.nbytes + 64, np.uint8)[first : first + z.nbytes].view(dtype).reshape(z.shape)
        loss.value_and_grad(z, y, out=out)
        assert np.array_equal(out, g)


@pytest.mark.parametrize("C", [4, 40])
@pytest.mark.parametrize("dtype", EPS)
@pytest.mark.parametrize("name", ["focal", "poly", "poly, -1", "Taylor", "generalised", "arcface", "cosface", "ldam"])
def test_confident_rows_keep_their_digits(isa, name, dtype, C):
    """Margins up to 25: each entry of the gradient, and the loss, to 16 eps of itself; at gamma or order 2 a few more roundings of l."""
    loss, n = MAKERS[name](C), 12
    z, y = np.zeros((n, C)), np.arange(n) % C
    z[np.arange(n), y] = np.linspace(0.2, 0.9, n) if name in ANGLES else np.linspace(1, 25 if name != "ldam" else 2, n)
    z += np.random.default_rng(C).uniform(-0.1, 0, (n, C))
    rows = Rows(z.astype(dtype), y, np.ones(n))
    g, G, found, true = np.empty_like(rows.z), np.empty((n, C)), np.empty(n), np.empty(n)
    schedule_for(loss, np.dtype(dtype))(loss, rows, g, 1.0, found)
    plain(loss, Rows(rows.z.astype(np.float64), y, rows.r), G, 1.0, true)
    tiny = float(np.finfo(dtype).smallest_normal)
    assert (np.abs(found - true) <= 16 * EPS[dtype] * true + tiny).all()
    assert (np.abs(g - G) <= 16 * EPS[dtype] * np.abs(G) + tiny).all()
    assert (np.abs(g[rows.z > -np.inf]) > 0).all()


@pytest.mark.parametrize("C", [1, 3, 40])
@pytest.mark.parametrize("poison", [np.nan, np.inf, "nothing"])
@pytest.mark.parametrize("name", [
    "arcface", "cosface", "shifted", "focal", "label margin, smoothed", "z-loss", "entmax", "entmax 1.05, smoothed",
    "confidence penalty",
])  # fmt: skip
def test_the_first_row_without_a_softmax_is_named(isa, name, poison, C):
    loss = MAKERS[name](C)
    schedule = schedule_for(loss, np.dtype(np.float64))
    for place in {0, C // 2, C - 1}:
        for label in {0, C - 1}:
            z = np.random.default_rng(1).uniform(-0.5, 0.5, (30, C))
            for row in (7, 21):
                z[row] = -np.inf if poison == "nothing" else z[row]
                z[row, place] = -np.inf if poison == "nothing" else poison
            rows, losses_ = Rows(z, np.full(30, label), (np.arange(30) != 7).astype(float)), np.empty(30)
            assert schedule(loss, rows, np.empty_like(z), 1.0, losses_) == 21
            assert schedule(loss, rows, None, 1.0, losses_) == 21


def test_a_label_that_alone_is_possible_costs_nothing(isa):
    loss = MAKERS["arcface"](40)
    z = np.full((2, 40), -np.inf)
    z[:, 3] = 0.5
    rows, g, found = Rows(z, np.array([3, 5]), np.ones(2)), np.full((2, 40), 7.0), np.empty(2)
    assert schedule_for(loss, z.dtype)(loss, rows, g, 1.0, found) == -1
    assert found.tolist() == [0.0, np.inf]
    assert (g[0] == 0).all()
    assert np.isfinite(g).all()


@pytest.mark.parametrize("C", [5, 40])
@pytest.mark.parametrize("name", MAKERS)
def test_any_number_of_threads_gives_the_same_bits(name, C, monkeypatch):
    loss, rows = MAKERS[name](C), rows_of(name, C, np.float32, n=4000)
    found = set()
    for count in (1, 3):
        monkeypatch.setattr(threads, "count", lambda n=count: n)
        value, g = loss.value_and_grad(rows.z, rows.y, sample_weight=rows.r)
        found.add((value, g.tobytes()))
    assert len(found) == 1


@pytest.mark.parametrize("C", [5, 40, 101])
@pytest.mark.parametrize("name", MAKERS)
def test_fused_heads_run_all_but_margins(name, C):
    loss, rng = MAKERS[name](C), numbers(C)
    dense = np.where(rng.uniform(size=(67, 9)) < 0.5, rng.normal(size=(67, 9)), 0).astype(np.float32)
    coef, b = rng.normal(size=(C, 9)).astype(np.float32) / 3, rng.normal(size=C).astype(np.float32) / 3
    sparse = pytest.importorskip("scipy.sparse").csr_matrix(dense)
    for X in (dense, sparse):
        kernel = kernels.choose(X, C, loss)
        fused = "csr" if X is sparse else "one_pass" if C in range(native.most_classes(X) + 1) else "tiled"
        expected = "tiled" if name in MARGINS else fused
        assert kernel.name == expected
        block = Block(X, rng.integers(C, size=67), np.full(67, 1.5))
        value, G, g = kernel.sums(block, loss, coef, b, 0.3)
        true_value, true_G, true_g = Reference().sums(block, loss, coef, b, 0.3)
        assert value == pytest.approx(true_value, rel=3e-5)
        assert np.allclose(G, true_G, rtol=0, atol=3e-5 * np.abs(true_G).max())
        assert np.allclose(g, true_g, rtol=0, atol=3e-5 * np.abs(true_g).max())
