"""The articles that the project starts from: every number of theirs about softmax and cross-entropy, and what they got wrong."""

import numpy as np
import pytest
import scipy.special
from sklearn.datasets import load_iris

import softgrad
from softgrad import reference
from softgrad.losses import cross_entropy, l2_softmax

# ---- the worked example: scores (1, 2, 3), the second class true ----------------------------------------------------

Z = np.array([1.0, 2.0, 3.0])


def test_worked_probabilities_and_loss():
    assert np.exp(Z) == pytest.approx([2.718, 7.389, 20.085], abs=1e-3)
    assert np.exp(softgrad.logsumexp(Z)) == pytest.approx(30.1929, abs=5e-5)
    assert softgrad.softmax(Z) == pytest.approx([0.090, 0.245, 0.665], abs=5e-4)
    assert cross_entropy()(Z[None], [1]) == pytest.approx(1.4076, abs=5e-5)


def test_worked_chain_rule():
    """dL/dp = -1/p for the true class; times the Jacobian it is p - y, and nobody needs the Jacobian."""
    p, J = softgrad.softmax(Z), softgrad.softmax_jacobian(Z)
    assert -1 / p[1] == pytest.approx(-4.0862, abs=1e-4)
    assert np.diag(J) == pytest.approx([0.0819, 0.185, 0.223], abs=5e-4)
    assert [J[0, 1], J[0, 2], J[1, 2]] == pytest.approx([-0.02205, -0.05985, -0.163], abs=2e-4)
    _, g = cross_entropy().value_and_grad(Z[None], [1])
    assert g[0] == pytest.approx([0.090, -0.755, 0.665], abs=5e-4)
    assert g[0] == pytest.approx(J @ [0, -1 / p[1], 0], rel=1e-14)


# ---- softmax in three minutes ---------------------------------------------------------------------------------------


def test_small_example():
    V = np.array([[-3.0, 2, -1, 0]])
    assert softgrad.softmax(V)[0] == pytest.approx([0.0057, 0.8390, 0.0418, 0.1135], abs=5e-5)
    assert cross_entropy()(V, [1]) == pytest.approx(0.1755, abs=5e-5)
    assert cross_entropy()(V, [0]) == pytest.approx(5.1755, abs=5e-5)


def test_large_scores_do_not_overflow():
    scores = np.array([123.0, 456, 789])
    with np.errstate(over="ignore", invalid="ignore"):
        assert np.isnan((np.exp(scores) / np.exp(scores).sum())[2])  # what the plain formula gives
    assert softgrad.softmax(scores).tolist() == [np.exp(-666.0), np.exp(-333.0), 1]
    assert softgrad.logsumexp(scores) == 789
    assert np.isfinite(softgrad.softmax([1000.0, 1000.0])).all()


@pytest.fixture(scope="module")
def pictures():
    """As many rows, classes and columns as the article's development set has shares of: (W, X, y), the last column is the bias."""
    rng = np.random.default_rng(71)
    X = np.hstack([rng.integers(256, size=(50, 96)) - 127.5, np.ones((50, 1))])
    return 1e-4 * rng.normal(size=(97, 10)), X, rng.integers(10, size=50)


@pytest.mark.parametrize("reg", [0.0, 5e-6, 8e3])
def test_the_loops_and_the_matrix_form_and_one_pass_agree(pictures, reg):
    W, X, y = pictures
    naive, dW = reference.softmax_loss_naive(W, X, y, reg)
    vectorized, same = reference.softmax_loss_vectorized(W, X, y, reg)
    value, G, _ = softgrad.linear_value_and_grad(X, y, W.T, l2=reg)
    assert vectorized == pytest.approx(naive, rel=1e-13)
    assert value == pytest.approx(naive, rel=1e-13)
    assert np.allclose(same, dW, rtol=1e-11, atol=1e-13)
    assert np.allclose(G.T, dW, rtol=1e-11, atol=1e-13)


