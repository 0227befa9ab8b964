"""Terms: z-loss and the confidence penalty, by textbook lines, in many digits, and where they bend downwards."""

import mpmath
import numpy as np
import pytest

import softgrad
from softgrad import losses

mp = mpmath.mp
EPS = float(np.finfo(float).eps)


def scores(n=30, C=4, seed=1):
    rng = np.random.default_rng(seed)
    return 2 * rng.normal(size=(n, C)), rng.integers(C, size=n)


def with_term(*terms):
    """The value that the terms add, and the gradient."""
    z, y = scores()
    together, plain = (losses.compose(*parts).value_and_grad(z, y, reduction="none") for parts in (terms, ()))
    return z, together[0] - plain[0], together[1] - plain[1]


def test_z_loss_by_hand():
    z, t, t1 = with_term(losses.ZLoss(0.3))
    lse = softgrad.logsumexp(z)
    assert np.allclose(t, 0.3 * lse**2, rtol=1e-12)
    assert np.allclose(t1, 0.6 * lse[:, None] * softgrad.softmax(z), rtol=1e-9, atol=1e-14)


def test_confidence_penalty_by_hand():
    z, t, t1 = with_term(losses.ConfidencePenalty(0.3))
    p, log_p = softgrad.softmax(z), softgrad.log_softmax(z)
    H = -(p * log_p).sum(axis=1)
    assert np.allclose(t, -0.3 * H, rtol=1e-12)
    assert np.allclose(t1, 0.3 * p * (log_p + H[:, None]), rtol=1e-9, atol=1e-14)


@pytest.mark.parametrize("term", [losses.ZLoss(), losses.ConfidencePenalty()], ids=str)
def test_terms_add_up_and_see_the_softened_scores(term):
    z, y = scores()
    hot, plain = losses.compose(losses.Temperature(2.0), term, losses.ZLoss(0.2)), losses.compose(term, losses.ZLoss(0.2))
    assert np.allclose(hot(z, y, reduction="none"), plain(z / 2, y, reduction="none"), rtol=1e-14)
    both = plain(z, y, reduction="none") + losses.cross_entropy()(z, y, reduction="none")
    one_by_one = sum(losses.compose(part)(z, y, reduction="none") for part in (term, losses.ZLoss(0.2)))
    assert np.allclose(both, one_by_one, rtol=1e-14)


@pytest.mark.parametrize("d", [1.0, 30.0, 300.0, 700.0])
def test_confident_rows_keep_the_digits_of_their_entropy(d):
    """Scores (d, 0, 0): value, gradient and Hessian product against many digits; classes that cannot be change nothing."""
    term, u = losses.ConfidencePenalty(1.0), (np.array([[d, 0.0, 0.0]]), np.zeros((1, 3)))
    t, t1 = term.value_gradient(u)
    v = np.array([[0.0, 1.0, -0.5]])
    with mpmath.workdps(700):
        e = [mp.exp(mp.mpf(d)), mp.mpf(1), mp.mpf(1)]
        p = [x / sum(e) for x in e]
        H = -sum(x * mp.log(x) for x in p)
        c = [mp.log(x) + H for x in p]
        w = [mp.mpf(float(x)) - sum(pj * mp.mpf(float(vj)) for pj, vj in zip(p, v[0], strict=True)) for x in v[0]]
        mean = sum(x * y * z for x, y, z in zip(p, w, c, strict=True))
        exact = [pj * (wj * (cj + 1) - mean) for pj, wj, cj in zip(p, w, c, strict=True)]
        assert abs(mp.mpf(float(t[0])) + H) <= 20 * EPS * H
        for found, x, cj in zip(t1[0], p, c, strict=True):
            assert abs(mp.mpf(float(found)) - x * cj) <= 20 * EPS * abs(x * cj)
        for found, x in zip(term.hessian_product(u, v)[0], exact, strict=True):
            assert abs(mp.mpf(float(found)) - x) <= 50 * EPS * max(abs(y) for y in exact)
    wide = (np.array([[d, 0.0, -np.inf, 0.0]]), np.zeros((1, 4)))
    assert term.value_gradient(wide)[0] == t
    assert term.value_gradient(wide)[1][0, [0, 1, 3]].tolist() == t1[0].tolist()
    assert term.value_gradient(wide)[1][0, 2] == 0


def test_z_loss_pins_the_sum_of_exponentials():
    """Only z-loss moves scores along (1, ..., 1): at its minimum they have lse = 0."""
    z, y = np.array([[3.0, 1.0, 2.0]]), [0]
    loss = losses.compose(losses.ZLoss(0.1))
    assert not loss.shift_invariant
    _, g = loss.value_and_grad(z - softgrad.logsumexp(z)[:, None], y)
    assert g.sum() == pytest.approx(0, abs=1e-16)
    assert loss.value_and_grad(z, y)[1].sum() == pytest.approx(0.2 * softgrad.logsumexp(z)[0], rel=1e-14)


@pytest.mark.parametrize("weight", [0.05, 0.5, 2.0])
def test_where_z_loss_with_cross_entropy_is_convex(weight):
    """H = (1 + 2 weight lse) J + 2 weight p p': down to lse = -1 / (2 weight), and no further."""
    loss, eye = losses.compose(losses.ZLoss(weight)), np.eye(3)

    def lowest(lse):
        z = np.array([0.3, -0.4, 0.1])
        z = np.tile(z - softgrad.logsumexp(z) + lse, (3, 1))
        return np.linalg.eigvalsh(loss.hessian_product(z, [0, 0, 0], eye, reduction="none")).min()

    end = -1 / (2 * weight)
    assert lowest(end + 1e-3) > 0
    assert lowest(end - 1e-3) < 0
    assert not loss.convex


def test_a_classifier_with_z_loss_has_scores_near_log_probabilities():
    rng = np.random.default_rng(2)
    X, y = rng.normal(size=(300, 4)), rng.integers(3, size=300)
    X[:, 0] += 5
    drift = []
    for loss in (losses.cross_entropy(), losses.compose(losses.ZLoss(0.1))):
        model = softgrad.SoftmaxClassifier(C=100.0, loss=loss, tol=1e-6).fit(X, y)
        drift.append(np.abs(softgrad.logsumexp(model.decision_function(X))).mean())
    assert drift[0] > 1
    assert drift[1] < 0.1


REFUSED = {
    "ZLoss(weight)": lambda: losses.ZLoss(-1),
    "ConfidencePenalty(weight)": lambda: losses.ConfidencePenalty(np.nan),
    "compose(parts)": lambda: losses.compose(losses.ZLoss(), losses.Sigmoid()),
}


@pytest.mark.parametrize("argument", REFUSED)
def test_what_makes_no_sense_is_refused(argument):
    with pytest.raises(softgrad.SoftgradError) as told:
        REFUSED[argument]()
    assert str(told.value).startswith(argument)
