"""SoftmaxClassifier: scikit-learn's manners and scikit-learn's optimum."""

from __future__ import annotations

import copy
import pickle
import warnings

import numpy as np
import pytest
import scipy.sparse as sp
from sklearn.datasets import load_breast_cancer, load_digits, load_iris, load_wine
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

import softgrad
from softgrad import SoftmaxClassifier
from softgrad.losses import cross_entropy
from softgrad.solvers.solver import Status

SETS = {"iris": load_iris, "breast cancer": load_breast_cancer, "wine": load_wine}


@parametrize_with_checks([SoftmaxClassifier()], xfail_strict=True)
def test_scikit_learn_checks(estimator, check):
    check(estimator)


def theirs(X, y, weight=None, **options):
    """scikit-learn's optimum to rounding, by its Newton solver."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # its line search complains at the last digits
        return LogisticRegression(solver="newton-cholesky", tol=1e-12, max_iter=1000, **options).fit(X, y, weight)


@pytest.mark.parametrize("fit_intercept", [True, False])
@pytest.mark.parametrize("C", [1e-2, 1.0, 1e2])
@pytest.mark.parametrize("name", SETS)
def test_same_optimum_as_scikit_learn(name, C, fit_intercept):
    X, y = SETS[name](return_X_y=True)
    ours = SoftmaxClassifier(C=C, tol=1e-9, max_iter=500, fit_intercept=fit_intercept).fit(X, y)
    other = theirs(X, y, C=C, fit_intercept=fit_intercept)
    assert ours.coef_.shape == other.coef_.shape
    assert ours.intercept_.shape == other.intercept_.shape
    # Weakly regularised iris has a Hessian of condition 1e9 in these directions: a gradient of 1e-9 leaves 1e-7 of the largest entry.
    np.testing.assert_allclose(ours.coef_, other.coef_, rtol=0, atol=2e-7 * np.abs(other.coef_).max())
    np.testing.assert_allclose(ours.predict_proba(X), other.predict_proba(X), rtol=0, atol=1e-7)
    np.testing.assert_allclose(ours.decision_function(X), other.decision_function(X), rtol=1e-5, atol=1e-5)
    assert (ours.predict(X) == other.predict(X)).all()


@pytest.mark.parametrize("class_weight", [None, "balanced", {0: 1.0, 1: 3.0, 2: 0.25}])
def test_same_optimum_with_weights(class_weight):
    X, y = load_iris(return_X_y=True)
    weight = np.random.default_rng(3).uniform(0.1, 4, len(y))
    ours = SoftmaxClassifier(tol=1e-10, class_weight=class_weight).fit(X, y, weight)
    other = theirs(X, y, weight, class_weight=class_weight)
    np.testing.assert_allclose(ours.coef_, other.coef_, atol=1e-7)
    np.testing.assert_allclose(ours.intercept_, other.intercept_, atol=1e-6)


def test_no_penalty_is_the_maximum_likelihood():
    X, y = load_breast_cancer(return_X_y=True)
    X = StandardScaler().fit_transform(X)[:, :3]  # not separable by these
    ours, other = SoftmaxClassifier(C=np.inf, tol=1e-10).fit(X, y), theirs(X, y, C=np.inf)
    np.testing.assert_allclose(ours.coef_, other.coef_, rtol=1e-6)


def test_objective_is_the_one_that_the_docstring_states():
    X, y = load_wine(return_X_y=True)
    weight = np.arange(len(y)) % 3 + 0.5
    model = SoftmaxClassifier(C=0.3, tol=1e-8).fit(X, y, weight)
    loss = cross_entropy()(X @ model.coef_.T + model.intercept_, y, sample_weight=weight)
    assert model.result_.value == pytest.approx(loss + (model.coef_**2).sum() / (2 * 0.3 * weight.sum()), rel=1e-12)
    l2 = 1 / (0.3 * weight.sum())
    value, G, g = softgrad.linear_value_and_grad(X, y, model.coef_, model.intercept_, l2=l2, sample_weight=weight)
    assert value == pytest.approx(model.result_.value, rel=1e-12)
    # The certificate: the gradient in the user's own coordinates is what result_ says, and below tol.
    assert max(np.abs(G).max(), np.abs(g).max()) == pytest.approx(model.result_.gradient_norm, rel=1e-2, abs=1e-11)
    assert model.result_.gradient_norm <= 1e-8


@pytest.mark.parametrize("kind", [np.uint8, np.float16, np.float32])
def test_narrow_types_reach_the_optimum_of_float64(kind):
    X, y = load_digits(return_X_y=True)  # whole numbers to 16: exact in all types
    wide, narrow = SoftmaxClassifier(C=0.01).fit(X, y), SoftmaxClassifier(C=0.01).fit(X.astype(kind), y)
    assert narrow.result_.value == pytest.approx(wide.result_.value, rel=1e-6)
    assert narrow.decision_function(X.astype(kind)).dtype == np.float32
    assert np.abs(narrow.predict_proba(X.astype(kind)) - wide.predict_proba(X)).max() < 1e-3


@pytest.mark.parametrize("make", [sp.csr_array, sp.csr_matrix, sp.csc_array])
@pytest.mark.parametrize("kind", [np.float64, np.float32])
def test_sparse_equals_dense(make, kind):
    X, y = load_digits(return_X_y=True)
    dense = SoftmaxClassifier(C=0.1, tol=1e-6).fit(X, y)
    sparse = SoftmaxClassifier(C=0.1, tol=1e-6, max_iter=2000).fit(make(X.astype(kind)), y)
    assert sparse.result_.passes < 80  # the metric of a few features is made from rows made dense
    assert sparse.result_.value == pytest.approx(dense.result_.value, rel=1e-6)
    assert np.abs(sparse.predict_proba(make(X)) - dense.predict_proba(X)).max() < 1e-3


def test_few_rows_in_many_dimensions():
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(40, 150)) + 3, rng.integers(0, 4, 40)
    model, other = SoftmaxClassifier(tol=1e-10).fit(X, y), theirs(X, y)
    np.testing.assert_allclose(model.coef_, other.coef_, atol=1e-8)
    np.testing.assert_allclose(model.intercept_, other.intercept_, atol=1e-7)


@pytest.mark.parametrize("fit_intercept", [True, False])
@pytest.mark.parametrize("far", [0.0, 300.0])
def test_few_rows_end_where_the_user_s_own_gradient_is_below_tol(far, fit_intercept):
    """The fit turns them into their own space, where a gradient looks smaller than it is for features far from zero."""
    rng = np.random.default_rng(71)
    X, y, r = rng.normal(size=(20, 100)) + far, np.arange(20) % 3, rng.uniform(0.5, 2, 20)
    model = SoftmaxClassifier(C=1e-2, fit_intercept=fit_intercept, max_iter=1000).fit(X, y, r)
    _, dW, db = softgrad.linear_value_and_grad(X, y, model.coef_, model.intercept_, sample_weight=r, l2=1 / (1e-2 * r.sum()))
    largest = max(np.abs(dW).max(), np.abs(db).max() if fit_intercept else 0.0)
    assert model.result_.status is Status.CONVERGED
    assert largest <= 1e-5 * (1 + 1e-6)
    assert model.result_.gradient_norm == pytest.approx(largest, rel=1e-4, abs=1e-10)


def test_rows_without_weight_are_never_read():
    X, y = load_iris(return_X_y=True)
    weight = np.ones(len(y))
    weight[::7] = 0
    spoilt = X.copy()
    spoilt[::7] = np.nan
    model = SoftmaxClassifier(tol=1e-10).fit(spoilt, y, weight)
    np.testing.assert_allclose(model.coef_, SoftmaxClassifier(tol=1e-10).fit(X[weight > 0], y[weight > 0]).coef_, atol=1e-8)


@pytest.mark.parametrize("kind", [np.float64, np.float32, np.uint8])
def test_same_bits_at_every_thread_count(kind):
    X, y = load_digits(return_X_y=True)
    X, y = np.tile(X, (40, 1)).astype(kind), np.tile(y, 40)  # enough rows for many blocks
    fits = []
    for n in (1, 2, 5):
        with softgrad.threads.limit(n):
            fits.append(SoftmaxClassifier(C=1e-3, tol=1e-4).fit(X, y))
    assert all((fit.coef_ == fits[0].coef_).all() for fit in fits)


def test_warm_start_goes_on_where_it_was():
    X, y = load_digits(return_X_y=True)
    model = SoftmaxClassifier(C=0.01, warm_start=True).fit(X, y)
    passes, coef = model.result_.passes, model.coef_.copy()
    assert model.fit(X, y).result_.passes == 1
    assert passes > 5
    np.testing.assert_allclose(model.coef_, coef, atol=1e-12)
    model.fit(X[:, :10], y)  # other features: a cold start, no error
    assert model.coef_.shape == (10, 10)


def test_warm_start_of_two_classes():
    X, y = load_breast_cancer(return_X_y=True)
    model = SoftmaxClassifier(warm_start=True, tol=1e-7).fit(X, y)
    assert model.fit(X, y).result_.passes == 1


@pytest.mark.parametrize("binary", [False, True])
def test_partial_fit_approaches_the_optimum(binary):
    X, y = load_iris(return_X_y=True)
    X, y = StandardScaler().fit_transform(X), (y == 0).astype(int) if binary else y
    model, rng = SoftmaxClassifier(), np.random.default_rng(0)
    for _ in range(300):
        batch = rng.choice(len(y), 30, replace=False)
        model.partial_fit(X[batch], y[batch], classes=np.unique(y))
    assert model.score(X, y) > (0.99 if binary else 0.85)
    assert model.n_iter_[0] == 300
    best = SoftmaxClassifier().fit(X, y)
    loss = cross_entropy()
    mean = [loss(np.c_[np.zeros(len(y)), m.decision_function(X)] if binary else m.decision_function(X), y) for m in (model, best)]
    start = np.log(2 if binary else 3)
    assert start - mean[0] > 0.6 * (start - mean[1])


def test_partial_fit_at_any_scale_of_the_features():
    X, y = load_digits(return_X_y=True)
    for scale in (1e-3, 1.0, 1e4):
        model = SoftmaxClassifier(C=np.inf)
        for k in range(0, 1500, 100):
            model.partial_fit(X[k : k + 100] * scale, y[k : k + 100], classes=range(10))
        assert model.score(X * scale, y) > 0.6


def test_losses_reach_their_own_optimum():
    X, y = load_wine(return_X_y=True)
    X = StandardScaler().fit_transform(X)
    loss = cross_entropy(label_smoothing=0.2, temperature=2.0)
    model = SoftmaxClassifier(loss=loss, C=1.0, tol=1e-9).fit(X, y)
    _, G, g = softgrad.linear_value_and_grad(X, y, model.coef_, model.intercept_, loss=loss, l2=1 / len(y))
    assert max(np.abs(G).max(), np.abs(g).max()) <= 1.01e-9
    np.testing.assert_allclose(model.predict_proba(X), softgrad.softmax(model.decision_function(X), temperature=2.0), rtol=1e-12)


def test_labels_of_any_type_and_frames():
    pandas, polars = pytest.importorskip("pandas"), pytest.importorskip("polars")
    X, y = load_iris(return_X_y=True)
    names = np.array(["setosa", "versicolor", "virginica"])[y]
    plain = SoftmaxClassifier().fit(X, names)
    assert plain.classes_.tolist() == ["setosa", "versicolor", "virginica"]
    columns = [f"f{k}" for k in range(4)]
    for frame in (pandas.DataFrame(X, columns=columns), polars.DataFrame(X, schema=columns)):
        model = SoftmaxClassifier().fit(frame, names)
        assert model.feature_names_in_.tolist() == columns
        assert (model.coef_ == plain.coef_).all()
        assert (model.predict(frame) == plain.predict(X)).all()


def test_pipelines_and_grids():
    X, y = load_wine(return_X_y=True)
    grid = GridSearchCV(make_pipeline(StandardScaler(), SoftmaxClassifier()), {"softmaxclassifier__C": [1e-3, 1e-1, 10.0]}, cv=3)
    assert grid.fit(X, y).best_score_ > 0.96


def test_unfinished_fits_warn_with_advice_and_say_so():
    X, y = load_iris(return_X_y=True)
    with pytest.warns(ConvergenceWarning, match="raise max_iter"):
        model = SoftmaxClassifier(C=1e6, max_iter=3).fit(X, y)
    assert model.result_.status is Status.MAX_ITER
    assert not model.result_.converged
    assert model.n_iter_.tolist() == [3]


@pytest.mark.parametrize("shift", [1e3, 1e5])
def test_features_too_far_away_for_their_type_are_told(shift):
    """Four digits of float32 are gone, or six: the fit ends where its value no longer falls, and says what helps."""
    X, y = load_iris(return_X_y=True)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        model = SoftmaxClassifier().fit((X + shift).astype(np.float32), y)
    assert model.result_.status is Status.PRECISION
    assert [one.category for one in said] == [ConvergenceWarning]
    assert "centre the features" in str(said[0].message)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert SoftmaxClassifier(max_iter=1000).fit(X + shift, y).result_.converged


def test_a_class_whose_rows_weigh_nothing_may_be_balanced():
    X, y = load_iris(return_X_y=True)
    weight = (y != 0).astype(float)
    balanced = SoftmaxClassifier(C=0.1, tol=1e-9, class_weight="balanced").fit(X, y, weight)
    # scikit-learn's weights: the sum of the weights over 3 classes times the class's own, 100 / (3 * 50)
    same = SoftmaxClassifier(C=0.1, tol=1e-9, class_weight={0: 1.0, 1: 2 / 3, 2: 2 / 3}).fit(X, y, weight)
    np.testing.assert_allclose(balanced.coef_, same.coef_, atol=1e-7)


def test_callback_and_loss_curve(capsys):
    X, y = load_iris(return_X_y=True)
    seen = []
    model = SoftmaxClassifier(callback=seen.append, verbose=1).fit(X, y)
    assert [state.value for state in seen] == model.loss_curve_
    assert model.loss_curve_[0] == pytest.approx(np.log(3), rel=1e-12)
    assert model.loss_curve_[-1] == model.result_.value == min(model.loss_curve_)
    assert [state.passes for state in seen] == sorted({state.passes for state in seen})
    assert "pass    1  objective 1.0986123" in capsys.readouterr().err


@pytest.mark.parametrize("names", [["a", "b", "ü"], [1, 2, 5], [1.0, 2.0, 3.0], [True, False]])
@pytest.mark.parametrize("loss", [None, cross_entropy(label_smoothing=0.1, temperature=2, class_weight=[1, 2])])
def test_saved_models_predict_the_same(tmp_path, names, loss):
    if loss is not None and len(names) != 2:
        loss = cross_entropy(label_smoothing=0.1, temperature=2)
    X = np.random.default_rng(0).normal(size=(90, 5))
    y = np.array(names)[np.arange(90) % len(names)]
    model = SoftmaxClassifier(C=np.inf, loss=loss, max_iter=50).fit(X, y)
    model.save(tmp_path / "m.safetensors", metadata={"source": "a test"})
    loaded = softgrad.load(tmp_path / "m.safetensors")
    assert (loaded.predict_proba(X) == model.predict_proba(X)).all()
    assert (loaded.predict(X) == model.predict(X)).all()
    assert loaded.classes_.dtype == model.classes_.dtype
    assert loaded.metadata_ == {"source": "a test"}
    assert loaded.get_params()["C"] == np.inf
    for twin in (pickle.loads(pickle.dumps(model)), copy.deepcopy(model)):
        assert (twin.predict_proba(X) == model.predict_proba(X)).all()


@pytest.mark.parametrize("weight", [None, "balanced", {0: 5.0}, {np.int64(1): 2, 2: 0.5}])
def test_a_loaded_model_is_fitted_again_as_the_saved_one_was(tmp_path, weight):
    X, y = load_iris(return_X_y=True)
    model = SoftmaxClassifier(C=0.3, class_weight=weight).fit(X, y)
    model.save(tmp_path / "m")
    loaded = softgrad.load(tmp_path / "m")
    assert loaded.class_weight == weight
    assert np.array_equal(loaded.fit(X, y).coef_, model.coef_)


def test_feature_names_are_saved(tmp_path):
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame({"a": [0.0, 1, 2, 3], "b": [1.0, 0, 1, 0]})
    SoftmaxClassifier().fit(frame, [0, 0, 1, 1]).save(tmp_path / "m")
    loaded = softgrad.load(tmp_path / "m")
    assert loaded.predict(frame).tolist() == [0, 0, 1, 1]
    with pytest.raises(ValueError, match="feature names"):
        loaded.predict(frame.rename(columns={"a": "c"}))


X3, Y3 = np.eye(4)[:, :3], [0, 1, 0, 1]
REFUSED = {
    "nan": (lambda: SoftmaxClassifier().fit([[np.nan], [1.0]], [0, 1]), "NaN.*row 0, column 0"),
    "inf far below": (lambda: SoftmaxClassifier().fit(np.r_[np.zeros((9999, 1)), [[np.inf]]], np.arange(10000) % 2), "row 9999"),
    "sparse nan": (lambda: SoftmaxClassifier().fit(sp.csr_array([[0, 0.0], [0, np.nan]]), [0, 1]), "row 1, column 1"),
    "lengths": (lambda: SoftmaxClassifier().fit(X3, np.array([0, 1, 0])), "one label for each of the 4 rows.*3 labels"),
    "one class": (lambda: SoftmaxClassifier().fit(X3, [1, 1, 1, 1]), "at least two classes.*one class only"),
    "no rows": (lambda: SoftmaxClassifier().fit(np.empty((0, 3)), []), "0 sample"),
    "zero weights": (lambda: SoftmaxClassifier().fit(X3, Y3, np.zeros(4)), "at least one row must count.*zero"),
    "negative weight": (lambda: SoftmaxClassifier().fit(X3, Y3, [1, 1, -1, 1]), "at least 0.*row 2"),
    "class weight": (lambda: SoftmaxClassifier(class_weight={0: -1.0}).fit(X3, Y3), r"class_weight\).*got -1.0 for class number 0"),
    "class weight nan": (lambda: SoftmaxClassifier(class_weight={1: np.nan}).fit(X3, Y3), r"class_weight\).*nan for class number 1"),
    "class weight inf": (lambda: SoftmaxClassifier(class_weight={1: np.inf}).fit(X3, Y3), r"class_weight\).*inf for class number 1"),
    "class weight name": (lambda: SoftmaxClassifier(class_weight="auto").fit(X3, Y3), r"class_weight\).*'balanced'.*got 'auto'"),
    "label nan": (lambda: SoftmaxClassifier().fit(X3, [0.0, 1, np.nan, 1]), r"fit\(y\): must have a class in every row; got nan in row 2"),
    "labels of two kinds": (lambda: SoftmaxClassifier().fit(X3, np.array(["a", 1, "b", 1], object)), "labels that can be sorted"),
    "label inf": (lambda: SoftmaxClassifier().fit(X3, np.array([0.0, 1.0, 0.0, -np.inf])), "got -inf in row 3"),
    "label None": (lambda: SoftmaxClassifier().fit(X3, np.array(["a", None, "b", "a"], object)), "got None in row 1"),
    "complex": (lambda: SoftmaxClassifier().fit(X3 * 1j, Y3), "fit: Complex data not supported$"),
    "one axis": (lambda: SoftmaxClassifier().fit(X3, Y3).predict(X3[0]), "got 1D array instead: Reshape your data"),
    "saved nowhere": (lambda: SoftmaxClassifier().fit(X3, Y3).save(None), r"save\(path\): must be a path; got None"),
    "saved as a folder": (lambda: SoftmaxClassifier().fit(X3, Y3).save("."), r"must be a file; got the folder \.; add a name"),
    "loaded from nowhere": (lambda: softgrad.load(3), r"load\(path\): must be a path; got 3"),
    "continuous labels": (lambda: SoftmaxClassifier().fit(X3, [0.1, 0.2, 0.3, 0.4]), "continuous"),
    "C": (lambda: SoftmaxClassifier(C=0).fit(X3, Y3), r"C\): must be a finite number in \(0, inf\)"),
    "tol": (lambda: SoftmaxClassifier(tol=-1).fit(X3, Y3), "tol"),
    "fit_intercept": (lambda: SoftmaxClassifier(fit_intercept="no").fit(X3, Y3), r"fit_intercept\): must be True or False; got 'no'"),
    "random_state": (lambda: SoftmaxClassifier(random_state="a").fit(X3, Y3), r"random_state\): 'a'"),
    "max_iter": (lambda: SoftmaxClassifier(max_iter=0).fit(X3, Y3), "max_iter"),
    "loss": (lambda: SoftmaxClassifier(loss="hinge").fit(X3, Y3), "must be a loss of softgrad.losses"),
    "solver": (lambda: SoftmaxClassifier(solver="saga").fit(X3, Y3), "'saga'"),
    "predict nan": (lambda: SoftmaxClassifier().fit(X3, Y3).predict([[0, np.nan, 0]]), "row 0, column 1"),
    "predict width": (lambda: SoftmaxClassifier().fit(X3, Y3).predict(np.eye(4)), "4 features"),
    "partial classes": (lambda: SoftmaxClassifier().partial_fit(X3, Y3), "first call"),
    "partial label": (lambda: SoftmaxClassifier().partial_fit(X3, Y3, classes=[0, 2]), "1 in row 1"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refusals(name):
    call, words = REFUSED[name]
    with pytest.raises(softgrad.SoftgradError, match=words) as caught:
        call()
    assert "\n" not in str(caught.value)
