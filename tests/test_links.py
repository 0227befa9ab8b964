"""Links other than softmax: reference values, many digits, peers, and what each promises beyond the laws of the family."""

import itertools

import mpmath
import numpy as np
import pytest

import softgrad
from softgrad import losses
from softgrad.kernels import candidates
from softgrad.losses.entmax import Tempered
from softgrad.losses.loss import log_probabilities, probabilities, schedule_for
from softgrad.solvers import SGD

ALPHAS = [0.3, 0.8, 1.0, 1 + 1e-9, 1.01, 1.25, 1.5, 1.9, 2.0]


def scores(n=200, C=30, size=2.0, seed=3):
    rng = np.random.default_rng(seed)
    return size * rng.normal(size=(n, C)), rng.integers(C, size=n)


def yes_or_no(n=60, C=7, seed=4):
    rng = np.random.default_rng(seed)
    return 2 * rng.normal(size=(n, C)), (rng.uniform(size=(n, C)) < 0.4).astype(float)


# ---- entmax -----------------------------------------------------------------------------------------------------------


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


# ---- entmax on its candidates ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(("alpha", "C"), [(1.05, 40), (1.5, 7), (1.5, 500), (2.0, 3000)])
def test_candidates_agree_with_the_plain_formula(dtype, alpha, C, monkeypatch):
    z, y = scores(300, C)
    z[7, 1:] = -np.inf
    y[7], z[9], y[11] = 0, np.nan, 2
    z, r = z.astype(dtype), np.random.default_rng(2).uniform(0.5, 2, 300)
    r[9] = 0
    weights = losses.Weights(tuple(np.linspace(0, 2, C)), ignore_index=2)
    loss = losses.compose(losses.Entmax(alpha), losses.Temperature(1.4), weights)
    assert schedule_for(loss, z.dtype).__module__ == candidates.__name__
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


def test_candidates_name_the_broken_row():
    z, y = scores(40, 100)
    z[17, 3] = np.nan
    with pytest.raises(softgrad.SoftgradError, match="row 17"):
        losses.entmax()(z, y)


# ---- yes or no ------------------------------------------------------------------------------------------------------


def test_binary_cross_entropy_is_a_softmax_of_two_for_each_class():
    z, y = yes_or_no()
    value, gradient = losses.binary_cross_entropy().value_and_grad(z, y, reduction="sum")
    pairs = np.stack([np.zeros_like(z), z], axis=-1).reshape(-1, 2)
    expected, G = losses.cross_entropy().value_and_grad(pairs, y.ravel().astype(int), reduction="sum")
    assert value == pytest.approx(expected, rel=1e-14)
    assert np.allclose(gradient.ravel(), G[:, 1], rtol=1e-14)


@pytest.mark.parametrize("make", [
    lambda: losses.sigmoid_focal(0.0, None), lambda: losses.asymmetric(0.0, 0.0, 0.0), lambda: losses.binary_cross_entropy(),
])  # fmt: skip
def test_without_focus_they_are_binary_cross_entropy(make):
    torch = pytest.importorskip("torch")
    z, y = yes_or_no()
    t = torch.tensor(z, requires_grad=True)
    peer = torch.nn.functional.binary_cross_entropy_with_logits(t, torch.tensor(y), reduction="sum")
    peer.backward()
    value, gradient = make().value_and_grad(z, y, reduction="sum")
    assert value == pytest.approx(float(peer.detach()), rel=1e-14)
    assert np.allclose(gradient, t.grad.numpy(), rtol=1e-13)
    assert make().convex


def test_asymmetric_by_its_formula():
    z, y = yes_or_no()
    p = 1 / (1 + np.exp(-z))
    pm = np.maximum(p - 0.05, 0)
    rows = -(y * (1 - p) ** 1 * np.log(p) + (1 - y) * pm**4 * np.log(1 - pm)).sum(axis=1)
    loss = losses.asymmetric(1.0, 4.0, 0.05)
    assert np.allclose(loss(z, y, reduction="none"), rows, rtol=1e-12)
    gradient = loss.value_and_grad(z, y)[1]
    assert (gradient[(y == 0) & (p <= 0.05)] == 0).all()
    assert ((y == 0) & (p <= 0.05)).any()


def test_sigmoid_focal_by_its_formula():
    z, y = yes_or_no()
    p = 1 / (1 + np.exp(-z))
    rows = -(0.25 * y * (1 - p) ** 2 * np.log(p) + 0.75 * (1 - y) * p**2 * np.log(1 - p)).sum(axis=1)
    assert np.allclose(losses.sigmoid_focal(2.0, 0.25)(z, y, reduction="none"), rows, rtol=1e-12)


