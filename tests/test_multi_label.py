"""MultiLabelClassifier: scikit-learn's manners, and the optimum of one logistic regression for each class."""

import numpy as np
import pytest
import scipy.sparse as sp
from sklearn.datasets import load_digits, make_multilabel_classification
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.multiclass import OneVsRestClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

import softgrad
from softgrad import MultiLabelClassifier, losses
from softgrad.solvers.sgd import SGD


@parametrize_with_checks([MultiLabelClassifier()], xfail_strict=True)
def test_scikit_learn_checks(estimator, check):
    check(estimator)


def problem(n=300, seed=0):
    X, Y = make_multilabel_classification(n, n_features=12, n_classes=5, n_labels=2, random_state=seed)
    return StandardScaler().fit_transform(X), Y


@pytest.mark.parametrize("fit_intercept", [True, False])
@pytest.mark.parametrize("C", [1e-2, 1.0, 1e2])
def test_same_optimum_as_one_against_the_rest(C, fit_intercept):
    (X, Y), r = problem(), np.random.default_rng(1).uniform(0.2, 2, 300)
    ours = MultiLabelClassifier(C=C, tol=1e-10, max_iter=500, fit_intercept=fit_intercept).fit(X, Y, r)
    for j in range(5):
        one = LogisticRegression(C=C, solver="newton-cholesky", tol=1e-12, max_iter=500, fit_intercept=fit_intercept).fit(X, Y[:, j], r)
        np.testing.assert_allclose(ours.coef_[j], one.coef_[0], rtol=0, atol=1e-7 * np.abs(one.coef_).max())
        np.testing.assert_allclose(ours.intercept_[j], np.ravel(one.intercept_)[0], rtol=0, atol=1e-7)


def test_predicts_as_one_against_the_rest():
    X, Y = problem()
    ours, other = MultiLabelClassifier(tol=1e-9).fit(X, Y), OneVsRestClassifier(LogisticRegression(tol=1e-9)).fit(X, Y)
    np.testing.assert_allclose(ours.predict_proba(X), other.predict_proba(X), atol=1e-5)
    np.testing.assert_allclose(ours.predict_log_proba(X), np.log(ours.predict_proba(X)), atol=1e-12)
    assert (ours.predict(X) == other.predict(X)).all()
    assert ours.score(X, Y) == other.score(X, Y)
    assert (ours.predict(X) == (ours.decision_function(X) > 0)).all()


def test_the_metric_is_used_and_saves_passes():
    X, Y = problem(2000)
    X = X * np.logspace(-2, 2, 12)
    assert MultiLabelClassifier(C=10.0, tol=1e-6).fit(X, Y).result_.passes < 40


@pytest.mark.parametrize("make", [sp.csr_array, sp.csr_matrix])
def test_sparse_targets_and_features(make):
    X, Y = problem()
    dense = MultiLabelClassifier(tol=1e-8).fit(X, Y)
    assert (MultiLabelClassifier(tol=1e-8).fit(X, make(Y)).coef_ == dense.coef_).all()
    np.testing.assert_allclose(MultiLabelClassifier(tol=1e-8, max_iter=500).fit(make(X), Y).coef_, dense.coef_, atol=1e-6)
    assert (MultiLabelClassifier(tol=1e-8).fit(X, Y.astype(bool)).coef_ == dense.coef_).all()


def test_class_weights_are_the_losss():
    X, Y = problem()
    omega = (2.0, 1.0, 0.5, 1.0, 3.0)
    weighted = MultiLabelClassifier(C=0.7, loss=losses.compose(losses.Sigmoid(), losses.ManyWeights(omega)), tol=1e-10).fit(X, Y)
    for j, w in enumerate(omega):  # w times the data is w times C
        one = MultiLabelClassifier(C=0.7 * w, tol=1e-10).fit(X, Y[:, [j]])
        np.testing.assert_allclose(weighted.coef_[j], one.coef_[0], atol=1e-7)
        assert one.predict_proba(X).shape == (300, 1)