def test_small_random_weights_lose_log_of_ten(pictures):
    """The article's check of a fresh start: -log(1/10), 2.302585; its own start gave 2.362135."""
    W, X, y = pictures
    assert reference.softmax_loss_naive(W * 1e-3, X, y, 0.0)[0] == pytest.approx(np.log(10), abs=1e-3)


def test_the_article_s_gradient_check(pictures):
    """A numeric gradient at ten places, as the article does it."""
    W, X, y = pictures
    _, dW = reference.softmax_loss_naive(W, X, y, 0.1)
    rng, h = np.random.default_rng(72), 1e-5
    for _ in range(10):
        place = tuple(rng.integers(W.shape))
        step = np.zeros_like(W)
        step[place] = h
        numeric = (reference.softmax_loss_naive(W + step, X, y, 0.1)[0] - reference.softmax_loss_naive(W - step, X, y, 0.1)[0]) / (2 * h)
        assert dW[place] == pytest.approx(numeric, rel=1e-4, abs=1e-6)


def test_softmax_goes_on_where_the_hinge_is_content():
    scores = np.array([[10.0, -10, -10], [10, 9, 9]])
    hinge = np.maximum(0, scores[:, 1:] - scores[:, :1] + 1).sum(axis=1)
    assert hinge.tolist() == [0, 0]
    losses = cross_entropy()(scores, [0, 0], reduction="none")
    assert losses == pytest.approx([0.00, 0.55], abs=5e-3)
    assert losses[0] == pytest.approx(2 * np.exp(-20.0), rel=1e-8)  # small, but not 0


def test_regularisation_flattens():
    scores = np.array([1.0, -2.0, 0.0])
    assert softgrad.softmax(scores) == pytest.approx([0.7, 0.04, 0.26], abs=7e-3)
    assert softgrad.softmax(scores / 2) == pytest.approx([0.55, 0.12, 0.33], abs=5e-3)
    assert np.array_equal(np.argsort(softgrad.softmax(scores / 2)), np.argsort(softgrad.softmax(scores)))


@pytest.mark.parametrize(("T", "p"), [(1, [0.0900, 0.2447, 0.6652]), (2, [0.1863, 0.3072, 0.5065]), (0.5, [0.0159, 0.1173, 0.8668])])
def test_temperature_table(T, p):
    assert softgrad.softmax(Z, temperature=T) == pytest.approx(p, abs=5e-5)
    value, g = cross_entropy(temperature=T).value_and_grad(Z[None], [2])
    assert value == pytest.approx(-np.log(softgrad.softmax(Z, temperature=T)[2]), rel=1e-14)
    assert g[0] == pytest.approx((softgrad.softmax(Z, temperature=T) - [0, 0, 1]) / T, rel=1e-12)


def test_temperature_towards_zero_tends_to_argmax_and_high_to_uniform():
    p = [softgrad.softmax(Z, temperature=T) for T in (100, 10, 1, 0.1, 0.01)]
    assert np.all(np.diff([x[2] for x in p]) > 0)
    assert p[-1] == pytest.approx([0, 0, 1], abs=1e-40)
    assert p[0] == pytest.approx([1 / 3] * 3, abs=0.01)


# ---- the derivation -------------------------------------------------------------------------------------------------


def test_two_classes_are_the_logistic_function():
    z = np.linspace(-30, 30, 13)
    assert np.allclose(softgrad.softmax(np.stack([z, 0 * z], axis=1))[:, 0], scipy.special.expit(z), rtol=1e-14, atol=0)


def test_cross_entropy_is_the_distance_plus_a_constant():
    """H(q, p) = KL(q, p) + H(q): smallest, and without gradient, where p = q."""
    rng = np.random.default_rng(73)
    z, q = rng.normal(size=(5, 4)), rng.dirichlet(np.ones(4), 5)
    p = softgrad.softmax(z)
    distance, entropy = (q * np.log(q / p)).sum(axis=1), -(q * np.log(q)).sum(axis=1)
    assert cross_entropy()(z, q, reduction="none") == pytest.approx(distance + entropy, rel=1e-13)
    value, g = cross_entropy().value_and_grad(np.log(q), q, reduction="none")
    assert value == pytest.approx(entropy, rel=1e-13)
    assert np.abs(g).max() < 1e-15


