"""Every loss of the family that has a linear head and reads labels trains to a stationary point; convex ones to the same from anywhere."""

import warnings

import numpy as np
import pytest
from family import MEMBERS, C
from sklearn.datasets import load_digits
from sklearn.exceptions import ConvergenceWarning
from sklearn.preprocessing import StandardScaler

import softgrad
from softgrad import SoftmaxClassifier, losses, training
from softgrad.losses.margins import AbstractMargin
from softgrad.solvers.solver import Status


def trainable(member):
    """Labels of C classes, scores W x + b; not margins on angles, which scores are no cosines of; no choice of rows by their batch."""
    loss = member.make()
    return (
        member.n_scores == loss.link.classes(member.n_scores) == C
        and loss.head.linear
        and loss.mining is None
        and not any(isinstance(phi, AbstractMargin) for phi in loss.scores)
    )


NAMES = [name for name, member in MEMBERS.items() if trainable(member) and "labels" in member.kinds]
each = pytest.mark.parametrize("name", NAMES)


def digits():
    """400 digits below 5, 64 features of which some are constant."""
    X, y = load_digits(n_class=C, return_X_y=True)
    return StandardScaler().fit_transform(X[:400]), y[:400]


def norm(model, X, y, l2):
    _, G, g = softgrad.linear_value_and_grad(X, y, model.coef_, model.intercept_, loss=model.loss, l2=l2)
    return max(np.abs(G).max(), np.abs(g).max())


@each
def test_it_reaches_a_stationary_point(name):
    loss, (X, y) = MEMBERS[name].make(), digits()
    model = SoftmaxClassifier(C=0.1, loss=loss, max_iter=1000 if loss.link.smooth else 60)
    kept = loss.weights.omega(C)[y] > 0  # a class of weight 0 is not learnt
    if not loss.link.smooth:
        with pytest.warns(ConvergenceWarning, match="kinks"):
            model.fit(X, y)
        assert model.result_.value < 0.5 * model.loss_curve_[0]
        assert model.score(X[kept], y[kept]) > 0.95
        return
    model.fit(X, y)
    assert model.result_.status is Status.CONVERGED
    l2 = 1 / (0.1 * len(y))
    assert norm(model, X, y, l2) <= 1.01 * model.tol
    assert model.score(X[kept], y[kept]) > 0.7  # members shifted by a prior that is not the digits' are wrong by it


@each
def test_convex_losses_have_one_optimum(name):
    loss, (X, y) = MEMBERS[name].make(), digits()
    if not (loss.convex and loss.link.smooth):
        pytest.skip("not convex, or with kinks")
    model = SoftmaxClassifier(C=0.1, loss=loss, max_iter=1000, tol=1e-7, warm_start=True).fit(X, y)
    coef = model.coef_
    rng = np.random.default_rng(0)
    model.coef_, model.intercept_ = rng.normal(size=coef.shape), rng.normal(size=C)
    again = model.fit(X, y)
    assert again.result_.passes > 1
    np.testing.assert_allclose(again.coef_, coef, rtol=0, atol=2e-3 * np.abs(coef).max())


@each
def test_models_survive_their_file(name, tmp_path):
    loss, (X, y) = MEMBERS[name].make(), digits()
    model = SoftmaxClassifier(C=0.1, loss=loss, tol=1e-2, max_iter=1000 if loss.link.smooth else 5)
    with warnings.catch_warnings():
        warnings.simplefilter("default" if loss.link.smooth else "ignore", ConvergenceWarning)
        model.fit(X, y)
    model.save(tmp_path / "m")
    loaded = softgrad.load(tmp_path / "m")
    assert loaded.loss == model.loss
    assert (loaded.predict(X) == model.predict(X)).all()
    if isinstance(loss.link, losses.SquaredError | losses.CrammerSinger | losses.WestonWatkins):
        with pytest.raises(softgrad.SoftgradError, match="must say what scores mean"):
            loaded.predict_proba(X)
        return
    P = loaded.predict_proba(X)
    np.testing.assert_allclose(P.sum(axis=1), 1, rtol=1e-12)
    assert (P.argmax(axis=1) == model.predict(X)).mean() > 0.99  # ties aside


@pytest.mark.parametrize("binary", [False, True])
@pytest.mark.parametrize("name", ["cross-entropy", "binary", "capped", "hot and weighted"])
def test_two_classes_have_one_row_where_their_difference_is_all(name, binary):
    """One row for losses that a common shift leaves alone, else two; either way the optimum of the stated objective."""
    X, y = digits()
    X, y = X[y < 2], y[y < 2]
    loss = {
        "cross-entropy": losses.cross_entropy(),
        "binary": losses.compose(losses.Sigmoid()),
        "capped": losses.compose(losses.SoftCap(3.0)),
        "hot and weighted": losses.cross_entropy(0.1, 1.7, (1.0, 3.0)),
    }[name]
    model = SoftmaxClassifier(C=0.1, loss=loss, tol=1e-8, max_iter=1000, fit_intercept=binary).fit(X, y)
    rows = 1 if loss.shift_invariant else 2
    assert model.coef_.shape == (rows, X.shape[1])
    l2 = 1 / (0.1 * len(y))
    coef, b = model.coef_, model.intercept_
    if rows == 1:  # rows -w/2 and w/2 at twice the penalty
        coef, b, l2 = np.vstack([-coef / 2, coef / 2]), np.append(-b / 2, b / 2), 2 * l2
    value, G, g = softgrad.linear_value_and_grad(X, y, coef, b, loss=loss, l2=l2)
    assert value == pytest.approx(model.result_.value, rel=1e-11)
    assert max(np.abs(G).max(), np.abs(g).max() if binary else 0) <= 1.01e-8
    z = model.decision_function(X)
    assert z.shape == y.shape
    assert (model.predict(X) == (z > 0)).all()
    np.testing.assert_allclose(model.predict_proba(X).sum(axis=1), 1, rtol=1e-12)
    assert softgrad.SoftmaxClassifierCV(Cs=[0.1], cv=2, loss=loss).fit(X, y).coef_.shape == (rows, X.shape[1])


@each
def test_partial_fit_makes_it_smaller(name):
    loss, (X, y) = MEMBERS[name].make(), digits()
    model, rng = SoftmaxClassifier(loss=loss), np.random.default_rng(1)
    for _ in range(60):
        batch = rng.choice(len(y), 50, replace=False)
        model.partial_fit(X[batch], y[batch], classes=range(C))
    values = [loss(z, y) for z in (np.zeros((len(y), C)), model.decision_function(X))]
    assert values[1] < values[0]
    assert np.isfinite(model.coef_).all()


@each
def test_steepness_bounds_the_hessian(name):
    """Of rows that the search did not see; what it finds is a bound to within a fifth."""
    member = MEMBERS[name]
    loss, z, y, v = member.make(), *(member.rows(n=400, seed=5)[k] for k in (0, 1, 3))
    omega = loss.weights.omega(C).max()
    Hv = loss.hessian_product(z, y, v, reduction="none")
    ratio = np.linalg.norm(Hv, axis=1) / np.linalg.norm(v, axis=1)
    assert (ratio <= 1.2 * omega * training.steepness(loss, C)).all()
