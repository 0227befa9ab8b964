"""Stochastic training as users meet it: grids against single runs, rows of every type, where it ends and what it says of itself."""

import math
import warnings

import numpy as np
import pytest
import scipy.sparse
from sklearn.datasets import load_digits
from sklearn.exceptions import ConvergenceWarning
from trainings import RULES, problem
from zoo import FEATURES, dense

import softgrad
from softgrad import SoftgradError
from softgrad import threads as threads_room
from softgrad.descent import Point, descend
from softgrad.losses import cross_entropy
from softgrad.solvers import LBFGS, SGD, Adam, Constant, Cosine, Geometric, Linear, Nesterov
from softgrad.solvers.solver import Status
from softgrad.training import Problem, fit

# ---- grids ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", RULES)
def test_a_grid_is_its_points_trained_alone(name):
    p = problem(n=300, d=20, C=5)
    points = [Point(l2, rate, T) for l2 in (0.0, 0.1) for rate in (0.02, 0.1, None) for T in (1.0, 2.0)]
    solver = SGD(batch_size=32, epochs=3, rule=RULES[name], clip_norm=0.5, average=0.4)
    together = descend(p, points, solver)
    for point, found in zip(points, together, strict=True):
        [alone] = descend(p, [point], solver)
        assert np.allclose(found.coef, alone.coef, rtol=1e-9, atol=1e-12)
        assert np.allclose(found.intercept, alone.intercept, rtol=1e-9, atol=1e-12)
        assert found.result.value == pytest.approx(alone.result.value, rel=1e-12)
        assert found.result.stride.clipped == alone.result.stride.clipped


def test_groups_of_heads_change_nothing(monkeypatch):
    p, points = problem(n=300, d=50, C=5, dtype="float32"), [Point(0.01, rate) for rate in np.geomspace(1e-3, 0.1, 12)]
    solver = SGD(batch_size=32, epochs=2)
    whole = descend(p, points, solver)
    monkeypatch.setattr("softgrad.heads.WORK", 1e3)
    monkeypatch.setattr("softgrad.heads.WIDE", 7)
    for a, b in zip(whole, descend(p, points, solver), strict=True):
        assert np.allclose(a.coef, b.coef, rtol=1e-3, atol=1e-6)
    [wide], [cut] = ([f] for f in (descend(p, points[:1], solver)[0], whole[0]))
    assert np.allclose(wide.coef, cut.coef, rtol=1e-3, atol=1e-6)


def test_a_temperature_is_another_rate_and_penalty():
    """Scores W x / T with rate and l2 are scores V x, V = W / T, with rate / T^2 and l2 T^2."""
    p, solver = problem(n=200), SGD(batch_size=20, epochs=4)
    hot, plain = descend(p, [Point(0.1, 0.2, 4.0), Point(1.6, 0.2 / 16, 1.0)], solver)
    assert np.allclose(hot.coef, plain.coef, rtol=1e-9)
    assert hot.result.value == pytest.approx(plain.result.value)


@pytest.mark.parametrize("C", [4, 40])
def test_the_same_bits_for_any_number_of_threads(threads, C):
    p = problem(n=500, d=300, C=C, dtype="float32")
    points = [Point(1e-3), Point(1e-2, 0.01), Point(0.1, 0.001, 2.0), *(Point(1.0, 1e-3) for _ in range(20))]
    solver = SGD(batch_size=100, epochs=1, clip_norm=1.0)
    found = descend(p, points, solver)
    with threads_room.limit(1):
        for a, b in zip(found, descend(p, points, solver), strict=True):
            assert np.array_equal(a.coef, b.coef)
            assert np.array_equal(a.intercept, b.intercept)
            assert a.result.value == b.result.value


def test_seeds():
    X, y = load_digits(return_X_y=True)
    solver = SGD(epochs=1)
    first, same, other = (softgrad.SoftmaxClassifier(solver=solver, random_state=seed).fit(X, y).coef_ for seed in (1, 1, 2))
    assert np.array_equal(first, same)
    assert not np.array_equal(first, other)


# ---- features, targets, weights -------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", FEATURES)
@pytest.mark.parametrize("intercept", [False, True])
def test_every_type_of_rows_takes_the_same_way(kind, intercept):
    p = problem(n=80, d=6, C=3, dtype=kind, fit_intercept=intercept)
    wide = Problem(dense(p.X), p.y, p.r, 3, p.loss, p.l2, intercept, p.seed)
    solver = SGD(batch_size=16, epochs=4, clip_norm=50.0)
    [found], [truth] = descend(p, [Point(p.l2)], solver), descend(wide, [Point(p.l2)], solver)
    tolerance = 1e-8 if "64" in kind else 2e-3
    assert np.allclose(found.coef, truth.coef, rtol=tolerance, atol=tolerance * np.abs(truth.coef).max())
    assert np.allclose(found.intercept, truth.intercept, rtol=tolerance, atol=tolerance * max(1e-3, np.abs(truth.intercept).max()))
    assert found.result.value == pytest.approx(truth.result.value, rel=1e-4)


