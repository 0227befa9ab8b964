"""Curves by themselves: derivatives in many digits, convexity by its exact test, the papers' and other libraries' numbers."""

import mpmath
import numpy as np
import pytest

import softgrad
from softgrad import losses
from softgrad.losses.loss import log_probabilities

mp = mpmath.mp
EPS = float(np.finfo(float).eps)


def generalized(q):
    return lambda l: (1 - mp.exp(-q * l)) / q if q else l


def truncated(k, q):
    return lambda l: generalized(q)(min(l, -mp.log(k)))


# name -> the curve, and f(l) as the papers have it
CURVES = {
    **{f"focal {g}": (losses.Focal(g), lambda l, g=g: (1 - mp.exp(-l)) ** mp.mpf(g) * l) for g in (0, 0.5, 1, 2, 5)},
    **{f"poly {e}": (losses.Poly1(e), lambda l, e=e: l + e * (1 - mp.exp(-l))) for e in (-1, -0.3, 1, 2)},
    **{f"generalised {q}": (losses.Generalized(q), generalized(mp.mpf(q))) for q in (1e-6, 0.7, 1.0)},
    **{f"truncated {k} {q}": (losses.Truncated(k, q), truncated(mp.mpf(k), mp.mpf(q))) for k, q in ((0.5, 0.7), (0.01, 0.0))},
    **{f"Taylor {t}": (losses.Taylor(t), lambda l, t=t: mp.fsum((1 - mp.exp(-l)) ** k / k for k in range(1, t + 1))) for t in (1, 2, 7)},
    "symmetric": (losses.Symmetric(), lambda l: mp.mpf(0.1) * l + 4 * (1 - mp.exp(-l))),
    "symmetric, convex": (losses.Symmetric(6.0, 0.1), lambda l: 6 * l + mp.mpf(0.1) * 4 * (1 - mp.exp(-l))),
}
each = pytest.mark.parametrize("name", CURVES)
SMALL = [1e-100, 1e-30, 1e-17, 1e-8, 1e-3]
MIDDLE = [0.2, 0.6, 1.0, 3.0, 8.0]
LARGE = [40.0, 300.0, 690.0]


@each
def test_derivatives_keep_their_digits_from_certain_to_hopeless(name):
    """P -> 1 and P -> 0, each number in relative terms; P^q has the rounding of its exponent q l."""
    curve, f = CURVES[name]
    found = np.array(curve.derivatives(np.array(SMALL + MIDDLE + LARGE)))
    with mpmath.workdps(800):
        for i, l in enumerate(SMALL + MIDDLE + LARGE):
            exact = [f(mp.mpf(l)), *(mp.diff(f, mp.mpf(l), n, h=mp.mpf(l) * mp.mpf(10) ** -60) for n in (1, 2))]
            for n, value in enumerate(exact):
                if abs(value) > 1e-300:
                    assert abs(mp.mpf(found[n, i]) - value) <= (40 + l) * EPS * abs(value), (l, n, found[n, i], float(value))
                else:
                    assert abs(found[n, i]) <= 1e-299, (l, n)


@each
def test_the_ends_are_finite(name):
    """At P = 1 exactly, and at P = 0: the value may be infinite there, no derivative is, and none is NaN."""
    curve, _ = CURVES[name]
    f, f1, f2 = curve.derivatives(np.array([0.0, 5e-324, 1e3, 1e307, np.inf]))
    assert f[0] == 0
    assert not np.isnan(f).any()
    assert np.isfinite(f[:4]).all()
    assert np.isfinite(f1).all()
    assert np.isfinite(f2).all()


@pytest.mark.parametrize("gamma", [0.3, 0.5, 0.999, 1, 2])
def test_focal_rows_without_any_loss_have_derivatives_of_zero(gamma):
    """gamma < 1: f'' is infinite at P = 1, the Hessian is not."""
    loss = losses.focal(gamma)
    z, v = np.array([[0.0, -np.inf, -np.inf], [0.0, -2000.0, -3000.0]]), np.ones((2, 3))
    value, g = loss.value_and_grad(z, [0, 0])
    assert value == 0
    assert not g.any()
    assert not loss.hessian_product(z, [0, 0], v).any()


@pytest.mark.parametrize("m", [20.0, 60.0, 300.0])
@pytest.mark.parametrize("name", CURVES)
def test_confident_rows_keep_their_digits(name, m):
    """Two classes at margin m: l = log1p(exp(-m)), and g = f'(l) exp(-m) / (1 + exp(-m)) for the other class."""
    curve, f = CURVES[name]
    value, g = losses.compose(curve).value_and_grad([[m, 0.0]], [0])
    with mpmath.workdps(800):
        l = mp.log1p(mp.exp(-mp.mpf(m)))
        slope = mp.diff(f, l, 1, h=l * mp.mpf(10) ** -60) * mp.exp(-mp.mpf(m)) / (1 + mp.exp(-mp.mpf(m)))
        tiny = mp.mpf(10) ** -300
        assert abs(mp.mpf(value) - f(l)) <= 100 * EPS * abs(f(l)) + tiny
        assert abs(mp.mpf(float(g[0, 1])) - slope) <= 100 * EPS * abs(slope) + tiny
        assert g[0, 0] == -g[0, 1]


