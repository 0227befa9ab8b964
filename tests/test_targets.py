"""Targets and class weights: smoothing by a prior, mixup, distillation, effective numbers of rows."""

import mpmath
import numpy as np
import pytest

import softgrad
from softgrad import losses
from softgrad.losses.targets import others_of

mp = mpmath.mp
EPS = float(np.finfo(float).eps)
PRIOR = np.array([0.1, 0.2, 0.0, 0.3, 0.4])


def case(n=30, C=5, seed=1):
    rng = np.random.default_rng(seed)
    return 2 * rng.normal(size=(n, C)), rng.integers(C, size=n)


# ---- smoothing ------------------------------------------------------------------------------------------------------


def test_the_smoothing_gap():
    """C = 10, eps = 0.1: at the optimum the true score is log(.91 / .01) above the others, and the loss is the target's entropy."""
    gap = np.log(0.91 / 0.01)
    assert gap == pytest.approx(4.51086, abs=5e-6)
    value, g = losses.cross_entropy(label_smoothing=0.1).value_and_grad(gap * np.eye(10), np.arange(10))
    assert value == pytest.approx(0.50029, abs=5e-6)
    assert np.abs(g).max() < 1e-16


def test_a_classifier_stops_at_the_smoothing_gap():
    """Rows that can be told apart and no penalty: without smoothing there would be no optimum."""
    X = np.repeat(np.eye(10), 2, axis=0)
    model = softgrad.SoftmaxClassifier(C=np.inf, fit_intercept=False, loss=losses.cross_entropy(label_smoothing=0.1), tol=1e-9)
    z = model.fit(X, np.repeat(np.arange(10), 2)).decision_function(np.eye(10))
    assert np.diag(z) - z[np.arange(10), (np.arange(10) + 1) % 10] == pytest.approx(4.51086, abs=5e-5)


@pytest.mark.parametrize("kind", ["labels", "distributions"])
@pytest.mark.parametrize("omega", [None, (0.5, 2.0, 1.0, 1.3, 0.9)])
def test_a_prior_takes_the_place_of_uniform(kind, omega):
    z, y = case()
    q = np.eye(5)[y] if kind == "labels" else np.random.default_rng(2).dirichlet(np.ones(5), 30)
    loss = losses.compose(losses.Smoothed(0.2, tuple(PRIOR)), losses.Weights(omega))
    found, g = loss.value_and_grad(z, y if kind == "labels" else q, reduction="none")
    a = (0.8 * q + 0.2 * PRIOR) * (1 if omega is None else np.array(omega))
    assert np.allclose(found, -(a * softgrad.log_softmax(z)).sum(axis=1), rtol=1e-13)
    assert np.allclose(g, a.sum(axis=1, keepdims=True) * softgrad.softmax(z) - a, rtol=0, atol=1e-14)


def test_a_uniform_prior_is_the_default():
    z, y = case()
    uniform, default = (losses.compose(losses.Smoothed(0.1, prior)) for prior in ([0.2] * 5, None))
    assert uniform.targets.prior == (0.2,) * 5
    assert np.allclose(uniform(z, y, reduction="none"), default(z, y, reduction="none"), rtol=1e-15)


def test_what_the_others_have_keeps_its_digits():
    a = np.array([[1.0, 1e-30, 2e-30, 0], [0.25, 0.25, 0.5, 0], [1, 0, 0, 0]])
    assert others_of(a).tolist() == pytest.approx(np.array([[3e-30, 1, 1, 1], [0.75, 0.75, 0.5, 1], [0, 1, 1, 1]]), rel=1e-15)
    z = np.array([[0.0, -90.0, -95.0]])
    g = losses.compose(losses.Smoothed(0.5, (1 - 3e-40, 1e-40, 2e-40))).value_and_grad(z, [0])[1]
    p = np.exp(z[0, 1:])
    assert g[0, 1:] == pytest.approx(p - np.array([0.5e-40, 1e-40]), rel=1e-14)
    assert g[0, 0] == pytest.approx(-g[0, 1:].sum(), rel=1e-14)


# ---- mixup ----------------------------------------------------------------------------------------------------------


def test_mixup_is_two_losses_where_f_is_linear():
    z, y = case()
    other, lam = np.roll(y, 1), np.random.default_rng(3).uniform(size=30)
    q = losses.mixup(y, other, lam, 5)
    for loss, linear in ((losses.cross_entropy(label_smoothing=0.1, temperature=2.0), True), (losses.focal(), False)):
        two = lam * loss(z, y, reduction="none") + (1 - lam) * loss(z, other, reduction="none")
        assert np.allclose(loss(z, q, reduction="none"), two, rtol=1e-13) == linear


