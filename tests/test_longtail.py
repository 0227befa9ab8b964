"""Classes of very different size: margins of LDAM, logit adjustment in training and after it, balanced softmax."""

from math import erf, sqrt

import numpy as np
import pytest

import softgrad
from softgrad import losses

CIFAR_LONG_TAIL = (5000, 2997, 1796, 1077, 645, 387, 232, 139, 83, 50)
RARE = 0.05  # of the class at (1, 1); the other is at (-1, -1)


def normal_below(t):
    return 0.5 * (1 + erf(t / sqrt(2)))


def balanced_error(direction, offset, mean=(1.0, 1.0)):
    """Exactly, of the rule direction.x + offset > 0: the rare class, where x lies around the mean, and the other around its opposite."""
    length, along = np.linalg.norm(direction), direction @ np.array(mean)
    return (normal_below(-(along + offset) / length) + normal_below((-along + offset) / length)) / 2


def population():
    """The two Gaussians themselves as weighted rows: a grid of nodes, exact to the last digits, so that a fit has no sampling error.

    Along (1, 1) their means are sqrt(2) and -sqrt(2), across it they are the same: one feature has it all.
    """
    nodes = np.linspace(-9, 9, 361)
    weights = np.exp(-(nodes**2) / 2) / np.exp(-(nodes**2) / 2).sum()
    classes = ((-sqrt(2), 0, 1 - RARE), (sqrt(2), 1, RARE))
    rows = [(mean + nodes, np.full(len(nodes), label), weights * share) for mean, label, share in classes]
    t, y, r = (np.concatenate(part) for part in zip(*rows, strict=True))
    return t[:, None], y, r


def fitted(loss):
    X, y, r = population()
    return softgrad.SoftmaxClassifier(C=np.inf, loss=loss, tol=1e-9).fit(X, y, sample_weight=r)


def test_plain_cross_entropy_neglects_the_rare_class():
    model = fitted(None)
    assert balanced_error(model.coef_[0], model.intercept_[0], [sqrt(2)]) == pytest.approx(0.18077, abs=2e-5)


@pytest.mark.parametrize("loss", [losses.logit_adjusted([1 - RARE, RARE]), losses.balanced_softmax([9500, 500])])
def test_adjusted_in_training_has_the_least_balanced_error(loss):
    model = fitted(loss)
    assert balanced_error(model.coef_[0], model.intercept_[0], [sqrt(2)]) == pytest.approx(normal_below(-sqrt(2)), abs=1e-6)
    assert normal_below(-sqrt(2)) == pytest.approx(0.07865, abs=5e-6)


def test_adjusted_after_training_as_well():
    model = fitted(None)
    z = np.hstack([np.zeros((1, 1)), model.intercept_[None]])
    shift = np.diff(losses.adjusted_scores(z, [1 - RARE, RARE]))[0, 0]
    assert balanced_error(model.coef_[0], shift, [sqrt(2)]) == pytest.approx(normal_below(-sqrt(2)), abs=1e-6)


def test_adjusted_in_training_on_a_sample():
    """40000 rows: Bayes's balanced error within the noise of a fit, plain cross-entropy far off; probabilities are balanced ones."""
    rng = np.random.default_rng(7)
    y = (rng.uniform(size=40000) < RARE).astype(int)
    X = rng.normal(size=(40000, 2)) + np.where(y, 1.0, -1.0)[:, None]
    counts = np.bincount(y)
    errors = {}
    for name, loss in {"plain": None, "adjusted": losses.logit_adjusted(counts), "balanced": losses.balanced_softmax(counts)}.items():
        model = softgrad.SoftmaxClassifier(C=np.inf, loss=loss).fit(X, y)
        errors[name] = balanced_error(model.coef_[0], model.intercept_[0])
    assert errors["plain"] == pytest.approx(0.1808, abs=0.006)
    assert errors["adjusted"] == pytest.approx(0.07865, abs=0.0005)
    assert errors["balanced"] == pytest.approx(errors["adjusted"], rel=1e-9)
    assert model.predict_proba([[0.0, 0.0]])[0] == pytest.approx([0.5, 0.5], abs=0.05)


