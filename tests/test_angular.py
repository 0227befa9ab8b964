"""Heads of cosines and margins on angles: gradients by features and class vectors at every angle, against many digits and autograd."""

import mpmath
import numpy as np
import pytest
import scipy.sparse

import softgrad
from softgrad import losses, threads
from softgrad.losses.scores import labels

ANGLES = [1e-7, 1e-4, 0.02, 0.5, 0.8, np.pi / 2, 2.3, np.pi - 0.505, np.pi - 0.495, np.pi - 0.01, np.pi - 1e-4, np.pi - 1e-7]


def arc(m, border):
    """cos(theta + m), and cos(theta) - m sin(m) from the border on."""
    return lambda t: mpmath.cos(t + m) if t <= border else mpmath.cos(t) - m * mpmath.sin(m)


def sphere(m, lam):
    def phi(t):
        k = int(mpmath.floor(m * t / mpmath.pi))
        return (lam * mpmath.cos(t) + (-1) ** k * mpmath.cos(m * t) - 2 * k) / (1 + lam)

    return phi


# loss, phi by the angle, scale, whether features and class vectors are normalised
HEADS = {
    "normface": (losses.normface(16.0), mpmath.cos, 16, True, True),
    "l2 softmax": (losses.l2_softmax(12.0), None, 12, True, False),
    "cosface": (losses.cosface(), lambda t: mpmath.cos(t) - mpmath.mpf(0.35), 64, True, True),
    "arcface": (losses.arcface(), arc(mpmath.mpf(0.5), np.pi - 0.5), 64, True, True),
    "combined": (
        losses.combined_margin(1.0, 0.3, 0.2, 30.0), lambda t: arc(mpmath.mpf(0.3), np.pi - 0.3)(t) - mpmath.mpf(0.2), 30, True, True,
    ),
    "combined, angle shorter": (
        losses.combined_margin(0.9, 0.4, 0.15, 30.0),
        lambda t: mpmath.cos(mpmath.mpf(0.9) * t + mpmath.mpf(0.4)) - mpmath.mpf(0.15) if t < (np.pi - 0.4) / 0.9
        else mpmath.cos(t) - (d := mpmath.pi - (mpmath.pi - mpmath.mpf(0.4)) / mpmath.mpf(0.9)) * mpmath.sin(d) - mpmath.mpf(0.15),
        30, True, True,
    ),
    "sphereface": (losses.a_softmax(4, 0.0), sphere(4, 0), 1, False, True),
    "sphereface, mixed": (losses.a_softmax(3, 5.0), sphere(3, 5), 1, False, True),
    "sphereface of unit features": (
        losses.compose(losses.Cosine(), losses.SphereMargin(4, 1.0), losses.Scale(8.0)), sphere(4, 1), 8, True, True,
    ),
    "no margin, free features": (losses.compose(losses.Cosine(features=False), losses.Scale(2.0)), mpmath.cos, 2, False, True),
}  # fmt: skip
each = pytest.mark.parametrize("name", HEADS)


def at_angle(theta, size=3):
    """x at an angle to the first of three class vectors in space, none of them of length 1."""
    W = np.array([[0.6, -1.1, 0.4], [0.9, 0.8, -0.3], [-0.5, 0.2, 1.4]])
    w = W[0] / np.linalg.norm(W[0])
    v = np.cross(w, W[1])
    v /= np.linalg.norm(v)
    return size * (np.cos(theta) * w + np.sin(theta) * v), W


def exact_value(name, x, W):
    """The textbook's loss of a row of label 0, in as many digits as there are."""
    _, phi, s, on_sphere, unit_classes = HEADS[name]
    length = mpmath.sqrt(sum(a * a for a in x))
    scores = []
    for j, w in enumerate(W):
        w_length = mpmath.sqrt(sum(a * a for a in w))
        c = sum(a * b for a, b in zip(x, w, strict=True)) / (length * w_length)
        c = phi(mpmath.acos(c)) if j == 0 and phi is not None else c
        scores.append(s * c * (1 if on_sphere else length) * (1 if unit_classes else w_length))
    return mpmath.log(sum(mpmath.exp(u - scores[0]) for u in scores))