@pytest.mark.parametrize("make", [losses.sigmoid_focal, losses.asymmetric, losses.binary_cross_entropy])
def test_impossible_classes_cost_nothing_where_they_are_not_asked_for(make):
    value, gradient = make().value_and_grad([[-np.inf, 1.0]], [[0.0, 1.0]])
    assert np.isfinite(value)
    assert gradient[0, 0] == 0
    assert make()([[-np.inf, 1.0]], [[1.0, 1.0]]) == np.inf


# ---- ZLPR -----------------------------------------------------------------------------------------------------------


def test_zlpr_at_zero_and_its_threshold():
    y = np.array([[1.0, 0, 0, 1, 0]])
    assert losses.zlpr()(np.zeros((1, 5)), y) == pytest.approx(np.log(1 + 3) + np.log(1 + 2), rel=1e-15)
    assert losses.zlpr()(np.where(y > 0, 40.0, -40.0), y) == pytest.approx(5 * np.exp(-40), rel=1e-12)
    assert probabilities(losses.zlpr(), np.array([[0.0, 1.0, -1.0]])).round(3).tolist() == [[0.5, 0.731, 0.269]]


def test_zlpr_by_its_formula_with_soft_labels():
    z, _ = yes_or_no()
    y = np.random.default_rng(2).uniform(size=z.shape)
    rows = np.log1p(((1 - y) * np.exp(z)).sum(axis=1)) + np.log1p((y * np.exp(-z)).sum(axis=1))
    assert np.allclose(losses.zlpr()(z, y, reduction="none"), rows, rtol=1e-13)


def test_a_weight_of_two_is_two_classes():
    z, y = yes_or_no()
    twice = losses.compose(losses.ZLPR(), losses.ManyWeights((2.0,) + (1.0,) * 6))
    copied = losses.zlpr()(np.column_stack([z, z[:, 0]]), np.column_stack([y, y[:, 0]]))
    assert twice(z, y) == pytest.approx(copied, rel=1e-14)


# ---- hinges ---------------------------------------------------------------------------------------------------------

SAMPLES, LABELS = [[3.2, 5.1, -1.7], [1.3, 4.9, 2.0], [2.2, 2.5, -3.1]], [0, 1, 2]


def test_hinges_of_the_course():
    """Three pictures: cat, car, frog (cs231n, linear classification)."""
    ww = losses.weston_watkins()(SAMPLES, LABELS, reduction="none")
    assert np.allclose(ww, [2.9, 0, 12.9], rtol=1e-14)
    assert losses.weston_watkins()(SAMPLES, LABELS) == pytest.approx(5.2667, abs=5e-5)
    assert losses.crammer_singer()(SAMPLES[2:], [2]) == pytest.approx(6.6, rel=1e-14)
    assert losses.weston_watkins(10.0)([[13.0, -7.0, 11.0]], [0]) == 8
    assert losses.weston_watkins()([[-2.85, 0.86, 0.28]], [2]) == pytest.approx(1.58, rel=1e-14)


def test_true_class_is_no_violation_of_itself():
    assert losses.crammer_singer()([[0.5, -3.0, -4.0]], [0]) == 0
    assert losses.weston_watkins()([[7.0]], [0]) == 0


def test_at_the_margin_exactly_nothing_pulls():
    for make in (losses.crammer_singer, losses.weston_watkins):
        value, gradient = make().value_and_grad([[1.0, 0.0, 0.0]], [0])
        assert value == 0
        assert (gradient == 0).all()
    assert losses.crammer_singer().value_and_grad([[0.0, 1.0, 1.0]], [0])[1].tolist() == [[-1, 1, 0]]


def test_impossible_classes_do_not_violate():
    for make in (losses.crammer_singer, losses.weston_watkins):
        value, gradient = make().value_and_grad([[0.0, -np.inf, 0.5]], [0])
        assert value == 1.5
        assert gradient.tolist() == [[-1, 0, 1]]
        assert make()([[0.0, -np.inf, 0.5]], [1]) == np.inf


def test_torch_divides_by_the_number_of_classes():
    torch = pytest.importorskip("torch")
    z, y = scores(C=6)
    t = torch.tensor(z, requires_grad=True)
    peer = torch.nn.functional.multi_margin_loss(t, torch.tensor(y), margin=2.5)
    peer.backward()
    value, gradient = losses.weston_watkins(2.5).value_and_grad(z, y)
    assert value == pytest.approx(6 * float(peer.detach()), rel=1e-14)
    assert np.allclose(gradient, 6 * t.grad.numpy(), atol=1e-16)


