"""The temperature as a number that is learned: dL/dT of every composition, convexity in 1/T."""

import mpmath
import numpy as np
import pytest
from family import COUNTS, OMEGA

import softgrad
from softgrad import losses

PARTS = {
    "plain": (),
    "smoothed and weighted": (losses.Smoothed(0.1), losses.Weights(OMEGA, -1)),
    "after a cap": (losses.SoftCap(3.0), "T"),
    "before a cap": ("T", losses.SoftCap(3.0)),
    "between": (losses.AngularMargin(m2=0.4), "T", losses.SoftCap(5.0), losses.PriorShift(COUNTS)),
    "yes or no": (losses.Sigmoid(),),
}


def loss(name, T):
    parts = PARTS[name] if "T" in PARTS[name] else ("T", *PARTS[name])
    return losses.compose(*(losses.Temperature(T) if part == "T" else part for part in parts))


@pytest.mark.parametrize("name", PARTS)
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_by_finite_differences(name, reduction):
    rng = np.random.default_rng(3)
    z, y, r, T, h = 0.8 * rng.normal(size=(9, 5)), rng.integers(5, size=9), rng.uniform(0, 2, 9), 0.7, 1e-3
    z[2], r[2] = np.nan, 0
    given = {"sample_weight": r, "reduction": reduction}
    slope = loss(name, T).temperature_gradient(z, y, **given)
    v = [loss(name, T + k * h)(z, y, **given) for k in (-2, -1, 1, 2)]
    assert np.shape(slope) == np.shape(v[0])
    assert np.allclose(slope, (8 * (v[2] - v[1]) - (v[3] - v[0])) / (12 * h), rtol=1e-8, atol=1e-10)


def test_a_confident_row_keeps_its_digits():
    """z = (60, 0, -inf), shifted by 1e6: L = log(1 + e^(-60/T)), dL/dT = 60/T^2 / (1 + e^(60/T))."""
    for T in (1.0, 0.7, 3.0):
        with mpmath.workdps(50):
            exact = float(60 / mpmath.mpf(T) ** 2 / (1 + mpmath.exp(60 / mpmath.mpf(T))))
        slope = losses.cross_entropy(temperature=T) if T != 1 else losses.compose(losses.Temperature(1.0))
        assert slope.temperature_gradient([[1e6 + 60, 1e6, -np.inf]], [0]) == pytest.approx(exact, rel=1e-9)
        assert slope.temperature_gradient([[60.0, 0.0, -np.inf]], [0]) == pytest.approx(exact, rel=1e-13)


def test_cross_entropy_is_convex_in_beta_and_not_in_T():
    """dL/dbeta = -T^2 dL/dT; its slope by beta is the variance of z under p."""
    rng = np.random.default_rng(1)
    z, y, h = 3 * rng.normal(size=(200, 6)), rng.integers(6, size=200), 1e-4

    def by_beta(beta):
        return -(beta**-2) * losses.compose(losses.Temperature(1 / beta)).temperature_gradient(z, y, reduction="none")

    for beta in (0.2, 1.0, 3.0):
        p = softgrad.softmax(z, temperature=1 / beta)
        variance = (p * z**2).sum(axis=1) - (p * z).sum(axis=1) ** 2
        assert np.allclose((by_beta(beta + h) - by_beta(beta - h)) / (2 * h), variance, rtol=1e-5, atol=1e-7)
        assert (variance >= 0).all()
    slopes = [losses.compose(losses.Temperature(T)).temperature_gradient(z, z.argmax(axis=1)) for T in (2.0, 50.0)]
    assert slopes[1] < slopes[0]  # the slope by T falls: not convex


@pytest.mark.parametrize("parts", [(), (losses.Temperature(2.0), losses.Temperature(3.0))])
def test_one_temperature_is_needed(parts):
    with pytest.raises(softgrad.SoftgradError, match=f"{len(parts)} of them"):
        losses.compose(*parts).temperature_gradient([[1.0, 2.0]], [0])


def test_rows_without_a_softmax_are_told():
    with pytest.raises(softgrad.SoftgradError, match="row 1"):
        losses.cross_entropy(temperature=2.0).temperature_gradient([[1.0, 2.0], [np.nan, 1.0]], [0, 1])