def exact_gradient(name, x, W):
    """By central differences with a step of 1e-25 in 90 digits."""
    with mpmath.workdps(90):
        numbers, h = [mpmath.mpf(a) for a in (*x, *W.ravel())], mpmath.mpf(10) ** -25

        def f(numbers):
            return exact_value(name, numbers[:3], [numbers[3:6], numbers[6:9], numbers[9:]])

        g = []
        for k in range(len(numbers)):
            up, down = list(numbers), list(numbers)
            up[k] += h
            down[k] -= h
            g.append(float((f(up) - f(down)) / (2 * h)))
        return float(f(numbers)), np.array(g[:3]), np.reshape(g[3:], (3, 3))


@each
@pytest.mark.parametrize("theta", ANGLES)
def test_gradients_at_every_angle_against_many_digits(name, theta):
    x, W = at_angle(theta)
    value, dW, _, dX = softgrad.linear_value_and_grad(x[None], [0], W, loss=HEADS[name][0], wrt_X=True)
    expected, dx, G = exact_gradient(name, x, W)
    away = min(np.sin(theta), 0.1)  # the angle of x and w, as given in float64, is known to 1e-16 / theta
    assert value == pytest.approx(expected, rel=1e-12, abs=1e-14)
    assert np.abs(dX[0] - dx).max() <= 3e-15 / away * max(np.abs(dx).max(), np.abs(G).max())
    assert np.abs(dW - G).max() <= 3e-15 / away * max(np.abs(dx).max(), np.abs(G).max())


@each
def test_ends_zeros_and_lengths(name):
    """At angle 0 and pi, and for vectors of zeros, all is finite; gradients of what is normalised stand at right angles to it."""
    loss, _, _, on_sphere, unit_classes = HEADS[name]
    W = np.array([[0.6, -1.1, 0.4], [0.9, 0.8, -0.3], [0.0, 0.0, 0.0]])
    X = np.array([W[0], -W[0], 7 * W[0], -1e-3 * W[0], [0.0, 0, 0], W[1], 1e200 * W[1], 1e-200 * W[0]])
    X = X if on_sphere else X[:-2]
    y = np.array([0, 0, 0, 0, 0, 0, 1, 0])[: len(X)]
    with np.errstate(over="raise", invalid="raise", divide="raise"):
        value, dW, _, dX = softgrad.linear_value_and_grad(X, y, W, loss=loss, wrt_X=True)
    assert np.isfinite(value)
    assert np.isfinite(dW).all()
    assert np.isfinite(dX).all()
    if on_sphere:
        assert (dX[4] == 0).all()
        assert np.abs((dX * X).sum(axis=1)).max() <= 1e-13 * loss.scores[-1].s
    if unit_classes:
        assert (dW[2] == 0).all()
        assert np.abs((dW * W).sum(axis=1)).max() <= 1e-13 * max(1, np.abs(dW).max())


@each
def test_only_directions_count(name):
    loss, _, _, on_sphere, unit_classes = HEADS[name]
    rng = np.random.default_rng(3)
    X, W, y = rng.normal(size=(40, 6)), rng.normal(size=(5, 6)), rng.integers(5, size=40)
    longer = np.exp(rng.normal(size=(40, 1))) if on_sphere else 1.0
    larger = np.exp(rng.normal(size=(5, 1))) if unit_classes else 1.0
    value, dW, _, dX = softgrad.linear_value_and_grad(X, y, W, loss=loss, wrt_X=True)
    other, G, _, dZ = softgrad.linear_value_and_grad(longer * X, y, larger * W, loss=loss, wrt_X=True)
    assert other == pytest.approx(value, rel=1e-12)
    assert np.allclose(larger * G, dW, rtol=1e-9, atol=1e-13)
    assert np.allclose(longer * dZ, dX, rtol=1e-9, atol=1e-13)


