"""Stochastic training: its parts by hand, and whole runs against plain NumPy."""

import math
from dataclasses import dataclass

import numpy as np
import pytest
from trainings import RULES, drawn_rows, problem
from zoo import FEATURES, dense, features

import softgrad
from softgrad import curvature
from softgrad.blocks.block import Block
from softgrad.blocks.minibatches import MiniBatches
from softgrad.descent import Point, descend
from softgrad.losses import cross_entropy
from softgrad.solvers import SGD, AbstractRule, Constant, Cosine, Geometric, Linear, Momentum
from softgrad.training import Problem


def gradient(X, y, W, T=1.0):
    """Mean cross-entropy of scores X W' / T, and its gradient by W, in plain lines."""
    z = X @ W.T / T
    P = np.exp(z - z.max(axis=1, keepdims=True))
    P /= P.sum(axis=1, keepdims=True)
    here = np.arange(len(y))
    loss = -np.log(P[here, y]).mean()
    P[here, y] -= 1
    return loss, P.T @ X / len(y) / T


def direction(name, memory, g, k):
    """The textbook's rules, one number of memory after the other."""
    if name == "plain":
        return g
    if name in ("momentum", "nesterov"):
        beta = RULES[name].beta
        memory["v"] = beta * memory.get("v", 0) + g
        return memory["v"] if name == "momentum" else g + beta * memory["v"]
    memory["m"] = 0.8 * memory.get("m", 0) + 0.2 * g
    memory["s"] = 0.95 * memory.get("s", 0) + 0.05 * g**2
    return memory["m"] / (1 - 0.8**k) / (np.sqrt(memory["s"] / (1 - 0.95**k)) + 1e-6)


# ---- parts ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", RULES)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_rules_do_what_the_textbook_says(name, dtype):
    rng, rule, memory = np.random.default_rng(1), RULES[name], {}
    state = tuple(np.zeros((3, 5), dtype) for _ in range(rule.slots))
    for k in range(1, 8):
        g = rng.normal(size=(3, 5)) * 10.0 ** rng.integers(-3, 3)
        G = g.astype(dtype)
        rule.turn(G, state, k)
        assert G.dtype == dtype
        assert np.allclose(G, direction(name, memory, g, k), rtol=1e-12 if dtype == np.float64 else 1e-4, atol=0)


@pytest.mark.parametrize(
    ("schedule", "start", "middle", "end"),
    [
        (Constant(3.0), 3, 3, 3),
        (Linear(), 1, 0.5, 0),
        (Linear(2, 4), 2, 3, 4),
        (Geometric(4, 1), 4, 2, 1),
        (Cosine(), 1, 0.5, 0),
        (Cosine(3, 1), 3, 2, 1),
    ],
)
def test_schedules_begin_and_end_where_they_say(schedule, start, middle, end):
    assert [schedule.at(t) for t in (0.0, 0.5, 1.0)] == pytest.approx([start, middle, end], abs=1e-15)
    values = [schedule.at(t) for t in np.linspace(0, 1, 50)]
    assert values in (sorted(values), sorted(values, reverse=True))


def test_every_epoch_sees_every_row_once():
    rows = np.array([3, 5, 8, 9, 11, 20, 21])
    batches = MiniBatches(Block(np.zeros((30, 2)), np.zeros(30, int), np.ones(30)), rows, np.zeros(2), 0.0)
    drawn = drawn_rows(batches.stream(3, 14, 5))
    assert {len(batch) for batch in drawn} == {3}
    epochs = np.concatenate(drawn).reshape(-1, 7)
    assert all(sorted(epoch) == rows.tolist() for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs.tolist()}) == 6
    assert all(np.array_equal(a, b) for a, b in zip(drawn, drawn_rows(batches.stream(3, 14, 5)), strict=True))
    assert not np.array_equal(np.concatenate(drawn), np.concatenate(drawn_rows(batches.stream(3, 14, 6))))