def test_mixup_of_distributions_and_one_share_for_all():
    q = np.array([[0.5, 0.5, 0], [0, 0, 1]])
    assert losses.mixup(q, [2, 0], 0.4, 3).tolist() == [[0.2, 0.2, 0.6], [0.6, 0, 0.4]]
    assert losses.mixup([], [], 0.5, 3).shape == (0, 3)


# ---- distillation ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("T", [0.5, 1.0, 4.0, 100.0])
def test_distillation_by_hand(T):
    (z, _), (t, _) = case(), case(seed=2)
    loss = losses.distillation(T)
    p, q = (softgrad.softmax(x, temperature=T) for x in (z, t))
    value, g = loss.value_and_grad(z, t, reduction="none")
    assert np.allclose(value, T * T * (q * np.log(q / p)).sum(axis=1), rtol=1e-10 * max(1, T))
    assert np.allclose(g, T * (p - q), rtol=0, atol=1e-14 * T)
    v = np.random.default_rng(4).normal(size=z.shape)
    assert np.allclose(loss.hessian_product(z, t, v, reduction="none"), p * (v - (p * v).sum(axis=1, keepdims=True)), atol=1e-15)
    assert loss(z, t) == pytest.approx(value.mean(), rel=1e-14)  # by rows, not by rows and classes


def test_distillation_tends_to_the_squared_error_of_centred_scores():
    (z, _), (t, _) = case(), case(seed=2)
    limit = ((z - t - (z - t).mean(axis=1, keepdims=True)) ** 2).sum(axis=1) / (2 * 5)
    off = [np.abs(losses.distillation(T)(z, t, reduction="none") / limit - 1).max() for T in (1e3, 1e4, 1e5)]
    assert off[0] < 1e-2
    assert off[1] == pytest.approx(off[0] / 10, rel=0.02)
    assert off[2] == pytest.approx(off[0] / 100, rel=0.02)


@pytest.mark.parametrize("off", [1.0, 1e-3, 1e-6])
def test_the_divergence_is_never_below_0_and_keeps_its_digits_near_it(off):
    """Its terms are a (exp(x) - 1 - x) with x as exact as scores of size 1 can say: an error of eps / x."""
    z, t = np.array([[0.3, -1.2, 0.4, -0.5]]), np.array([[0.3 + off, -1.2, 0.4 - off / 2, -0.5]])
    found = losses.distillation(1.0)(z, t)
    with mpmath.workdps(60):
        u, s = ([mp.mpf(float(x)) for x in row[0]] for row in (z, t))
        lu, ls = (mp.log(sum(mp.exp(x) for x in row)) for row in (u, s))
        exact = sum(mp.exp(b - ls) * ((b - ls) - (a - lu)) for a, b in zip(u, s, strict=True))
        assert abs(mp.mpf(found) - exact) <= 40 * EPS / off * exact
    assert found > 0
    assert losses.distillation(1.0)(t, t) == pytest.approx(0, abs=1e-30)


def test_classes_that_cannot_be():
    """The teacher's cost nothing where the student has them; the student's cost all where the teacher has them."""
    loss = losses.distillation(2.0)
    assert loss([[1.0, 2.0, 3.0]], [[1.0, -np.inf, 3.0]]) > 0
    assert loss([[1.0, -np.inf, 3.0]], [[1.0, -np.inf, 3.0]]) == pytest.approx(0, abs=1e-30)
    assert loss([[1.0, -np.inf, 3.0]], [[1.0, 2.0, 3.0]]) == np.inf
    value, g = loss.value_and_grad([[800.0, 0.0]], [[-800.0, 0.0]])
    assert value == pytest.approx(4 * 400, rel=1e-14)
    assert g.tolist() == [[2, -2]]


def test_probabilities_are_scores_once_their_logarithm_is_taken():
    (z, _), (t, _) = case(), case(seed=2)
    by_scores, by_probabilities = (losses.distillation(3.0)(z, x) for x in (t, softgrad.log_softmax(t)))
    assert by_scores == pytest.approx(by_probabilities, rel=1e-13)


def test_labels_are_certain_teachers():
    z, y = case()
    assert losses.distillation(2.0)(z, y) == pytest.approx(4 * losses.cross_entropy(temperature=2.0)(z, y), rel=1e-13)


def test_the_divergence_is_cross_entropy_less_the_targets_entropy():
    z, _ = case()
    q = np.random.default_rng(5).dirichlet(np.ones(5), 30)
    value, g = losses.compose(losses.Divergence()).value_and_grad(z, q, reduction="none")
    plain, G = losses.cross_entropy().value_and_grad(z, q, reduction="none")
    assert np.allclose(value, plain + (q * np.log(q)).sum(axis=1), rtol=1e-12)
    assert np.allclose(g, G, rtol=1e-13, atol=1e-16)