@each
def test_rows_of_any_kind_and_weights(name):
    """CSR is dense, ignored rows are not read, weights are copies, float32 is near, any number of threads gives the same bits."""
    loss, _, _, _, _ = HEADS[name]
    rng = np.random.default_rng(4)
    X, W, y = rng.normal(size=(3000, 40)), rng.normal(size=(50, 40)), rng.integers(50, size=3000)
    X[rng.uniform(size=X.shape) < 0.5] = 0
    r = rng.integers(0, 3, size=3000).astype(float)
    value, dW, db, dX = softgrad.linear_value_and_grad(X, y, W, loss=loss, sample_weight=r, l2=0.1, wrt_X=True)
    assert (dX[r == 0] == 0).all()
    sparse = softgrad.linear_value_and_grad(scipy.sparse.csr_array(X), y, W, loss=loss, sample_weight=r, l2=0.1, wrt_X=True)
    assert sparse[0] == pytest.approx(value, rel=1e-13)
    for ours, theirs in zip(sparse[1:], (dW, db, dX), strict=True):
        assert np.allclose(ours, theirs, rtol=1e-10, atol=1e-14)
    copies = np.repeat(np.arange(3000), r.astype(int))
    copied = softgrad.linear_value_and_grad(X[copies], y[copies], W, loss=loss, l2=0.1)
    assert copied[0] == pytest.approx(value, rel=1e-12)
    assert np.allclose(copied[1], dW, rtol=1e-9, atol=1e-13)
    hurt = np.where((r == 0)[:, None], np.nan, X)
    found = []
    for n in (1, 2, 3):
        with threads.limit(n):
            again = softgrad.linear_value_and_grad(hurt, y, W, loss=loss, sample_weight=r, l2=0.1, wrt_X=True)
        found.append([np.asarray(one).tobytes() for one in again])
        assert np.array_equal(again[3], dX)
    assert found[0] == found[1] == found[2]
    narrow = softgrad.linear_value_and_grad(X.astype(np.float32), y, W, loss=loss, sample_weight=r, l2=0.1, wrt_X=True)
    assert narrow[3].dtype == np.float32
    assert narrow[0] == pytest.approx(value, rel=1e-5)
    assert np.abs(narrow[1] - dW).max() <= 1e-4 * np.abs(dW).max()
    assert np.abs(narrow[3] - dX).max() <= 1e-4 * np.abs(dX).max()


@each
def test_autograd_agrees(name):
    torch = pytest.importorskip("torch")
    loss, _, s, on_sphere, unit_classes = HEADS[name]
    if name.startswith("sphereface"):
        pytest.skip("its curve is made of pieces; many digits have the word above")
    m1, m2, m3 = next(((m.m1, m.m2, m.m3) for m in loss.scores if isinstance(m, losses.AngularMargin)), (1, 0, 0))
    rng = np.random.default_rng(6)
    X, W, y = (rng.normal(size=(60, 8)), rng.normal(size=(7, 8)), rng.integers(7, size=60))
    x, w = (torch.tensor(A, requires_grad=True) for A in (X, W))
    c = (torch.nn.functional.normalize(x) if on_sphere else x) @ (torch.nn.functional.normalize(w) if unit_classes else w).T
    if m1 != 1 or m2 or m3:
        own = torch.cos(m1 * torch.acos(c[range(60), y]) + m2) - m3
        c = c.scatter(1, torch.tensor(y)[:, None], own[:, None])
    truth = torch.nn.functional.cross_entropy(s * c, torch.tensor(y))
    truth.backward()
    value, dW, _, dX = softgrad.linear_value_and_grad(X, y, W, loss=loss, wrt_X=True)
    assert value == pytest.approx(truth.item(), rel=1e-12)
    assert np.allclose(dW, w.grad.numpy(), rtol=1e-9, atol=1e-12)
    assert np.allclose(dX, x.grad.numpy(), rtol=1e-9, atol=1e-12)


# ---- margins on cosines alone ---------------------------------------------------------------------------------------

MARGINS = {
    "cosface": losses.AngularMargin(m3=0.35),
    "arcface": losses.AngularMargin(m2=0.5),
    "combined": losses.AngularMargin(0.9, 0.4, 0.15),
    "sphere": losses.SphereMargin(4, 0.0),
    "mixed sphere": losses.SphereMargin(3, 2.0),
}


