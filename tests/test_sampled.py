"""Sampled softmax: exact with all classes, unbiased under the logarithm, and blind to classes that were not drawn."""

import numpy as np
import pytest

import softgrad
from softgrad import losses, threads

C, D, N = 40, 6, 25
Z_RNG = np.random.default_rng(12)
X, Y, W, B = Z_RNG.normal(size=(N, D)), Z_RNG.integers(12, size=N), Z_RNG.normal(size=(C, D)), Z_RNG.normal(size=C)
R = Z_RNG.integers(0, 3, size=N).astype(float)
Q = Z_RNG.uniform(0.2, 3, C)
DISTRIBUTIONS = {"log-uniform": "log-uniform", "uniform": "uniform", "given": Q}


def test_all_classes_give_the_full_softmax():
    value, dW, db, dX = softgrad.linear_value_and_grad(X, Y, W, B, sample_weight=R, wrt_X=True)
    found = losses.sampled_softmax(X, Y, W, B, n_sampled=C, distribution="uniform", sample_weight=R, wrt_X=True)
    assert found.value == pytest.approx(value, rel=1e-13)
    G, g = found.dense(C)
    assert np.allclose(G, dW, rtol=0, atol=1e-14)
    assert np.allclose(g, db, rtol=0, atol=1e-14)
    assert np.allclose(found.X, dX, rtol=0, atol=1e-14)


@pytest.mark.parametrize("name", DISTRIBUTIONS)
def test_the_sum_under_the_logarithm_is_unbiased(name):
    """exp(L) = sum / exp(z_y): its mean over seeds is that of the full softmax within 4 standard errors, and those are small."""
    i = 3
    row, label, given = X[i : i + 1], Y[i : i + 1], {"n_sampled": 20, "distribution": DISTRIBUTIONS[name]}
    found = [np.exp(losses.sampled_softmax(row, label, W, B, random_state=s, **given).value) for s in range(800)]
    exact = np.exp(losses.cross_entropy()(row @ W.T + B, label))
    error = np.std(found) / np.sqrt(len(found))
    assert abs(np.mean(found) - exact) <= 4 * error
    assert error <= 0.05 * exact


@pytest.mark.parametrize("name", DISTRIBUTIONS)
def test_gradients_tend_to_those_of_the_full_softmax(name):
    V, v = W / 5, B / 5  # scores of a size at which few draws tell something
    value, dW, db, dX = softgrad.linear_value_and_grad(X, Y, V, v, wrt_X=True)
    away = {}
    for k in (4, 32):
        found = [
            losses.sampled_softmax(X, Y, V, v, n_sampled=k, distribution=DISTRIBUTIONS[name], random_state=s, wrt_X=True)
            for s in range(300)
        ]
        G, g = (np.mean([one.dense(C)[j] for one in found], axis=0) for j in (0, 1))
        by_X = np.mean([one.X for one in found], axis=0)
        away[k] = [np.linalg.norm(a - b) / np.linalg.norm(b) for a, b in ((G, dW), (g, db), (by_X, dX))]
        away[k].append(abs(np.mean([one.value for one in found]) - value) / value)
    assert max(away[32]) <= 0.05
    assert (np.array(away[32]) < np.array(away[4]) / 2).all()


@pytest.mark.parametrize("name", DISTRIBUTIONS)
def test_gradients_by_finite_differences(name):
    rng, h = np.random.default_rng(4), 1e-3
    U, V, v = rng.normal(size=X.shape), rng.normal(size=W.shape), rng.normal(size=C)

    def at(k):
        return losses.sampled_softmax(
            X + k * h * U, Y, W + k * h * V, B + k * h * v, n_sampled=9, distribution=DISTRIBUTIONS[name], sample_weight=R, random_state=5,
            wrt_X=True,
        )  # fmt: skip

    G, g = at(0).dense(C)
    slope = (8 * (at(1).value - at(-1).value) - (at(2).value - at(-2).value)) / (12 * h)
    assert slope == pytest.approx((G * V).sum() + (g * v).sum() + (at(0).X * U).sum(), rel=1e-9)