def test_margins_of_ldam():
    margins = losses.ldam(CIFAR_LONG_TAIL).scores[0].margins
    assert np.allclose(margins, [0.1581, 0.1797, 0.2042, 0.2321, 0.2638, 0.2998, 0.3407, 0.3872, 0.4405, 0.5], atol=5e-5)
    assert losses.ldam(CIFAR_LONG_TAIL, max_margin=0.8).scores[0].margins[-1] == 0.8


def test_ldam_is_cross_entropy_of_scores_less_a_margin():
    rng = np.random.default_rng(2)
    c, y = rng.uniform(-1, 1, (6, 3)), np.array([0, 1, 2, 0, 1, 2])
    loss = losses.ldam([900, 90, 9])
    m = 0.5 * (9 / np.array([900, 90, 9])) ** 0.25
    assert loss(c, y) == pytest.approx(losses.cross_entropy()(30 * (c - m * np.eye(3)[y]), y), rel=1e-13)
    value = softgrad.linear_value_and_grad(c, y, np.eye(3), loss=loss)[0]
    assert value == pytest.approx(loss(c / np.linalg.norm(c, axis=1, keepdims=True), y), rel=1e-13)


def test_ldam_trains_where_its_head_is_linear():
    rng = np.random.default_rng(3)
    X, y = rng.normal(size=(300, 4)), np.r_[np.zeros(200, int), np.ones(80, int), np.full(20, 2)]
    X += 0.8 * np.eye(4)[y]
    loss = losses.ldam([200, 80, 20], s=3.0, head=losses.Linear())
    assert loss.convex
    model = softgrad.SoftmaxClassifier(loss=loss, tol=1e-8).fit(X, y)
    assert model.result_.status.name == "CONVERGED"
    z = X @ model.coef_.T + model.intercept_
    assert np.allclose(model.predict_proba(X), softgrad.softmax(3 * z), rtol=1e-12)  # without the margin, which tells of the label


@pytest.mark.parametrize(("make", "words"), [
    (lambda: losses.PriorShift((5, 0)), "never occur"),
    (lambda: losses.PriorShift(()), "above 0"),
    (lambda: losses.PriorShift(None), "PriorShift(counts)"),
    (lambda: losses.PriorShift((1, 2), tau=-1), "PriorShift(tau)"),
    (lambda: losses.logit_adjusted([1, 2])([[0.0, 0.0, 0.0]], [0]), "each of the 3 classes"),
    (lambda: losses.adjusted_scores([[0.0, 0.0, 0.0]], [1, 2]), "each of the 3 classes"),
    (lambda: losses.LabelMargin((-0.1, 0)), "LabelMargin(margins)"),
    (lambda: losses.LabelMargin(None), "LabelMargin(margins)"),
    (lambda: losses.ldam([3, 0]), "ldam(counts)"),
    (lambda: losses.SoftCap(0), "SoftCap(k)"),
    (lambda: losses.Scale(-1), "Scale(s)"),
])  # fmt: skip
def test_what_cannot_be_is_refused(make, words):
    with pytest.raises(softgrad.SoftgradError) as error:
        make()
    assert words in str(error.value)


def test_two_classes_have_the_probabilities_of_their_training():
    """A cap takes scores as they are, not their difference: each class keeps a row of its own."""
    rng = np.random.default_rng(5)
    X, y = rng.normal(size=(200, 3)), rng.integers(2, size=200)
    X[:, 0] += 2 * y
    loss = losses.compose(losses.SoftCap(1.5))
    model = softgrad.SoftmaxClassifier(loss=loss).fit(X, y)
    capped = 1.5 * np.tanh((X @ model.coef_.T + model.intercept_) / 1.5)
    assert np.allclose(model.predict_proba(X), softgrad.softmax(capped), rtol=1e-13)
    assert np.allclose(model.predict_log_proba(X), softgrad.log_softmax(capped), rtol=1e-13)


def test_a_capped_score_keeps_its_slope_and_its_impossible_classes():
    cap = losses.compose(losses.SoftCap(2.0))
    value, g = cap.value_and_grad([[60.0, 0.0, -np.inf]], [1])
    assert g[0, 0] == pytest.approx(4 * np.exp(-60) * np.exp(2) / (1 + np.exp(2)), rel=1e-12)
    assert g[0, 2] == 0
    assert value == pytest.approx(np.log1p(np.exp(2)), rel=1e-15)