@pytest.mark.parametrize("margin", MARGINS.values(), ids=MARGINS)
def test_margins_fall_and_their_slopes_are_right(margin):
    c = np.sort(np.concatenate([np.cos(np.linspace(0, np.pi, 4001)), [-1.5, 1.5, -1 - 1e-12, 1 + 1e-12]]))
    phi, slope, bend = margin.of_cosine(c)
    assert (np.diff(phi) >= -1e-15).all()
    assert (phi <= c + 1e-15).all()
    assert np.isfinite(slope).all()
    assert np.isfinite(bend).all()
    assert (slope[np.abs(c) >= 1] == 1).all()
    theta = np.array([0.1, 0.3, 0.7, 1.0, 1.5, 2.0, 2.5, 2.9, 3.1])
    x, h = np.cos(theta), 1e-4 * np.sin(theta) ** 2
    five = [margin.of_cosine(x + k * h) for k in (-2, -1, 1, 2)]
    for order in (0, 1):
        numeric = (8 * (five[2][order] - five[1][order]) - (five[3][order] - five[0][order])) / (12 * h)
        exact = margin.of_cosine(x)[order + 1]
        size = np.abs(margin.of_cosine(x)[order]) / h * 1e-15
        assert (np.abs(numeric - exact) <= 1e-9 * np.abs(exact) + 5 * size).all()


def test_sphereface_is_a_polynomial():
    """cos(4 theta) = 8 c^4 - 8 c^2 + 1 on the first piece; without lam the whole curve from 1 down to -7."""
    c = np.array([0.8, 0.9, 0.99])
    assert np.allclose(losses.SphereMargin(4, 0.0).of_cosine(c)[0], 8 * c**4 - 8 * c**2 + 1, rtol=1e-14)
    assert np.allclose(losses.SphereMargin(4, 0.0).of_cosine(np.array([-1.0, 1.0]))[0], [-7, 1], rtol=1e-15)


def test_the_label_of_a_distribution_has_the_margin():
    q = np.array([[0.2, 0.5, 0.3], [0.6, 0.1, 0.3]])
    z = np.array([[0.3, 0.4, -0.2], [0.1, 0.9, -0.6]])
    assert labels(q).tolist() == [1, 0]
    less = z - 0.35 * np.eye(3)[labels(q)]
    assert losses.compose(losses.AngularMargin(m3=0.35))(z, q) == pytest.approx(losses.cross_entropy()(less, q), rel=1e-15)


def test_slopes_that_straight_through_margins_leave_out():
    """sin(theta + m) / sin(theta) at 10, 30, 90 and 150 degrees: what a margin without its gradient is wrong by."""
    slopes = losses.AngularMargin(m2=0.5).of_cosine(np.cos(np.deg2rad([10, 30, 90, 150])))[1]
    assert np.allclose(slopes, [3.60, 1.71, 0.88, 0.05], atol=0.006)


# ---- what theory says -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("C", "s"), [(4, 16.0), (10, 5.0), (3, 1.0)])
def test_normface_has_a_floor(C, s):
    """log(1 + (C - 1) exp(-C s / (C - 1))), reached where the classes are a simplex and each row lies on its own."""
    simplex = np.eye(C) - 1 / C
    value, dW, _, dX = softgrad.linear_value_and_grad(simplex, np.arange(C), simplex, loss=losses.normface(s), wrt_X=True)
    assert value == pytest.approx(np.log1p((C - 1) * np.exp(-C / (C - 1) * s)), rel=1e-12)
    assert max(np.abs(dW).max(), np.abs(dX).max()) <= 1e-14 * s
    rng = np.random.default_rng(1)
    for _ in range(20):
        X, W = (A + 0.3 * rng.normal(size=(C, C)) for A in (simplex, simplex))
        assert softgrad.linear_value_and_grad(X, np.arange(C), W, loss=losses.normface(s))[0] > value
    if C == 4:
        assert value == pytest.approx(1.6299e-9, rel=1e-4)