def test_softmax_with_a_margin_tends_to_crammer_singer():
    z, y = scores(C=6)
    hinge = losses.crammer_singer()(z, y)
    raised = z + (np.arange(6) != y[:, None])
    gaps = [T * losses.compose(losses.Temperature(T))(raised, y) - hinge for T in (1.0, 0.1, 0.01)]
    assert gaps[0] > gaps[1] > gaps[2] > 0
    assert gaps[2] < 1e-3


# ---- squares --------------------------------------------------------------------------------------------------------


def test_squares_by_their_formulas():
    z, y = scores(C=6)
    e = z - np.eye(6)[y]
    assert losses.squared_error()(z, y) == pytest.approx(0.5 * (e**2).sum(axis=1).mean(), rel=1e-14)
    p = softgrad.softmax(z) - np.eye(6)[y]
    assert losses.brier()(z, y) == pytest.approx((p**2).sum(axis=1).mean(), rel=1e-14)


def test_brier_learns_nothing_where_it_is_sure_and_wrong():
    """And cross-entropy learns the most there."""
    wrong = [[30.0, 0.0, 0.0]]
    assert np.abs(losses.brier().value_and_grad(wrong, [1])[1]).max() < 1e-12
    assert np.abs(losses.cross_entropy().value_and_grad(wrong, [1])[1]).max() == pytest.approx(1)


def test_brier_keeps_the_digits_of_small_errors():
    value, gradient = losses.brier().value_and_grad([[60.0, 0.0]], [0])
    assert value == pytest.approx(2 * np.exp(-120), rel=1e-13)
    assert np.allclose(gradient, [[-4 * np.exp(-120), 4 * np.exp(-120)]], rtol=1e-13, atol=0)


# ---- bi-tempered ----------------------------------------------------------------------------------------------------


def test_bi_tempered_reference_values():
    z = [[-0.5, 0.1, 2.0], [0.1, 1.5, -5.0], [4.0, -3.0, -6.0]]
    q = [[0.2, 0.3, 0.5], [0.6, 0.3, 0.1], [0.2, 0.8, 0.0]]
    assert np.allclose(losses.bi_tempered(0.5, 1.5)(z, q, reduction="none"), [0.02301914, 0.18972909, 0.93874922], atol=1e-5)
    assert np.allclose(losses.bi_tempered(0.5, 0.8)(z, q, reduction="none"), [0.21646356, 0.41836615, 1.33997854], atol=1e-5)
    q = np.array([[0.9, 0.05, 0.05], [0.05, 0.9, 0.05], [0.05, 0.05, 0.9]])  # the authors' smoothing: the true class gets no share
    assert np.allclose(losses.bi_tempered(0.5, 1.5)(z, q, reduction="none"), [0.76652711, 0.08627685, 1.35443510], atol=1e-5)
    # five iterations are not enough here: the row that the authors expect sums to 1.0000288
    assert np.allclose(probabilities(losses.bi_tempered(1.0, 4.0), np.array(z))[0], [0.32053767, 0.32713398, 0.35232835], atol=1e-8)


@pytest.mark.parametrize("t", [0.0, 0.4, 1.0, 1.6])
def test_equal_temperatures_are_entmax(t):
    z, y = scores(C=6)
    value, gradient = losses.bi_tempered(t, t).value_and_grad(z, y)
    expected, G = losses.entmax(2 - t).value_and_grad(z, y)
    assert value == pytest.approx(expected, rel=1e-14)
    assert np.allclose(gradient, G, rtol=1e-12, atol=1e-15)
    v = np.random.default_rng(1).normal(size=z.shape)
    products = losses.bi_tempered(t, t).hessian_product(z, y, v), losses.entmax(2 - t).hessian_product(z, y, v)
    assert np.allclose(*products, rtol=0, atol=1e-14)


@pytest.mark.parametrize("t2", [0.2, 0.8, 1.0, 1.2, 2.0, 4.0])
def test_tempered_probabilities_sum_to_one(t2):
    z = scores(40, 200)[0]
    p = probabilities(losses.bi_tempered(0.1, t2), z)
    assert np.allclose(p.sum(axis=1), 1, rtol=0, atol=2e-15)
    x = Tempered((z, np.zeros_like(z)), 1 - t2)
    assert np.allclose(p[p > 0], np.exp(x.logarithms()[p > 0]), rtol=1e-13)


