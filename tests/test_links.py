"""Links other than softmax: reference values, many digits, peers, and what each promises beyond the laws of the family."""

import numpy as np
import pytest

import softgrad
from softgrad import losses
from softgrad.losses.loss import log_probabilities, probabilities
from softgrad.losses.tsallis import Tempered
from softgrad.solvers import SGD


def scores(n=200, C=30, size=2.0, seed=3):
    rng = np.random.default_rng(seed)
    return size * rng.normal(size=(n, C)), rng.integers(C, size=n)


def yes_or_no(n=60, C=7, seed=4):
    rng = np.random.default_rng(seed)
    return 2 * rng.normal(size=(n, C)), (rng.uniform(size=(n, C)) < 0.4).astype(float)


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


# ---- who counts -----------------------------------------------------------------------------------------------------

ONE_CLASS = [
    losses.entmax, losses.sparsemax, losses.crammer_singer, losses.weston_watkins, losses.squared_error, losses.brier, losses.bi_tempered,
]  # fmt: skip


@pytest.mark.parametrize("make", ONE_CLASS, ids=lambda make: make.__name__)
def test_ignored_rows_and_class_weights_as_in_cross_entropy(make):
    (z, y), omega = scores(40, 5), np.array([0.5, 2.0, 0.0, 1.3, 0.9])
    y[::3] = -100
    counted, spoilt = y != -100, np.where((y == -100)[:, None], np.nan, z)
    plain, loss = make(), make(class_weight=omega, ignore_index=-100)
    rows = plain(z[counted], y[counted], reduction="none") * omega[y[counted]]
    assert loss(spoilt, y) == pytest.approx(rows.sum() / omega[y[counted]].sum(), rel=1e-13)
    value, gradient = loss.value_and_grad(spoilt, y)
    assert value == loss(spoilt, y)
    assert (gradient[~counted] == 0).all()
    assert make(ignore_index=-100)(spoilt, y) == pytest.approx(plain(z[counted], y[counted]), rel=1e-13)
    assert make(ignore_index=3)(z[:4], [3, 3, 3, 3]) == 0
    with pytest.raises(softgrad.SoftgradError, match=rf"{make.__name__}\(ignore_index\)"):
        make(ignore_index=0.5)
    with pytest.raises(softgrad.SoftgradError, match=rf"{make.__name__}\(class_weight\)"):
        make(class_weight=[-1.0, 1.0])