# ---- convexity ------------------------------------------------------------------------------------------------------


def kappa(curve, P):
    """f' and f' + f'' (1 - P) / P, which have to be at least 0."""
    _, f1, f2 = curve.derivatives(-np.log(P))
    return f1, f1 + f2 * (1 - P) / P


P = np.concatenate([np.geomspace(1e-8, 0.5, 4001), 1 - np.geomspace(0.5, 1e-8, 4001)])
SWEEP = (
    [losses.Focal(g) for g in (0.0, 0.3, 1.0, 2.0, 5.0)]
    + [losses.Poly1(e) for e in (-1.1, -1.0, -0.5, 0.0, 0.7, 1.0, 1.1, 2.0)]
    + [losses.Generalized(q) for q in (0.1, 0.7, 1.0)]
    + [losses.Taylor(t) for t in (1, 2, 10)]
    + [losses.Symmetric(*args) for args in ((0.1, 1.0), (6.0, 0.1), (4.0, 1.0, -4.0), (3.9, 1.0, -4.0))]
    + [losses.Truncated(0.1), losses.Truncated(0.3, 0.7)]
)


@pytest.mark.parametrize("curve", SWEEP, ids=str)
def test_convex_is_what_kappa_says(curve):
    f1, k = kappa(curve, P)
    assert curve.convex(one_hot=True) == bool(f1.min() >= -1e-12 and k.min() >= -1e-7)


@pytest.mark.parametrize("curve", SWEEP, ids=str)
def test_convex_for_soft_targets_is_what_their_hessians_say(curve):
    """Eigenvalues of f' J + f'' g g' for two equal targets of three, one of which has little probability."""
    lowest = np.inf
    for t in (*np.geomspace(1e-6, 0.2, 20), *np.linspace(0.25, 0.999, 40)):
        for q in (np.array([0.5, 0.5, 0]), np.array([1.0, 0, 0])):
            p = np.array([t, 0.9 - 0.9 * t, 0.1 - 0.1 * t])
            _, f1, f2 = curve.derivatives(np.array([-(q * np.log(p)).sum()]))
            H = f1 * (np.diag(p) - np.outer(p, p)) + f2 * np.outer(p - q, p - q)
            lowest = min(lowest, np.linalg.eigvalsh(H).min())
    assert curve.convex(one_hot=False) == (lowest >= -1e-14)


def test_soft_targets_take_convexity_from_poly_1():
    assert losses.Poly1(0.5).convex(one_hot=True)
    assert not losses.Poly1(0.5).convex(one_hot=False)
    assert losses.poly1(0.5).convex
    assert not losses.poly1(0.5, label_smoothing=0.1).convex
    assert losses.poly1(-0.5, label_smoothing=0.1).convex


@pytest.mark.parametrize(("gamma", "end"), [(1, 0.0432), (2, 0.0578), (5, 0.0502)])
def test_focal_is_bent_downwards_below_a_small_probability(gamma, end):
    near = np.linspace(1e-4, 0.9999, 1000001)
    _, k = kappa(losses.Focal(gamma), near)
    assert near[k < 0].max() == pytest.approx(end, abs=5e-5)
    assert (k[near < end - 1e-4] < 0).all()


def test_focal_rows_below_a_third_count_more_than_with_cross_entropy():
    near = np.linspace(1e-4, 0.9999, 1000001)
    f1, _ = kappa(losses.Focal(2), near)
    assert near[f1 > 1].max() == pytest.approx(0.2976, abs=5e-5)
    assert f1.max() == pytest.approx(1.2246, abs=5e-5)


@pytest.mark.parametrize("q", [0.2, 0.7, 1.0])
def test_generalised_is_bent_downwards_below_q_by_1_plus_q(q):
    _, k = kappa(losses.Generalized(q), P)
    assert (k < 0)[q / (1 + q) * (1 - 1e-9) > P].all()
    assert (k > 0)[q / (1 + q) * (1 + 1e-9) < P].all()