def test_soft_targets_of_one_class_are_labels():
    p = problem()
    soft = Problem(p.X, np.eye(4)[p.y], p.r, 4, p.loss, p.l2, True, p.seed)
    solver = SGD(batch_size=10, epochs=3)
    assert np.allclose(descend(p, [Point(0.1)], solver)[0].coef, descend(soft, [Point(0.1)], solver)[0].coef, rtol=1e-9)


def test_rows_that_do_not_count_are_never_read():
    p = problem()
    X, y, r = np.insert(p.X, 10, np.nan, axis=0), np.insert(p.y, 10, 2), np.insert(p.r, 10, 0.0)
    solver = SGD(batch_size=10, epochs=3)
    with_bad = descend(Problem(X, y, r, 4, p.loss, p.l2, True, p.seed), [Point(0.1)], solver)[0]
    assert np.allclose(with_bad.coef, descend(p, [Point(0.1)], solver)[0].coef, rtol=1e-12)


def test_weights_lead_to_the_weighted_optimum():
    p = problem(n=400, d=5, C=3, r=np.random.default_rng(7).uniform(0, 3, 400), loss=cross_entropy(class_weight=[1, 4, 0.3]))
    best = fit(p, LBFGS(tol=1e-10)).result.value
    [found] = descend(p, [Point(p.l2)], SGD(batch_size=20, epochs=60))
    assert best <= found.result.value + 1e-12
    assert found.result.value < best * (1 + 1e-4)


# ---- where it ends, and what it says --------------------------------------------------------------------------------

STRONG = {"C": 1 / 1797 / 0.1}  # l2 = 0.1: an optimum that a few epochs reach


@pytest.mark.parametrize(
    ("solver", "gap"),
    [
        (SGD(epochs=40), 2e-3),
        (SGD(epochs=120, momentum=0, schedule=Cosine()), 3e-2),
        (SGD(epochs=40, rule=Nesterov()), 1e-3),
        (SGD(epochs=40, schedule=Constant(), average=True), 3e-3),
        (SGD(epochs=100, rule=Adam()), 1e-3),
        (SGD(epochs=20, batch_size=8), 3e-3),
        (SGD(epochs=40, temperature_schedule=Geometric(2, 1)), 5e-2),
    ],
)
def test_digits_end_near_the_optimum(solver, gap):
    X, y = load_digits(return_X_y=True)
    best = softgrad.SoftmaxClassifier(**STRONG, tol=1e-8).fit(X, y)
    model = softgrad.SoftmaxClassifier(**STRONG, solver=solver).fit(X.astype(np.float32), y)
    result = model.result_
    assert result.value < best.result_.value * (1 + gap)
    assert result.status is Status.ITERATIONS
    assert not result.advice
    assert model.score(X, y) > 0.98 * best.score(X, y)
    assert result.iterations == solver.steps(1797)
    assert model.n_iter_ == [result.iterations]
    assert result.passes == pytest.approx(solver.epochs, abs=1)
    assert result.trace[-1].value == result.value
    assert len(model.loss_curve_) == solver.epochs + 1  # one for each epoch, and the exact value at the end


@pytest.mark.parametrize("scale", [1e-4, 1.0, 1e4])
@pytest.mark.parametrize("batch_size", [1, 7, 1000])
@pytest.mark.parametrize("name", RULES)
def test_the_safe_rate_is_safe_at_every_scale(scale, batch_size, name):
    rng = np.random.default_rng(6)
    X = (rng.normal(size=(300, 12)) + 5) * np.geomspace(0.1, 10, 12)
    y = (X @ rng.normal(size=(12, 3))).argmax(axis=1)
    p = Problem(scale * X, y, np.ones(300), 3, cross_entropy(), 1e-3 * scale**2, True, 0)
    [found] = descend(p, [Point(p.l2)], SGD(batch_size=batch_size, iterations=300, rule=RULES[name]))
    assert found.result.status is Status.ITERATIONS
    assert found.result.value < 0.9 * math.log(3)