@pytest.mark.parametrize("kind", FEATURES)
@pytest.mark.parametrize("intercept", [False, True])
def test_the_curvature_is_that_of_the_centred_rows(kind, intercept):
    X = features(kind, 50, 6, np.random.default_rng(8))
    w = np.random.default_rng(9).uniform(size=50)
    w[::7] = 0
    found = curvature.measure(Block(X, np.zeros(50, int), w), w, intercept, 0, np.dtype(np.float64))
    mu = w @ dense(X) / w.sum() if intercept else np.zeros(6)
    Z = dense(X) - mu
    largest = np.linalg.eigvalsh((Z.T * w) @ Z / w.sum())[-1]
    assert np.allclose(found.mu, mu)
    assert 0.9 * largest <= found.largest <= 1.0001 * largest
    assert found.s == pytest.approx(math.sqrt(found.largest) if intercept else 0)
    rows = w / w.sum() * ((Z**2).sum(axis=1) + found.s**2) * found.n_rows
    assert found.row == pytest.approx(rows.max())
    assert found.n_rows == (w > 0).sum()
    whole, one = found.reach(10**9, 1.0, 0.0), found.reach(1, 2.0, 0.3)
    assert (whole.mean, whole.noise) == (pytest.approx(found.largest / 2), 0)
    assert (one.mean, one.noise) == (pytest.approx(0.3), pytest.approx(found.row / 8))


# ---- runs against plain NumPy ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", RULES)
@pytest.mark.parametrize("C", [2, 4])
def test_a_run_by_hand(name, C):
    """Whole batches, rows without an intercept: x~ is x."""
    p, K, rate = problem(C=C, fit_intercept=False), 6, 0.1
    heat = Geometric(3, 1)
    solver = SGD(learning_rate=rate, batch_size=60, iterations=K, rule=RULES[name], schedule=Cosine(1, 0.2), temperature_schedule=heat)
    [found] = descend(p, [Point(p.l2)], solver)
    W, memory = np.zeros((C, 7)), {}
    for k in range(K):
        t = k / (K - 1)
        g = gradient(p.X, p.y, W, heat.at(t))[1] + p.l2 * W
        W = W - rate * Cosine(1, 0.2).at(t) * direction(name, memory, g, k + 1)
    W -= W.mean(axis=0)
    assert np.allclose(found.coef, W, rtol=1e-10, atol=1e-13)
    assert not found.intercept.any()
    loss, g = gradient(p.X, p.y, W)
    assert found.result.value == pytest.approx(loss + 0.5 * p.l2 * np.sum(W * W), rel=1e-12)
    assert found.result.gradient_norm == pytest.approx(np.abs(g + p.l2 * W).max(), rel=1e-9)


@dataclass(frozen=True)
class Signs(AbstractRule):
    """A rule of a user's own, which remembers nothing."""

    slots = 0

    def turn(self, G, state, k):
        np.sign(G, out=G)

    def safe_rate(self, reach):
        return 0.1


@pytest.mark.parametrize("rule", [Momentum(0), Signs()], ids=["plain", "signs"])
@pytest.mark.parametrize("T", [1.0, 2.5])
def test_mini_batches_by_hand(rule, T):
    """Whether the penalty is added to the gradient or W is shrunk, and whether a step is told of, makes no difference."""
    p, K, rate, l2 = problem(fit_intercept=False), 10, 0.05, 0.7
    solver = SGD(learning_rate=rate, batch_size=17, iterations=K, rule=rule, schedule=Linear(1, 0.5))
    [found] = descend(p, [Point(l2, temperature=T)], solver)
    W, batches = np.zeros((4, 7)), MiniBatches(Block(p.X, p.y, p.r), np.arange(60), np.zeros(7), 0.0)
    for k, rows in enumerate(drawn_rows(batches.stream(17, K, p.seed))):
        g = gradient(p.X[rows], p.y[rows], W, T)[1] + l2 * W
        W = W - rate * (1 - 0.5 * k / (K - 1)) * (g if isinstance(rule, Momentum) else np.sign(g))
    W -= W.mean(axis=0)
    assert np.allclose(found.coef, W / T, rtol=1e-10, atol=1e-13)