def test_truncated_is_constant_below_k_and_bent_downwards_there():
    loss = losses.compose(losses.Truncated(0.5, 0.0))
    assert not loss.convex
    z = np.array([[-2.0, 0], [-1, 0], [0, 0], [1, 0]])  # P = .12, .27, .5, .73
    value, g = loss.value_and_grad(z, np.zeros(4, int), reduction="none")
    assert value == pytest.approx([np.log(2)] * 3 + [np.log1p(np.exp(-1))], rel=1e-15)
    assert not g[:3].any()
    assert loss([[0.0, 0]], [0]) > 0.5 * (loss([[-1.0, 0]], [0]) + loss([[1.0, 0]], [0]))  # above its chord


# ---- limits, and other libraries ------------------------------------------------------------------------------------


def case(n=40, C=4):
    rng = np.random.default_rng(3)
    return 2 * rng.normal(size=(n, C)), rng.integers(C, size=n)


@pytest.mark.parametrize(
    "near", [losses.focal(0.0), losses.poly1(0.0), losses.generalized_cross_entropy(1e-12), losses.taylor_cross_entropy(1500)]
)
def test_they_come_from_cross_entropy(near):
    z, y = case()
    z[np.arange(len(y)), y] += 4  # (1 - P)^1500 is nothing
    plain, found = (loss.value_and_grad(z, y) for loss in (losses.cross_entropy(), near))
    assert found[0] == pytest.approx(plain[0], rel=1e-9)
    assert np.allclose(found[1], plain[1], rtol=1e-9)


@pytest.mark.parametrize("far", [losses.generalized_cross_entropy(1.0), losses.taylor_cross_entropy(1)])
def test_they_go_to_the_mean_absolute_error(far):
    """sum_j |p_j - e_j| / 2 = 1 - P."""
    z, y = case()
    p = softgrad.softmax(z)
    assert np.allclose(far(z, y, reduction="none"), np.abs(p - np.eye(4)[y]).sum(axis=1) / 2, rtol=1e-13)


def test_symmetric_is_poly_1():
    z, y = case()
    ours, poly = losses.symmetric_cross_entropy(2.0, 0.5, -4.0), losses.poly1(1.0)
    assert np.allclose(ours(z, y, reduction="none"), 2 * poly(z, y, reduction="none"), rtol=1e-14)


def test_symmetric_by_the_paper():
    """alpha CE(q, p) + beta CE(p, q), log 0 = A."""
    z, y = case()
    p, e = softgrad.softmax(z), np.eye(4)[y]
    other = -(p * np.where(e > 0, 0.0, -4.0)).sum(axis=1)
    expected = 0.1 * losses.cross_entropy()(z, y, reduction="none") + other
    assert np.allclose(losses.symmetric_cross_entropy()(z, y, reduction="none"), expected, rtol=1e-13)


def test_keras():
    """Categorical focal cross-entropy, alpha = 0.25, which multiplies."""
    z, y = [[8.0, 1, 1], [0, 9, 1], [2, 3, 5]], [0, 1, 2]
    assert losses.cross_entropy()(z, y) == pytest.approx(0.0573756, abs=5e-8)
    assert 0.25 * losses.focal(2.0)(z, y) == pytest.approx(0.00034536, abs=5e-9)


def test_monai():
    """Softmax focal on three equal scores; its mean divides by classes too. alpha = 0.8 weighs class 0 by 0.2, the others by 0.8."""
    z, y = np.array([[1.0] * 3, [1.0] * 3, [0.5] * 3, [0.0] * 3]), np.array([0, 1, 2, 0])
    assert losses.focal(2.0)(z, y) / 3 == pytest.approx(0.16276, abs=1e-5)
    weighted = losses.focal(2.0, class_weight=[0.2, 0.8, 0.8])
    assert weighted(z, y, reduction="sum") / 4 / 3 == pytest.approx(0.08138, abs=1e-5)


@pytest.mark.parametrize(("epsilon", "expected"), [(2.0, 4.5317), (0.0, 2.8990), (-1.0, 2.0827)])
def test_optax_takes_the_mean_over_labels(epsilon, expected):
    """For soft targets optax has sum_j q_j f(-log p_j): rows of labels with weights q_j. Here f acts on the cross-entropy of the row."""
    z, q = np.array([0.14, 1.456, 2.356, -0.124, -2.47]), np.array([0.1, 0.15, 0.2, 0.25, 0.3])
    loss = losses.poly1(epsilon)
    assert loss(np.tile(z, (5, 1)), np.arange(5), sample_weight=q) == pytest.approx(expected, abs=5e-5)
    l = -(q * softgrad.log_softmax(z)).sum()
    assert loss(z[None], q[None]) == pytest.approx(l + epsilon * (1 - np.exp(-l)), rel=1e-14)