def test_classes_that_never_or_always_occur_are_learnt():
    X, Y = problem()
    Y = np.column_stack([Y, np.zeros(300, int), np.ones(300, int)])
    model = MultiLabelClassifier().fit(X, Y)
    assert (model.predict(X)[:, 5:] == [0, 1]).all()
    assert np.isfinite(model.coef_).all()


def test_stochastic_descent_warm_start_grids_and_float32():
    X, Y = problem()
    best = MultiLabelClassifier(warm_start=True, tol=1e-7).fit(X, Y)
    value = best.result_.value
    assert best.fit(X, Y).result_.passes == 1
    found = MultiLabelClassifier(solver=SGD(epochs=60, batch_size=20)).fit(X, Y)
    assert found.result_.value == pytest.approx(value, rel=2e-2)
    assert MultiLabelClassifier().fit(X.astype(np.float32), Y).result_.value == pytest.approx(value, rel=1e-5)
    grid = GridSearchCV(make_pipeline(StandardScaler(), MultiLabelClassifier()), {"multilabelclassifier__C": [1e-4, 1.0]}, cv=3)
    assert grid.fit(X, Y).best_params_ == {"multilabelclassifier__C": 1.0}


def test_saved_models_predict_the_same(tmp_path):
    X, Y = problem()
    model = MultiLabelClassifier(C=np.inf, loss=losses.compose(losses.Sigmoid(), losses.Temperature(2.0)), max_iter=30, tol=1e-3).fit(X, Y)
    model.save(tmp_path / "m", metadata={"source": "a test"})
    loaded = softgrad.load(tmp_path / "m")
    assert isinstance(loaded, MultiLabelClassifier)
    assert (loaded.predict_proba(X) == model.predict_proba(X)).all()
    assert (loaded.predict(X) == model.predict(X)).all()
    assert loaded.metadata_ == {"source": "a test"}
    assert loaded.get_params()["C"] == np.inf


def test_rows_on_disk_and_without_weight(tmp_path):
    X, y = load_digits(return_X_y=True)
    Y = np.column_stack([y % 2, y > 4, y == 0]).astype(int)
    np.save(tmp_path / "X.npy", X)
    np.save(tmp_path / "y.npy", y)
    kept = np.arange(len(X)) % 3 > 0
    spoilt = X.copy()
    spoilt[~kept] = np.nan
    model = MultiLabelClassifier(C=1e-2).fit(X[kept], Y[kept])
    np.testing.assert_allclose(MultiLabelClassifier(C=1e-2, tol=1e-8).fit(spoilt, Y, kept).coef_, model.coef_, atol=1e-3)
    rows = softgrad.data.stream(tmp_path / "X.npy").X
    assert (MultiLabelClassifier(C=1e-2).fit(rows, Y).predict(rows) == MultiLabelClassifier(C=1e-2).fit(X, Y).predict(X)).all()


@pytest.mark.parametrize(("y", "rule"), [
    ([0, 1, 2, 1], r"two values.*\(N, C\).*3 values"),
    ([[[0, 1]], [[1, 0]], [[1, 1]], [[0, 0]]], "dim 3|column for each class"),
    ([[0, 1], [2, 0], [1, 1], [0, 0]], "0 and 1 only.*row 1"),
    ([[0.0, 1], [0.5, 0], [1, 1], [0, 0]], "continuous"),
])  # fmt: skip
def test_other_targets_are_refused(y, rule):
    with pytest.raises(softgrad.SoftgradError, match=rule):
        MultiLabelClassifier().fit(np.eye(4), y)


def test_other_losses_are_refused():
    with pytest.raises(softgrad.SoftgradError, match=r"yes or no for each class.*Softmax"):
        MultiLabelClassifier(loss=losses.cross_entropy()).fit(np.eye(2), np.eye(2, dtype=int))


