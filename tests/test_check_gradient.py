"""The check of users' gradients: every mistake it knows is planted and named, and right gradients are not accused."""

import numpy as np
import pytest
from family import CASES, MEMBERS

import softgrad
from softgrad import losses

N, C = 8, 5
RNG = np.random.default_rng(31)
Z, Y = RNG.normal(size=(N, C)), RNG.permutation(np.arange(N) % C)
OMEGA, R = np.array([0.5, 2.0, 1.0, 1.3, 0.9]), RNG.uniform(0.5, 2, N)


def parts(z, y, T=1.0):
    p = softgrad.softmax(z, temperature=T)
    return p, np.eye(z.shape[1])[y], -np.log(p[np.arange(len(y)), y])


def planted(value, gradient):
    """A loss of p, onehot and rows' losses."""
    return lambda z, y: (value(*parts(z, y)), gradient(*parts(z, y)))


def mean(p, e, l):
    return l.mean()


def cooled(z, y):
    p, e, l = parts(z, y, 2.0)
    return l.mean(), (p - e) / N


def smoothed(z, y):
    p, e, _ = parts(z, y)
    return -((0.9 * e + 0.1 / C) * np.log(p)).sum(axis=1).mean(), (p - e) / N


def hinge(z, y):
    """Crammer-Singer, with a gradient at ties that is none."""
    rows = np.arange(len(y))
    others = z + 1 - np.eye(z.shape[1])[y]
    value = (others.max(axis=1) - z[rows, y]).sum()
    return value, 3.0 * (others == others.max(axis=1, keepdims=True)) - np.eye(z.shape[1])[y]


def noisy(state=np.random.default_rng(1)):  # noqa: B008 - a state that is kept is the mistake
    return lambda z, y: (parts(z, y)[2].mean() + 1e-9 * state.normal(), (parts(z, y)[0] - parts(z, y)[1]) / N)


class TwoValues:
    def __call__(self, z, y):
        return parts(z, y)[2].sum()

    def value_and_grad(self, z, y):
        p, e, l = parts(z, y)
        return l.mean(), (p - e) / N


MISTAKES = {
    "sign": planted(mean, lambda p, e, l: (e - p) / N),
    "sum instead of mean": planted(mean, lambda p, e, l: p - e),
    "mean instead of sum": planted(lambda p, e, l: l.sum(), lambda p, e, l: (p - e) / N),
    "divided by entries": planted(mean, lambda p, e, l: (p - e) / (N * C)),
    "times the classes": planted(lambda p, e, l: l.mean() / C, lambda p, e, l: (p - e) / N),
    "constant factor": cooled,
    "p of the label missing": planted(mean, lambda p, e, l: (np.where(e == 1, 0, p) - e) / N),
    "y missing": planted(mean, lambda p, e, l: p / N),
    "label's entry": planted(mean, lambda p, e, l: np.where(e == 1, p * (p - 1), p) / N),
    "only the label's entry": planted(mean, lambda p, e, l: -e / p / N),
    "another target": smoothed,
    "factor of rows": planted(mean, lambda p, e, l: (p - e) * (e @ OMEGA)[:, None] / N),
    "factor of classes": planted(mean, lambda p, e, l: (p - e) * OMEGA / N),
    "transposed": planted(mean, lambda p, e, l: (p - e).T / N),
    "shape": planted(mean, lambda p, e, l: ((p - e) / N).ravel()),
    "value not finite": planted(lambda p, e, l: l.mean() / 0.0, lambda p, e, l: (p - e) / N),
    "gradient not finite": planted(mean, lambda p, e, l: (p - e) * np.inf),
    "value changes": noisy(),
    "value not matching": TwoValues(),
    "unknown": planted(mean, lambda p, e, l: (p**2 - e) / N),
}


@pytest.mark.parametrize("name", MISTAKES)
@pytest.mark.filterwarnings("ignore:divide by zero")
def test_planted_mistakes_are_named(name):
    check = softgrad.check_gradient(MISTAKES[name], Z, Y)
    assert not check
    assert check.cause.name == name
    assert check.cause.words in str(check)
    assert "WRONG" in str(check)


def test_a_square_gradient_that_is_transposed():
    check = softgrad.check_gradient(planted(mean, lambda p, e, l: (p - e).T / C), Z[:C], Y[:C])
    assert check.cause.name == "transposed"


def test_sign_and_factor_together():
    check = softgrad.check_gradient(planted(mean, lambda p, e, l: e - p), Z, Y)
    assert check.cause.name == "sum instead of mean"
    assert "sign is flipped" in check.cause.words


def test_the_temperature_is_told():
    assert "T = 2," in softgrad.check_gradient(cooled, Z, Y).cause.words


def test_sample_weights_in_the_gradient_only():
    check = softgrad.check_gradient(planted(mean, lambda p, e, l: R[:, None] * (p - e) / N), Z, Y)
    assert check.cause.name == "factor of rows"