def test_a_step_with_an_intercept_by_hand():
    """The step is taken for x~ = (x - mu, s): beta = b + W mu moves by rate s^2 sum of p - q."""
    p, rate = problem(), 0.3
    [found] = descend(p, [Point(p.l2)], SGD(learning_rate=rate, iterations=1, batch_size=60, momentum=0, schedule=Constant()))
    mu, Q = p.X.mean(axis=0), np.eye(4)[p.y]
    D = (np.full((60, 4), 0.25) - Q) / 60
    W, s2 = -rate * D.T @ (p.X - mu), np.linalg.eigvalsh(np.cov(p.X.T, bias=True))[-1]
    assert np.allclose(found.coef, W)
    assert np.allclose(found.intercept + W @ mu, -rate * s2 * D.sum(axis=0), rtol=0.05, atol=1e-12)
    value, G, g = softgrad.linear_value_and_grad(p.X, p.y, found.coef, found.intercept, l2=p.l2)
    assert found.result.value == pytest.approx(value, rel=1e-12)
    assert found.result.gradient_norm == pytest.approx(max(np.abs(G).max(), np.abs(g).max()), rel=1e-9)


def test_the_average_of_the_last_iterates():
    p = problem(fit_intercept=False)
    for average, last in ((0.5, 5), (True, 5), (0.3, 3), (1.0, 10), (False, 1), (0.01, 1)):
        solver = SGD(learning_rate=0.2, iterations=10, batch_size=60, momentum=0, schedule=Constant(), average=average)
        W, seen = np.zeros((4, 7)), []
        for _ in range(10):
            W = W - 0.2 * (gradient(p.X, p.y, W)[1] + p.l2 * W)
            seen.append(W)
        assert np.allclose(descend(p, [Point(p.l2)], solver)[0].coef, np.mean(seen[-last:], axis=0), rtol=1e-10)


@pytest.mark.parametrize("bound", [1e-3, 0.2])
def test_clipping_shortens_and_says_so(bound):
    p = problem(fit_intercept=False)
    solver = SGD(learning_rate=0.5, iterations=12, batch_size=60, momentum=0, schedule=Constant(), clip_norm=bound)
    W, norms = np.zeros((4, 7)), []
    for _ in range(12):
        g = gradient(p.X, p.y, W)[1] + p.l2 * W
        norms.append(np.linalg.norm(g))
        W = W - 0.5 * g * min(1, bound / norms[-1])
    [found] = descend(p, [Point(p.l2)], solver)
    assert np.allclose(found.coef, W, rtol=1e-10)
    assert found.result.stride.clipped == np.mean(np.array(norms) > bound)
    assert found.result.stride.largest_norm == pytest.approx(max(norms))
    assert found.result.stride.learning_rate == 0.5


def test_mini_batches_are_right_on_average():
    """A step from the same place with every batch of an epoch, averaged, is the step with all rows: weights, ignored rows and all."""
    rng = np.random.default_rng(4)
    y, r = rng.integers(4, size=60), rng.uniform(size=60)
    y[::9], r[5] = -1, 0
    loss = cross_entropy(class_weight=[1, 2, 0.5, 3], ignore_index=-1, label_smoothing=0.1)
    p = problem(loss=loss, y=y, r=loss.weights.rows(y, r), fit_intercept=False)
    n, rate = int((p.r > 0).sum()), 0.2
    start = rng.normal(size=(4, 7)), np.zeros(4)
    batches = [drawn_rows(MiniBatches(Block(p.X, y, p.r), np.flatnonzero(p.r), np.zeros(7), 0.0).stream(1, n, p.seed))]
    assert sorted(np.concatenate(batches[0])) == np.flatnonzero(p.r).tolist()
    steps = []
    for i in np.flatnonzero(p.r):
        alone = Problem(p.X, y, np.where(np.arange(60) == i, p.r, 0.0), 4, loss, p.l2, False, 0)
        share = loss.weights.total(y, alone.r, 4) * n / loss.weights.total(y, p.r, 4)
        _, G, _ = softgrad.linear_value_and_grad(p.X[[i]], y[[i]], start[0], loss=loss, sample_weight=p.r[[i]])
        steps.append(share * G)
    whole = softgrad.linear_value_and_grad(p.X, y, start[0], loss=loss, sample_weight=p.r)[1]
    assert np.allclose(np.mean(steps, axis=0), whole)
    [one] = descend(p, [Point(0.0)], SGD(learning_rate=rate, batch_size=1, iterations=1, momentum=0), start=start)
    moved = (start[0] - start[0].mean(axis=0) - one.coef) / rate
    drawn = np.flatnonzero(p.r).tolist().index(int(batches[0][0][0]))
    assert np.allclose(moved, steps[drawn], atol=1e-10)