def test_a_student_finds_its_teacher():
    """A linear head that learns from a linear teacher's scores alone, by plain descent."""
    rng = np.random.default_rng(6)
    X, W = rng.normal(size=(60, 3)), rng.normal(size=(4, 3))
    W -= W.mean(axis=0)
    loss, student = losses.distillation(4.0), np.zeros((4, 3))
    for _ in range(100):
        _, G, _ = softgrad.linear_value_and_grad(X, X @ W.T, student, loss=loss)
        student -= 2.0 * G
    assert np.abs(student - W).max() < 1e-4


def test_predictions_of_a_distilled_loss_are_those_of_temperature_1():
    z, _ = case()
    assert np.allclose(softgrad.losses.loss.probabilities(losses.distillation(5.0), z), softgrad.softmax(z), rtol=1e-15)
    assert np.allclose(softgrad.losses.loss.log_probabilities(losses.distillation(5.0), z), softgrad.log_softmax(z), rtol=1e-15)


# ---- effective numbers ----------------------------------------------------------------------------------------------

LONG_TAIL = [5000, 2997, 1796, 1077, 645, 387, 232, 139, 83, 50]


def test_effective_numbers_of_a_long_tail():
    w = losses.effective_number_weights(LONG_TAIL, 0.9999)
    expected = [0.0506, 0.0769, 0.1211, 0.1950, 0.3188, 0.5246, 0.8683, 1.4426, 2.4092, 3.9927]
    assert w == pytest.approx(expected, abs=5e-5)
    assert w.sum() == pytest.approx(10, rel=1e-15)
    assert losses.cross_entropy(class_weight=w).weights.class_weight == tuple(w)


@pytest.mark.parametrize("beta", [0.9, 0.999, 1 - 1e-12])
def test_effective_numbers_keep_their_digits(beta):
    """Where beta^n underflows, and where 1 - beta^n would lose all."""
    counts = [1, 2, 10, 10**5, 10**9]
    with mpmath.workdps(60):
        inverse = [1 / (1 - mp.mpf(beta) ** n) for n in counts]
        exact = [float(5 * x / sum(inverse)) for x in inverse]
    assert losses.effective_number_weights(counts, beta) == pytest.approx(exact, rel=1e-14)


@pytest.mark.parametrize("integer", [np.int8, np.uint8, np.int16, np.int64, np.float32])
def test_counts_of_every_type_mean_the_same(integer):
    expected = losses.effective_number_weights([100, 50, 3], 0.99)
    assert losses.effective_number_weights(np.array([100, 50, 3], integer), 0.99).tolist() == expected.tolist()


def test_the_ends_of_beta():
    assert losses.effective_number_weights([7, 1, 2], 0).tolist() == [1, 1, 1]
    inverse = losses.effective_number_weights([4, 1, 2], 1)
    assert inverse == pytest.approx(3 * np.array([0.25, 1, 0.5]) / 1.75, rel=1e-15)
    assert losses.effective_number_weights([4, 1, 2], 1 - 1e-15) == pytest.approx(inverse, rel=1e-12)


REFUSED = {
    "Smoothed(eps)": lambda: losses.Smoothed(1.5),
    "Smoothed(prior): must sum to 1": lambda: losses.Smoothed(0.1, (0.5, 0.4)),
    "Smoothed(prior): must be finite and at least 0": lambda: losses.Smoothed(0.1, (1.5, -0.5)),
    "Smoothed(prior): must have one number for each class": lambda: losses.compose(losses.Smoothed(0.1, (0.5, 0.5)))(np.eye(3), [0, 1, 2]),
    "mixup(lam): must be in": lambda: losses.mixup([0], [1], 1.5, 2),
    "mixup(lam): must be a number": lambda: losses.mixup([0], [1], [0.5, 0.5], 2),
    "mixup(y2)": lambda: losses.mixup([0], [2], 0.5, 2),
    "mixup(n_classes)": lambda: losses.mixup([0], [1], 0.5, 0),
    "distillation(temperature)": lambda: losses.distillation(0),
    "Divergence(T)": lambda: losses.Divergence(-1.0),
    "Teacher(T)": lambda: losses.Teacher(np.inf),
    "loss(targets): must have the shape of scores": lambda: losses.distillation()(np.eye(3), np.eye(2)),
    "loss(targets): a row of scores": lambda: losses.distillation()(np.eye(2), [[0.0, 1.0], [np.nan, 0.0]]),
    "effective_number_weights(counts)": lambda: losses.effective_number_weights([3, 0]),
    "effective_number_weights(beta)": lambda: losses.effective_number_weights([3, 1], 1.01),
    "compose(parts): a curve": lambda: losses.compose(losses.Focal(), losses.Divergence()),
}


@pytest.mark.parametrize("argument", REFUSED)
def test_what_makes_no_sense_is_refused(argument):
    with pytest.raises(softgrad.SoftgradError) as told:
        REFUSED[argument]()
    assert str(told.value).startswith(argument)