def test_bi_tempered_is_bounded_and_smoothing_acts_on_targets():
    far = [[0.0, 1e6, 0.0]]
    assert losses.bi_tempered(0.8, 1.2)(far, [0]) < 1 / (1 - 0.8)
    smoothed = losses.compose(losses.BiTempered(0.8, 1.2), losses.Smoothed(0.1))
    q = 0.9 * np.eye(3)[[1]] + 0.1 / 3
    assert smoothed([[1.0, 2.0, 0.5]], [1]) == pytest.approx(losses.bi_tempered(0.8, 1.2)([[1.0, 2.0, 0.5]], q), rel=1e-14)


# ---- what they all must say plainly ---------------------------------------------------------------------------------


@pytest.mark.parametrize("make", [losses.crammer_singer, losses.weston_watkins, losses.squared_error])
def test_scores_that_stand_for_no_probabilities(make):
    for ask in (probabilities, log_probabilities):
        with pytest.raises(softgrad.SoftgradError, match="only compares"):
            ask(make(), np.zeros((1, 2)))


@pytest.mark.parametrize("make", [losses.entmax, losses.brier, losses.bi_tempered])
def test_log_probabilities_are_those_of_probabilities(make):
    z = scores(50, 6, 4.0)[0]
    p = probabilities(make(), z)
    with np.errstate(divide="ignore"):
        assert np.allclose(log_probabilities(make(), z), np.log(p), rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("make", [losses.zlpr, losses.squared_error])
def test_impossible_classes_are_refused_where_they_mean_nothing(make):
    for call in (make(), lambda z, y: make().hessian_product(z, y, np.ones((2, 2)))):
        with pytest.raises(softgrad.SoftgradError, match=r"finite numbers only.*row 1"):
            call([[0.0, 1.0], [-np.inf, 1.0]], [0, 1])


@pytest.mark.parametrize("make", [
    lambda: losses.entmax(0.0), lambda: losses.entmax(2.1), lambda: losses.bi_tempered(1.2, 0.8), lambda: losses.bi_tempered(2.0, 2.0),
    lambda: losses.crammer_singer(0.0), lambda: losses.asymmetric(clip=1.0), lambda: losses.sigmoid_focal(-1.0),
    lambda: losses.sigmoid_focal(alpha=2.0), lambda: losses.asymmetric(gamma_pos=float("nan")), lambda: losses.weston_watkins(np.inf),
    lambda: losses.entmax_probabilities([[np.nan, 1.0]]), lambda: losses.entmax_probabilities(1.0),
])  # fmt: skip
def test_numbers_out_of_range_are_refused(make):
    with pytest.raises(softgrad.SoftgradError, match="got"):
        make()


@pytest.mark.parametrize("make", [losses.crammer_singer, losses.weston_watkins])
def test_hinges_read_class_numbers_only(make):
    with pytest.raises(softgrad.SoftgradError, match="class numbers"):
        make()([[0.0, 1.0]], [[0.5, 0.5]])
    with pytest.raises(softgrad.SoftgradError, match="reads one class"):
        losses.compose(losses.CrammerSinger(), losses.Smoothed(0.1))


@pytest.mark.parametrize("make", [
    losses.entmax, losses.sparsemax, losses.crammer_singer, losses.weston_watkins, losses.brier, losses.bi_tempered,
])  # fmt: skip
def test_linear_classifiers_train_with_them(make):
    from sklearn.datasets import load_iris

    X, y = load_iris(return_X_y=True)
    model = softgrad.SoftmaxClassifier(C=10.0, loss=make(), max_iter=1000, solver=SGD(epochs=50)).fit(X, y)
    assert model.score(X, y) > 0.75
    if make in (losses.crammer_singer, losses.weston_watkins):
        with pytest.raises(softgrad.SoftgradError, match="only compares"):
            model.predict_proba(X)
    else:
        assert np.allclose(model.predict_proba(X).sum(axis=1), 1, rtol=0, atol=1e-14)


@pytest.mark.parametrize("make", [losses.entmax, losses.squared_error, losses.brier, losses.bi_tempered])
def test_smooth_losses_reach_a_stationary_point(make):
    from sklearn.datasets import load_iris

    X, y = load_iris(return_X_y=True)
    model = softgrad.SoftmaxClassifier(C=1.0, loss=make(), tol=1e-5, max_iter=500).fit(X, y)
    assert model.result_.status.name == "CONVERGED"
    assert model.score(X, y) > 0.8