@pytest.mark.parametrize("values", [(0, 1), (-1, 1), ("no", "yes"), (True, False)])
def test_one_label_of_two_values_is_a_logistic_regression(values, tmp_path):
    X, Y = problem()
    y = np.array(values)[Y[:, 1]]
    ours, other = MultiLabelClassifier(tol=1e-9).fit(X, y), LogisticRegression(tol=1e-9, max_iter=1000).fit(X, y)
    assert (ours.classes_ == other.classes_).all()
    np.testing.assert_allclose(ours.coef_, other.coef_, atol=1e-6)
    assert (ours.predict(X) == other.predict(X)).all()
    np.testing.assert_allclose(ours.decision_function(X), other.decision_function(X), atol=1e-5)
    np.testing.assert_allclose(ours.predict_proba(X), other.predict_proba(X), atol=1e-6)
    np.testing.assert_allclose(np.exp(ours.predict_log_proba(X)), ours.predict_proba(X), rtol=1e-12)
    ours.save(tmp_path / "m")
    assert (softgrad.load(tmp_path / "m").predict(X) == ours.predict(X)).all()
    assert ours.predict_log_proba(1e4 * X).min() < -1e3  # of no and of yes, both accurate near 0


@pytest.mark.parametrize("loss", [None, losses.asymmetric(), losses.zlpr()], ids=["sigmoid", "asymmetric", "zlpr"])
def test_partial_fit_approaches_the_optimum(loss):
    X, Y = problem()
    best = MultiLabelClassifier(loss=loss).fit(X, Y).result_.value
    model, rng = MultiLabelClassifier(loss=loss), np.random.default_rng(0)
    the_loss = losses.binary_cross_entropy() if loss is None else loss
    nothing = the_loss(np.zeros(Y.shape), Y)
    for _ in range(400):
        batch = rng.choice(300, 30, replace=False)
        model.partial_fit(X[batch], Y[batch])
    value = softgrad.linear_value_and_grad(X, Y, model.coef_, model.intercept_, loss=the_loss, l2=1 / 300)[0]
    assert nothing - value > 0.6 * (nothing - best)
    assert model.n_iter_[0] == 400
    assert model.classes_.tolist() == [0, 1, 2, 3, 4]


def test_partial_fit_of_one_label_goes_on_from_fit_and_from_a_file(tmp_path):
    X, Y = problem()
    y = np.array(["no", "yes"])[Y[:, 0]]
    model = MultiLabelClassifier().partial_fit(X[:1], y[:1], classes=["yes", "no"])  # a batch may hold one of the two
    assert model.partial_fit(X, y).predict(X).shape == (300,)
    model = MultiLabelClassifier().fit(X, Y)
    model.save(tmp_path / "m")
    assert (softgrad.load(tmp_path / "m").partial_fit(X, Y).coef_ == model.partial_fit(X, Y).coef_).all()


@pytest.mark.parametrize(("call", "words"), [
    (lambda X, Y: MultiLabelClassifier().partial_fit(X, Y[:, 0]), "both values"),
    (lambda X, Y: MultiLabelClassifier().partial_fit(X, Y[:, 0], classes=[0, 1, 2]), "3 values"),
    (lambda X, Y: MultiLabelClassifier().partial_fit(X, Y[:, 0], classes=[1, 2]), "0 in row"),
    (lambda X, Y: MultiLabelClassifier().fit(X, Y).partial_fit(X, Y[:, :3]), "tell of 5 classes.*3"),
    (lambda X, Y: MultiLabelClassifier().fit(X, Y[:, 0]).partial_fit(X, Y[:, :2]), "tell of 1 classes.*2"),
    (lambda X, Y: MultiLabelClassifier().fit(X, Y).partial_fit(X[:, 1:], Y), "12 features"),
    (lambda X, Y: MultiLabelClassifier().partial_fit(np.where(np.arange(300)[:, None] == 7, np.nan, X), Y), "row 7"),
])  # fmt: skip
def test_partial_fit_refuses(call, words):
    with pytest.raises(softgrad.SoftgradError, match=words):
        call(*problem())