def test_class_weights_stand_before_the_curve():
    """P is that of the plain softmax, not P^omega."""
    z, y = case()
    omega = np.array([0.2, 3.0, 1.0, 0.7])
    plain, weighted = losses.focal(), losses.focal(class_weight=omega)
    assert np.allclose(weighted(z, y, reduction="none"), omega[y] * plain(z, y, reduction="none"), rtol=1e-14)
    assert weighted(z, y) == pytest.approx((omega[y] * plain(z, y, reduction="none")).sum() / omega[y].sum(), rel=1e-14)


# ---- the focal loss is not proper -----------------------------------------------------------------------------------


def minimiser(eta, loss, steps=60):
    """Scores that minimise the mean loss of labels drawn from eta, by Newton's method; the last score stays 0."""
    C = len(eta)
    z = np.log(eta)
    for _ in range(steps):
        rows, y = np.tile(z, (C, 1)), np.arange(C)
        g = loss.value_and_grad(rows, y, sample_weight=eta, reduction="sum")[1].sum(axis=0)
        H = np.array([loss.hessian_product(rows, y, np.tile(v, (C, 1)), sample_weight=eta, reduction="sum").sum(axis=0) for v in np.eye(C)])
        z[:-1] -= np.linalg.solve(H[:-1, :-1], g[:-1])
    assert np.abs(g).max() < 1e-13
    return z


def test_focal_posterior_gives_the_probabilities_back():
    eta, loss = np.array([0.6, 0.3, 0.1]), losses.focal(2.0)
    p = softgrad.softmax(minimiser(eta, loss))
    assert p == pytest.approx([0.48889, 0.35312, 0.15799], abs=5e-6)
    assert losses.focal_posterior(p, 2.0) == pytest.approx(eta, rel=1e-11)


@pytest.mark.parametrize("gamma", [0.0, 0.5, 1.0, 5.0])
def test_focal_posterior_of_any_gamma(gamma):
    eta = np.array([0.5, 0.3, 0.15, 0.05])
    p = softgrad.softmax(minimiser(eta, losses.focal(gamma)))
    assert losses.focal_posterior(p, gamma) == pytest.approx(eta, rel=1e-10)


def test_focal_posterior_at_the_ends():
    """Also where one class has it all, and of many rows at once."""
    p = np.array([[1.0, 0, 0], [0.5, 0.5, 0], [1e-300, 1 - 1e-16, 1e-16]])
    eta = losses.focal_posterior(p)
    assert eta[:2].tolist() == p[:2].tolist()
    assert eta.sum(axis=1) == pytest.approx(1, rel=1e-15)
    assert eta[2, 1] == 1
    assert losses.focal_posterior(p[None], 0.5).shape == (1, 3, 3)


def test_a_classifier_with_focal_loss_is_calibrated_by_its_posterior():
    """Labels of two features' softmax: what the focal loss blurs, its posterior sharpens back."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(3000, 2))
    eta = softgrad.softmax(X @ np.array([[1.0, 0.5, -1], [0, 1, -1]]))
    y = (rng.uniform(size=(3000, 1)) > eta.cumsum(axis=1)).sum(axis=1)
    model = softgrad.SoftmaxClassifier(C=10.0, loss=losses.focal(2.0)).fit(X, y)
    assert model.result_.converged
    p = model.predict_proba(X)
    assert np.abs(p - eta).mean() > 0.05
    assert np.abs(losses.focal_posterior(p) - eta).mean() < 0.025
    assert np.allclose(np.log(p), log_probabilities(model.loss, model.decision_function(X)), rtol=1e-12)


REFUSED = {
    "Focal(gamma)": lambda: losses.focal(-1),
    "Poly1(epsilon)": lambda: losses.poly1(np.nan),
    "Generalized(q)": lambda: losses.generalized_cross_entropy(0),
    "Truncated(k)": lambda: losses.Truncated(1.0),
    "Truncated(q)": lambda: losses.Truncated(0.5, 1.5),
    "Taylor(order)": lambda: losses.taylor_cross_entropy(0),
    "Symmetric(alpha)": lambda: losses.Symmetric(-0.1),
    "Symmetric(beta)": lambda: losses.symmetric_cross_entropy(beta=0),
    "Symmetric(A)": lambda: losses.Symmetric(A=0),
    "focal(temperature)": lambda: losses.focal(temperature=0),
    "poly1(label_smoothing)": lambda: losses.poly1(label_smoothing=2),
    "focal_posterior(probabilities)": lambda: losses.focal_posterior([0.5, 1.5]),
    "focal_posterior(gamma)": lambda: losses.focal_posterior([0.5, 0.5], -1),
    "compose(parts)": lambda: losses.compose(losses.Focal(), losses.Sigmoid()),
}


@pytest.mark.parametrize("argument", REFUSED)
def test_numbers_out_of_range_are_refused(argument):
    with pytest.raises(softgrad.SoftgradError) as told:
        REFUSED[argument]()
    assert str(told.value).startswith(argument)