@pytest.mark.parametrize("T", [0.01, 10.0])
def test_the_safe_rate_knows_the_temperature(T):
    """The loss's own or the point's: the same rate, T^2 times that of 1."""
    p, cold = problem(l2=0.0), problem(l2=0.0, loss=cross_entropy(temperature=T))
    solver = SGD(batch_size=10, epochs=2)
    own, given, plain = (descend(q, [Point(0.0, None, t)], solver)[0] for q, t in ((cold, 1.0), (p, T), (p, 1.0)))
    assert own.result.stride.learning_rate == pytest.approx(given.result.stride.learning_rate)
    assert own.result.stride.learning_rate == pytest.approx(T**2 * plain.result.stride.learning_rate)
    assert own.result.value == pytest.approx(given.result.value)
    assert own.result.status is Status.ITERATIONS


def test_a_point_that_diverges_is_told_and_the_others_go_on():
    p = problem(n=300, d=20, C=5, dtype="float32")
    solver = SGD(batch_size=32, epochs=4)
    points = [Point(0.1, 0.05), Point(0.1, 1e4), Point(0.1, 0.01), Point(0.1, 1e30), Point(0.0, 1e3)]
    found = descend(p, points, solver)
    assert [f.result.status.name for f in found] == ["ITERATIONS", "DIVERGED", "ITERATIONS", "DIVERGED", "DIVERGED"]
    for i in (1, 3, 4):
        assert "learning_rate" in found[i].result.advice
        assert found[i].result.value == math.inf
        assert not found[i].coef.any()
        assert not found[i].result.converged
    for i in (0, 2):
        assert np.allclose(found[i].coef, descend(p, [points[i]], solver)[0].coef, rtol=1e-3, atol=1e-5)


def test_all_diverge_and_so_does_a_norm():
    p = problem(dtype="float32")
    start = np.full((4, 7), 1.0), np.zeros(4)
    for solver in (SGD(learning_rate=1e30, momentum=0), SGD(learning_rate=0.1, clip_norm=1.0)):
        l2 = 0.1 if solver.clip_norm is None else 1e25  # a gradient whose square is not a float32
        [found] = descend(p, [Point(l2)], solver, start=start)
        assert found.result.status is Status.DIVERGED
        assert np.array_equal(found.coef, start[0])


def test_the_classifier_warns_of_divergence_only():
    X, y = load_digits(return_X_y=True)
    with pytest.warns(ConvergenceWarning, match="learning_rate"):
        model = softgrad.SoftmaxClassifier(solver=SGD(learning_rate=1e6, epochs=2)).fit(X, y)
    assert np.isfinite(model.predict_proba(X)).all()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        softgrad.SoftmaxClassifier(solver=SGD(iterations=3)).fit(X, y)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_value_that_is_no_number(bad):
    X, y = load_digits(return_X_y=True)
    X[700, 3] = bad
    with pytest.raises(SoftgradError, match="row 700, column 3"):
        softgrad.SoftmaxClassifier(solver=SGD(epochs=1)).fit(X, y)
    with pytest.raises(SoftgradError, match="row 700, column 3"):
        softgrad.stochastic.grid(X, y, solver=SGD(epochs=1))


def test_two_classes_are_one_row():
    X, y = load_digits(n_class=2, return_X_y=True)
    best = softgrad.SoftmaxClassifier(C=1e-4, tol=1e-9).fit(X, y)
    model = softgrad.SoftmaxClassifier(C=1e-4, solver=SGD(epochs=500)).fit(X, y)
    assert model.coef_.shape == (1, 64)
    assert np.allclose(model.coef_, best.coef_, atol=3e-3 * np.abs(best.coef_).max())
    assert np.allclose(model.intercept_, best.intercept_, atol=5e-2 * np.abs(best.intercept_).max())


def test_a_warm_start_goes_on():
    X, y = load_digits(return_X_y=True)
    model = softgrad.SoftmaxClassifier(**STRONG, warm_start=True, solver=SGD(epochs=20)).fit(X, y)
    before = model.result_.value
    model.set_params(solver=SGD(iterations=1, learning_rate=1e-9)).fit(X, y)
    assert model.result_.value == pytest.approx(before, rel=1e-6)


def test_callbacks_see_an_epoch_at_a_time(capsys):
    X, y = load_digits(return_X_y=True)
    seen = []
    model = softgrad.SoftmaxClassifier(solver=SGD(epochs=3), callback=seen.append, verbose=1).fit(X, y)
    assert tuple(seen) == model.result_.trace
    assert [state.passes for state in seen] == [1, 2, 3, 3]
    assert [state.value for state in seen[:3]] == sorted((state.value for state in seen[:3]), reverse=True)
    assert "pass    1" in capsys.readouterr().err


# ---- the grid of users ----------------------------------------------------------------------------------------------