@pytest.mark.parametrize(("C", "s"), [(10, 3.107), (10575, 13.10)])
def test_adacos_has_half_the_probability_at_a_quarter_of_pi(C, s):
    assert losses.adacos_scale(C) == pytest.approx(s, abs=0.005)
    z = np.zeros((1, C))
    z[0, 0] = np.cos(np.pi / 4)
    assert losses.normface(losses.adacos_scale(C))(z, [0]) == pytest.approx(np.log(2), rel=1e-12)


def test_l2_softmax_needs_a_scale_for_a_probability():
    """s = log(P (C - 2) / (1 - P)): the label's class at 1, one opposite, all others at right angles (about)."""
    C, P = 10, 0.9
    s = np.log(P * (C - 2) / (1 - P))
    assert s == pytest.approx(4.277, abs=5e-4)
    z = np.r_[1.0, -1.0, np.zeros(C - 2)]
    assert np.exp(-losses.l2_softmax(s)([z], [0])) == pytest.approx(P, abs=2e-3)


# ---- the gate -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("make", "words"), [
    (lambda: losses.Cosine(features=False, classes=False), "use Linear()"),
    (lambda: losses.AngularMargin(m1=0), "AngularMargin(m1)"),
    (lambda: losses.AngularMargin(m2=4), "AngularMargin(m2)"),
    (lambda: losses.AngularMargin(m1=5), "SphereMargin"),
    (lambda: losses.SphereMargin(2.5), "SphereMargin(m)"),
    (lambda: losses.compose(losses.Scale(2.0), losses.AngularMargin(m2=0.5)), "AngularMargin after Scale"),
    (lambda: losses.compose(losses.Cosine(classes=False), losses.AngularMargin(m2=0.5)), "normalise classes too"),
    (lambda: losses.compose(losses.Sigmoid(), losses.AngularMargin(m2=0.5)), "one class"),
    (lambda: losses.compose(losses.Sigmoid(), losses.LabelMargin((0.5,))), "one class"),
    (lambda: softgrad.linear_value_and_grad(np.eye(2), [0, 1], np.eye(2), [0, 0], loss=losses.arcface()), "has none"),
    (lambda: softgrad.linear_value_and_grad([[1, np.nan]], [0], np.eye(2), loss=losses.arcface()), "row 0, column 1"),
    (lambda: softgrad.linear_value_and_grad([[1, 2]], [0], [[np.inf, 1], [0, 1]], loss=losses.arcface()), "coef"),
    (lambda: softgrad.SoftmaxClassifier(loss=losses.arcface()).fit(np.eye(2), [0, 1]), "linear head"),
    (lambda: softgrad.SoftmaxClassifierCV(loss=losses.arcface()).fit(np.eye(2).repeat(9, 0), [0, 1] * 9), "linear head"),
    (lambda: softgrad.stochastic.grid(np.eye(4), [0, 1, 0, 1], loss=losses.arcface()), "linear head"),
])  # fmt: skip
def test_what_cannot_be_is_refused(make, words):
    with pytest.raises(softgrad.SoftgradError) as error:
        make()
    assert words in str(error.value)


def test_distributions_choose_a_label_for_the_margin_of_vectors():
    rng = np.random.default_rng(2)
    X, W, q = rng.normal(size=(20, 4)), rng.normal(size=(3, 4)), rng.dirichlet(np.ones(3), 20)
    loss = losses.arcface(8.0)
    value, dW, _, dX = softgrad.linear_value_and_grad(X, q, W, loss=loss, wrt_X=True)
    c = (X / np.linalg.norm(X, axis=1, keepdims=True)) @ (W / np.linalg.norm(W, axis=1, keepdims=True)).T
    assert value == pytest.approx(loss(c, q), rel=1e-13)
    h = 1e-4
    U, V = rng.normal(size=X.shape), rng.normal(size=W.shape)
    values = [softgrad.linear_value_and_grad(X + k * h * U, q, W + k * h * V, loss=loss)[0] for k in (-2, -1, 1, 2)]
    assert (8 * (values[2] - values[1]) - (values[3] - values[0])) / (12 * h) == pytest.approx((dX * U).sum() + (dW * V).sum(), rel=1e-8)