def test_classes_that_are_not_drawn_are_never_read():
    found = losses.sampled_softmax(X, Y, W, B, n_sampled=3, random_state=1)
    assert len(found.classes) <= 3 + len(np.unique(Y))
    assert set(Y) <= set(found.classes)
    hurt, cut = W.copy(), B.copy()
    hurt[np.setdiff1d(np.arange(C), found.classes)] = np.nan
    cut[np.setdiff1d(np.arange(C), found.classes)] = np.nan
    again = losses.sampled_softmax(X, Y, hurt, cut, n_sampled=3, random_state=1)
    assert again.value == found.value
    assert np.array_equal(again.coef, found.coef)


def test_log_uniform_draws_what_it_says():
    """Of 20000 draws each class has its share Q_j = log((j + 2) / (j + 1)) / log(C + 1); the masses sum to 1."""
    share = np.log1p(1 / np.arange(1, C + 1)) / np.log1p(C)
    assert share.sum() == pytest.approx(1, rel=1e-14)
    seen = np.zeros(C)
    for s in range(200):
        drawn, log_times = losses.sampled._draw("test", "log-uniform", C, 100, s)
        seen[drawn] += np.exp(log_times) * 100 * share[drawn]
    assert seen.sum() == pytest.approx(20000, rel=1e-12)
    assert (np.abs(seen - 20000 * share) <= 4.5 * np.sqrt(20000 * share)).all()


def test_rows_weights_types_and_threads(monkeypatch):
    monkeypatch.setattr(losses.sampled, "CELLS", 700)
    rng = np.random.default_rng(3)
    x, y, r = rng.normal(size=(300, D)), rng.integers(C, size=300), rng.integers(0, 3, size=300).astype(float)
    hurt = np.where((r == 0)[:, None], np.nan, x)
    found = []
    for n in (1, 2, 3):
        with threads.limit(n):
            one = losses.sampled_softmax(hurt, y, W, B, n_sampled=10, sample_weight=r, wrt_X=True)
        found.append([np.asarray(a).tobytes() for a in one])
    assert found[0] == found[1] == found[2]
    assert (one.X[r == 0] == 0).all()
    times = np.repeat(np.arange(300), r.astype(int))
    copied = losses.sampled_softmax(x[times], y[times], W, B, n_sampled=10)
    assert copied.value == pytest.approx(one.value, rel=1e-13)
    assert np.allclose(copied.coef, one.coef, rtol=1e-10, atol=1e-15)
    narrow = losses.sampled_softmax(x.astype(np.float32), y, W, B, n_sampled=10, sample_weight=r, wrt_X=True)
    assert narrow.coef.dtype == narrow.X.dtype == np.float32
    assert narrow.value == pytest.approx(one.value, rel=1e-5)
    assert np.abs(narrow.coef - one.coef).max() <= 1e-5
    nothing = losses.sampled_softmax(x, y, W, n_sampled=10, sample_weight=np.zeros(300), wrt_X=True)
    assert nothing.value == 0
    assert not nothing.coef.any()
    assert not nothing.X.any()


@pytest.mark.parametrize(("options", "words"), [
    ({"n_sampled": 0}, "sampled_softmax(n_sampled)"),
    ({"n_sampled": C + 1, "distribution": "uniform"}, "different classes"),
    ({"n_sampled": 3, "distribution": "zipf"}, "log-uniform"),
    ({"n_sampled": 3, "distribution": Q[1:]}, "each of the 40 classes"),
    ({"n_sampled": 3, "distribution": np.r_[Q[1:], 0]}, "distribution"),
    ({"n_sampled": 3, "random_state": -1}, "random_state"),
    ({"n_sampled": 3, "intercept": np.zeros(2)}, "must fit"),
    ({"n_sampled": 3, "coef": W[:, 1:]}, "must fit"),
    ({"n_sampled": 3, "coef": np.full_like(W, np.nan)}, "sampled_softmax(coef)"),
    ({"n_sampled": 3, "y": np.full(N, C)}, "sampled_softmax(y)"),
    ({"n_sampled": 3, "y": np.full((N, C), 1 / C)}, "class numbers"),
    ({"n_sampled": 3, "X": np.where(np.eye(N, D) > 0, np.nan, X)}, "row 0, column 0"),
])  # fmt: skip
def test_what_cannot_be_is_refused(options, words):
    given = {"X": X, "y": Y, "coef": W} | options
    with pytest.raises(softgrad.SoftgradError) as error:
        losses.sampled_softmax(given.pop("X"), given.pop("y"), given.pop("coef"), **given)
    assert words in str(error.value)