def test_the_grid_ranks_by_validation_accuracy():
    X, y = load_digits(return_X_y=True)
    names = np.array([f"digit {k}" for k in range(10)])[y]
    trials = softgrad.stochastic.grid(
        X[:1200], names[:1200], learning_rates=(1e-2, 1e-5, 1e9), regs=(0.01, 100.0), temperatures=(1.0, 2.0), solver=SGD(epochs=3),
        X_val=X[1200:], y_val=names[1200:],
    )  # fmt: skip
    assert len(trials) == 12
    ranks = [(t.status is Status.DIVERGED, -t.validation_accuracy, t.log_loss) for t in trials]
    assert ranks == sorted(ranks)
    assert [t.status.name for t in trials[-4:]] == ["DIVERGED"] * 4
    assert {t.learning_rate for t in trials[-4:]} == {1e9}
    best = trials[0]
    z = X[1200:] @ best.fit.coef.T + best.fit.intercept
    assert best.validation_accuracy == np.mean(best.classes[z.argmax(axis=1)] == names[1200:])
    assert best.log_loss == pytest.approx(cross_entropy()(z, y[1200:]))
    z = X[:1200] @ best.fit.coef.T + best.fit.intercept
    assert best.train_accuracy == np.mean(best.classes[z.argmax(axis=1)] == names[:1200])


@pytest.mark.parametrize("n_class", [2, 5])
def test_strengths_mean_what_they_mean_to_the_classifier(n_class):
    X, y = load_digits(n_class=n_class, return_X_y=True)
    solver = SGD(epochs=3)
    [trial] = softgrad.stochastic.grid(X, y, Cs=(0.01,), solver=solver)
    model = softgrad.SoftmaxClassifier(C=0.01, solver=solver).fit(X, y)
    coef = trial.fit.coef if n_class > 2 else np.diff(trial.fit.coef, axis=0)
    assert np.allclose(coef, model.coef_)
    assert trial.fit.result.value == pytest.approx(model.result_.value)
    assert math.isnan(trial.validation_accuracy)
    assert trial.train_accuracy == model.score(X, y)


def test_a_label_of_validation_that_training_has_not_seen_is_wrong():
    X, y = load_digits(return_X_y=True)
    few = y < 5
    [trial] = softgrad.stochastic.grid(X[few], y[few], solver=SGD(epochs=2), X_val=X, y_val=y)
    assert trial.validation_accuracy == pytest.approx(trial.train_accuracy * few.mean())
    assert trial.log_loss < 0.5


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"learning_rate": 0}, "SGD(learning_rate)"), ({"learning_rate": math.nan}, "SGD(learning_rate)"),
        ({"batch_size": 0}, "SGD(batch_size)"), ({"epochs": 0}, "SGD(epochs)"),
        ({"iterations": 0}, "SGD(iterations)"), ({"momentum": 1}, "SGD(momentum)"),
        ({"clip_norm": -1}, "SGD(clip_norm)"), ({"average": 1.5}, "SGD(average)"), ({"rule": "adam"}, "SGD(rule)"),
        ({"schedule": 0.5}, "SGD(schedule)"), ({"temperature_schedule": Linear(1, 0)}, "SGD(temperature_schedule)"),
        ({"schedule": Linear(1, -1)}, "SGD(schedule)"),
    ],
)  # fmt: skip
def test_options_out_of_range(options, told):
    with pytest.raises(SoftgradError) as caught:
        SGD(**options)
    assert str(caught.value).startswith(told)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"learning_rates": (0.1, -1)}, "learning_rates"), ({"regs": (-1,)}, "regs"), ({"Cs": (0,)}, "Cs"),
        ({"regs": (1,), "Cs": (1,)}, "regs"), ({"temperatures": (0,)}, "temperatures"), ({"learning_rates": ()}, "grid"),
        ({"solver": "sgd"}, "solver"), ({"X_val": [[1.0]]}, "X_val"), ({"X_val": [[1.0, 2.0]], "y_val": [0]}, "X_val"),
        ({"sample_weight": [0, 0, 0]}, "sample_weight"), ({"seed": -1}, "seed"),
    ],
)  # fmt: skip
def test_grids_out_of_range(options, told):
    with pytest.raises(SoftgradError, match=told):
        softgrad.stochastic.grid([[1.0], [2.0], [3.0]], [0, 1, 1], **options)
    with pytest.raises(SoftgradError, match="y"):
        softgrad.stochastic.grid([[1.0], [2.0]], [0, 0])


def test_sparse_rows_stay_sparse():
    X = scipy.sparse.random(200, 5000, 0.01, "csr", random_state=0)
    y = np.arange(200) % 3
    model = softgrad.SoftmaxClassifier(solver=SGD(epochs=30)).fit(X, y)
    assert model.result_.trace[-1].value < model.result_.trace[0].value