def test_one_changed_score_changes_every_probability():
    changed = softgrad.softmax([1.1, 2.0, 3.0]) - softgrad.softmax(Z)
    assert changed[0] > 0
    assert (changed[1:] < 0).all()


def test_wrong_and_confident_learns_with_cross_entropy_but_not_with_squared_error():
    """Scores (20, 0), the second class true: p - y is (1, -1), the squared error's gradient is next to nothing."""
    z, y = np.array([20.0, 0.0]), np.array([0.0, 1.0])
    _, g = cross_entropy().value_and_grad(z[None], [1])
    squared = softgrad.softmax_jacobian(z) @ (softgrad.softmax(z) - y)
    assert g[0] == pytest.approx([1, -1], abs=1e-8)
    assert np.abs(squared).max() < 1e-8


# ---- corrections ----------------------------------------------------------------------------------------------------


def test_the_gradient_sums_to_zero_not_to_minus_one():
    _, g = cross_entropy().value_and_grad(Z[None], [1])
    assert abs(g.sum()) < 1e-15


def test_every_class_has_a_gradient_not_only_the_true_one():
    _, g = cross_entropy().value_and_grad(Z[None], [1])
    assert g[0, [0, 2]] == pytest.approx(softgrad.softmax(Z)[[0, 2]], rel=1e-14)
    assert (g[0, [0, 2]] > 0).all()


def test_the_smoothed_target_is_a_distribution():
    """(1 - eps) y + eps / K; the article's (1 - eps) / K + eps is none."""
    eps, y = 0.3, np.array([0.0, 1.0, 0.0])
    smoothed = (1 - eps) * y + eps / 3
    assert smoothed.sum() == pytest.approx(1)
    found = cross_entropy(label_smoothing=eps).value_and_grad(Z[None], [1])
    expected = cross_entropy().value_and_grad(Z[None], smoothed[None])
    assert found[0] == pytest.approx(expected[0], rel=1e-14)
    assert found[1] == pytest.approx(expected[1], rel=1e-13)


def test_margins_saturate_not_the_size_of_the_scores():
    """Scores of 1000 with a margin of 1 learn as scores of 0 do; a margin of 10 does not."""
    _, near = cross_entropy().value_and_grad([[0.0, 1.0]], [1])
    _, large = cross_entropy().value_and_grad([[1000.0, 1001.0]], [1])
    _, far = cross_entropy().value_and_grad([[0.0, 10.0]], [1])
    assert np.array_equal(large, near)
    assert np.abs(far).max() < 1e-3 * np.abs(near).max()


def test_scores_are_taken_not_probabilities():
    """Article B feeds probabilities to a loss that takes scores: softmax twice is another loss."""
    p = softgrad.softmax(Z)[None]
    assert cross_entropy()(p, [1]) != pytest.approx(1.4076, abs=0.1)
    assert cross_entropy()(np.log(p), [1]) == pytest.approx(1.4076, abs=5e-5)


def test_the_loss_of_an_impossible_class_is_guarded():
    """log(0): an infinite loss, no NaN, and a gradient that can be followed."""
    value, g = cross_entropy().value_and_grad([[-np.inf, 0.0]], [0])
    assert value == np.inf
    assert g.tolist() == [[-1, 1]]


def test_the_gradient_by_the_weights_has_no_further_factors(pictures):
    """(A - Y)' X / N; article B multiplies by a (1 - a) once more."""
    W, X, y = pictures
    _, G, _ = softgrad.linear_value_and_grad(X, y, W.T)
    A, Y = softgrad.softmax(X @ W), np.eye(10)[y]
    assert np.allclose(G, (A - Y).T @ X / len(X), rtol=1e-10, atol=1e-13)
    step = np.zeros_like(W)
    step[5, 3] = h = 1e-5
    numeric = (cross_entropy()(X @ (W + step), y) - cross_entropy()(X @ (W - step), y)) / (2 * h)
    further = ((A - Y) * A * (1 - A)).T @ X / len(X)
    assert G[3, 5] == pytest.approx(numeric, rel=1e-6)
    assert further[3, 5] != pytest.approx(numeric, rel=0.5)