def test_a_kink_and_a_gradient_that_is_no_slope_there():
    check = softgrad.check_gradient(hinge, [[1.0, 0.0, -3.0]], [0])
    assert check.cause.name == "kink"
    assert check.kinks == 2


def test_a_subgradient_at_a_kink_is_right():
    """Both classes are as good: any share of the slope is a subgradient."""
    for share in (0.0, 0.3, 1.0):
        check = softgrad.check_gradient(lambda z, y, a=share: (max(z[0, 0], z[0, 1]), np.array([[a, 1 - a, 0.0]])), [[1.0, 1.0, 0.0]], [0])
        assert check
        assert check.kinks == (0 if share == 0.5 else 2)
        assert "kink" in str(check)


def test_the_worst_entry_is_the_one_that_is_wrong():
    def wrong(z, y):
        p, e, l = parts(z, y)
        g = (p - e) / N
        g[3, 2] += 1e-4
        return l.mean(), g

    check = softgrad.check_gradient(wrong, Z, Y)
    assert (check.worst.row, check.worst.column) == (3, 2)
    assert check.worst.analytic - check.worst.numeric == pytest.approx(1e-4, rel=1e-6)
    assert softgrad.check_gradient(wrong, Z, Y, tolerance=1e-2)


@pytest.mark.parametrize(("name", "kind"), [case for case in CASES if MEMBERS[case[0]].smooth])
def test_right_gradients_are_not_accused(name, kind):
    member = MEMBERS[name]
    z, y, r, _ = member.rows(kind)
    for options in ({}, {"sample_weight": r}, {"reduction": "sum"}, {"reduction": "none"}):
        check = softgrad.check_gradient(member.make(), z, y, **options)
        assert check, str(check)
        assert check.hessian.ok
        assert check.cause is None
        assert "right" in str(check)


@pytest.mark.parametrize("size", [1e-3, 10.0, 100.0])
def test_saturated_and_flat_rows_are_not_accused(size):
    assert softgrad.check_gradient(losses.cross_entropy(), size * Z, Y)


def test_float32_is_held_to_what_it_can():
    def narrow(z, y):
        value, g = losses.cross_entropy().value_and_grad(z.astype(np.float32), y)
        return np.float32(value), g

    check = softgrad.check_gradient(narrow, Z, Y)
    assert check
    assert check.tolerance > 1e-3
    assert softgrad.check_gradient(lambda z, y: (narrow(z, y)[0], -narrow(z, y)[1]), Z, Y).cause.name == "sign"


def test_many_scores_are_drawn():
    rng = np.random.default_rng(2)
    z, y = rng.normal(size=(300, 40)), rng.integers(40, size=300)
    check = softgrad.check_gradient(losses.cross_entropy(), z, y, most=200)
    assert check
    assert check.numeric.shape == (5, 40)
    assert np.array_equal(check.rows, softgrad.check_gradient(losses.cross_entropy(), z, y, most=200).rows)
    wide = softgrad.check_gradient(lambda a, b: (0.0, np.ones_like(a)), z, y, most=7)
    assert wide.numeric.shape == (1, 7)
    assert not wide


def test_impossible_classes_stay_out():
    z = np.where(np.arange(C) == (Y[:, None] + 1) % C, -np.inf, Z)
    assert softgrad.check_gradient(losses.cross_entropy(), z, Y)


def test_a_wrong_hessian_product():
    class Wrong:
        value_and_grad = staticmethod(losses.cross_entropy().value_and_grad)

        def hessian_product(self, z, y, v):
            return 2 * losses.cross_entropy().hessian_product(z, y, v)

    check = softgrad.check_gradient(Wrong(), Z, Y)
    assert check.ok
    assert not check
    assert check.hessian.cause.name == "constant factor"
    assert "Hessian product: WRONG" in str(check)


def test_scores_are_not_changed_by_a_loss_that_works_in_place():
    def careless(z, y):
        p, e, l = parts(z, y)
        z[:] = (p - e) / N
        return l.mean(), z

    z = Z.copy()
    assert softgrad.check_gradient(careless, z, Y)
    assert np.array_equal(z, Z)


@pytest.mark.parametrize(
    ("loss", "scores", "words"),
    [
        ("focal", Z, r"check_gradient\(loss\)"),
        (lambda z, y: 1.0, Z, r"\(value, gradient\)"),
        (losses.cross_entropy(), [1.0, 2.0], r"check_gradient\(scores\)"),
        (losses.cross_entropy(), np.full((N, C), np.nan), "finite"),
    ],
)
def test_what_is_no_loss(loss, scores, words):
    with pytest.raises(softgrad.SoftgradError, match=words):
        softgrad.check_gradient(loss, scores, Y)