def double_loop(A, Y):
    """Article B's cross-entropy of probabilities."""
    total = 0.0
    for a, target in zip(A, Y, strict=True):
        for k in range(len(a)):
            total -= target[k] * np.log(a[k])
    return total


def test_the_double_loop_gives_the_sum():
    rng = np.random.default_rng(74)
    z, y = rng.normal(size=(6, 3)), rng.integers(3, size=6)
    found = double_loop(softgrad.softmax(z), np.eye(3)[y])
    assert found == pytest.approx(cross_entropy()(z, y, reduction="sum"), rel=1e-13)
    assert found == pytest.approx(6 * cross_entropy()(z, y), rel=1e-13)
    with np.errstate(divide="ignore", invalid="ignore"):
        assert np.isnan(double_loop(softgrad.softmax([[800.0, 0.0]]), np.array([[1.0, 0.0]])))  # 0 log 0
        assert double_loop(softgrad.softmax([[800.0, 0.0]]), np.array([[0.0, 1.0]])) == np.inf
    assert cross_entropy()([[800.0, 0.0]], [1]) == 800


def test_rounded_factors_give_the_digits_of_the_worked_example():
    """Article C divides by 0.245 and multiplies rounded probabilities."""
    p = np.array([0.09, 0.245, 0.665])
    assert -1 / p[1] == pytest.approx(-4.082, abs=5e-4)
    assert [-p[0] * p[1], -p[0] * p[2], -p[1] * p[2]] == pytest.approx([-0.02205, -0.05985, -0.163], abs=1e-4)
    assert -1 / softgrad.softmax(Z)[1] == pytest.approx(-4.0862, abs=5e-5)


@pytest.fixture(scope="module")
def flowers():
    X, y = load_iris(return_X_y=True)
    return X - X.mean(axis=0), y


def test_a_linear_classifier_has_one_optimum(flowers):
    """Plain descent from far away, in every direction, ends where the classifier's solver does: nothing to escape from."""
    X, y = flowers
    best = softgrad.SoftmaxClassifier(C=0.1, tol=1e-9, fit_intercept=False).fit(X, y).coef_
    for seed in (0, 1):
        W = 20 * np.random.default_rng(seed).normal(size=(3, 4))
        for _ in range(900):
            W -= 0.3 * softgrad.linear_value_and_grad(X, y, W, l2=1 / (0.1 * len(y)))[1]
        assert np.abs(W - best).max() < 1e-5


def test_a_fixed_temperature_only_rescales_weights_and_penalty(flowers):
    X, y = flowers
    plain = softgrad.SoftmaxClassifier(C=0.1, tol=1e-10).fit(X, y)
    hot = softgrad.SoftmaxClassifier(C=0.1 * 9, tol=1e-10, loss=cross_entropy(temperature=3)).fit(X, y)
    assert np.allclose(hot.coef_, 3 * plain.coef_, rtol=1e-5, atol=1e-6)
    assert np.allclose(hot.predict_proba(X), plain.predict_proba(X), rtol=1e-5)


def test_the_l2_softmax_divides_by_the_norm():
    """No penalty on the features' length: it does not matter at all, and the gradient has no part along the features."""
    rng = np.random.default_rng(75)
    X, W, y = rng.normal(size=(6, 4)), rng.normal(size=(3, 4)), rng.integers(3, size=6)
    loss = l2_softmax(16.0)
    value, dW, _, dX = softgrad.linear_value_and_grad(X, y, W, loss=loss, wrt_X=True)
    longer = softgrad.linear_value_and_grad(7 * X, y, W, loss=loss)
    assert value == pytest.approx(longer[0], rel=1e-13)
    assert np.allclose(dW, longer[1], rtol=1e-12)
    assert np.abs((dX * X).sum(axis=1)).max() < 1e-13 * np.abs(dX).max()
    U = 16 * X / np.linalg.norm(X, axis=1, keepdims=True)
    assert value == pytest.approx(cross_entropy()(U @ W.T, y), rel=1e-13)
