"""SoftmaxClassifierCV chooses as scikit-learn's LogisticRegressionCV does, and as fits one by one would."""

import warnings

import numpy as np
import pytest
import scipy.sparse as sp
import sklearn
from sklearn.datasets import load_breast_cancer, load_digits, load_iris, load_wine
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression, LogisticRegressionCV
from sklearn.metrics import get_scorer, make_scorer
from sklearn.model_selection import GroupKFold, PredefinedSplit, RepeatedStratifiedKFold, ShuffleSplit, StratifiedKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import scale
from sklearn.utils.estimator_checks import parametrize_with_checks

import softgrad
from softgrad import SoftgradError, SoftmaxClassifierCV
from softgrad.classifier_cv import peaked

CS = [0.001, 0.01, 0.1, 1.0, 10.0]
TIGHT = {"tol": 1e-8, "max_iter": 2000}


@parametrize_with_checks([SoftmaxClassifierCV(Cs=3, cv=3, max_iter=1000)])
def test_scikit_learn_s_own_checks(estimator, check):
    check(estimator)


def data(name):
    X, y = {"iris": load_iris, "wine": load_wine, "breast_cancer": load_breast_cancer}[name](return_X_y=True)
    return scale(X), y


@pytest.mark.parametrize("name", ["iris", "wine", "breast_cancer"])
@pytest.mark.parametrize("scoring", ["neg_log_loss", "accuracy", "neg_brier_score", "f1_macro"])
@pytest.mark.parametrize("refit", [True, False])
def test_the_same_scores_and_choice_as_logistic_regression_cv(name, scoring, refit):
    if (name, scoring) == ("breast_cancer", "f1_macro"):
        scoring = "roc_auc"  # for two classes scikit-learn's own search gives pos_label twice to f1_macro, and fails
    X, y = data(name)
    options = {"Cs": CS, "cv": StratifiedKFold(4, shuffle=True, random_state=1), "scoring": scoring, "refit": refit}
    ours = SoftmaxClassifierCV(**options, **TIGHT).fit(X, y)
    theirs = LogisticRegressionCV(**options, **TIGHT, l1_ratios=(0,), use_legacy_attributes=False).fit(X, y)
    assert np.allclose(ours.scores_, theirs.scores_[:, 0], rtol=0, atol=2e-5)
    assert pytest.approx(theirs.C_) == ours.C_
    assert np.allclose(ours.coef_, theirs.coef_, rtol=0, atol=1e-4)
    assert np.allclose(ours.intercept_, theirs.intercept_, rtol=0, atol=1e-4)
    assert np.allclose(ours.coefs_paths_, theirs.coefs_paths_[:, 0], rtol=0, atol=1e-4)
    assert ours.score(X, y) == pytest.approx(theirs.score(X, y), abs=1e-5)


@pytest.mark.parametrize("balanced", [None, "balanced"])
def test_weights_count_in_fits_and_scores(balanced):
    X, y = data("wine")
    weight = np.random.default_rng(0).integers(0, 4, len(y)).astype(float)
    options = {"Cs": CS, "cv": 3, "scoring": "neg_log_loss", "class_weight": balanced}
    ours = SoftmaxClassifierCV(**options, **TIGHT).fit(X, y, weight)
    theirs = LogisticRegressionCV(**options, **TIGHT, l1_ratios=(0,), use_legacy_attributes=False).fit(X, y, weight)
    assert np.allclose(ours.scores_, theirs.scores_[:, 0], rtol=0, atol=2e-5)
    assert np.allclose(ours.coef_, theirs.coef_, rtol=0, atol=1e-4)


@pytest.mark.parametrize(
    "cv",
    [ShuffleSplit(3, test_size=0.3, random_state=0), RepeatedStratifiedKFold(n_splits=3, n_repeats=2, random_state=0), 3],
    ids=["shuffled", "repeated", "number"],
)
def test_every_splitter(cv):
    X, y = data("iris")
    model = SoftmaxClassifierCV(Cs=CS, cv=cv, **TIGHT).fit(X, y)
    splitter = StratifiedKFold(3) if cv == 3 else cv
    for j, (train, test) in enumerate(splitter.split(X, y)):
        alone = LogisticRegression(C=CS[2], **TIGHT).fit(X[train], y[train])
        assert model.scores_[j, 2] == pytest.approx(get_scorer("neg_log_loss")(alone, X[test], y[test]), abs=1e-5)


@pytest.mark.parametrize("held", ["pairs", "predefined"])
def test_one_hold_out_as_probes_use(held):
    X, y = data("iris")
    test = np.arange(len(y)) % 5 == 0
    cv = [(np.flatnonzero(~test), np.flatnonzero(test))] if held == "pairs" else PredefinedSplit(np.where(test, 0, -1))
    model = SoftmaxClassifierCV(Cs=CS, cv=cv, scoring="accuracy").fit(X, y)
    assert model.scores_.shape == (1, len(CS))
    assert CS[int(model.scores_[0].argmax())] == model.C_
    whole = softgrad.SoftmaxClassifier(C=model.C_, tol=1e-8).fit(X, y)
    assert np.allclose(model.coef_, whole.coef_, rtol=0, atol=1e-2)


def test_values_of_C_in_any_order():
    X, y = data("wine")
    up, down = (SoftmaxClassifierCV(Cs=Cs, cv=3).fit(X, y) for Cs in (CS, CS[::-1]))
    assert np.array_equal(up.scores_, down.scores_[:, ::-1])
    assert np.array_equal(up.coefs_paths_, down.coefs_paths_[:, ::-1])
    assert np.array_equal(down.Cs_, CS[::-1])
    assert up.C_ == down.C_


def test_no_penalty_may_be_among_them():
    X, y = data("iris")
    model = SoftmaxClassifierCV(Cs=[0.1, np.inf], cv=3, tol=1e-4).fit(X + np.random.default_rng(0).normal(size=X.shape), y)
    assert np.isfinite(model.scores_).all()


def test_sparse_rows_as_dense_ones():
    X, y = load_digits(return_X_y=True)
    X = X[:400] * (X[:400] > 6)
    dense, sparse = (SoftmaxClassifierCV(Cs=[1e-4, 1e-2], cv=3, **TIGHT).fit(Z, y[:400]) for Z in (X, sp.csr_matrix(X)))
    assert np.allclose(dense.scores_, sparse.scores_, rtol=0, atol=1e-6)
    assert dense.C_ == sparse.C_


def test_the_path_is_a_table():
    pandas = pytest.importorskip("pandas")
    X, y = data("iris")
    model = SoftmaxClassifierCV(Cs=CS, cv=3).fit(X, y)
    table = pandas.DataFrame(model.path_)
    assert len(table) == len(CS)
    assert np.array_equal(table["mean_score"], model.scores_.mean(axis=0))
    assert table["converged"].all()
    assert model.passes_ < table["passes"].sum() * 3
    assert np.array_equal(table["C"], CS)


def test_names_as_classes_and_as_features():
    pandas = pytest.importorskip("pandas")
    X, y = load_iris(return_X_y=True, as_frame=True)
    model = SoftmaxClassifierCV(Cs=3, cv=3).fit(X, np.array(["a", "b", "c"])[y])
    assert set(model.predict(X)) <= {"a", "b", "c"}
    assert list(model.feature_names_in_) == list(X.columns)
    assert isinstance(X, pandas.DataFrame)


def test_a_saved_choice_is_loaded_as_a_classifier(tmp_path):
    X, y = data("iris")
    model = SoftmaxClassifierCV(Cs=CS, cv=3).fit(X, y)
    model.save(tmp_path / "m.safetensors")
    loaded = softgrad.load(tmp_path / "m.safetensors")
    assert loaded.C == model.C_
    assert np.array_equal(loaded.predict_proba(X), model.predict_proba(X))


def test_it_works_in_a_pipeline_and_the_last_step_has_no_partial_fit():
    X, y = load_wine(return_X_y=True)
    pipeline = make_pipeline(sklearn.preprocessing.StandardScaler(), SoftmaxClassifierCV(Cs=3, cv=3))
    assert pipeline.fit(X, y).score(X, y) > -0.2
    assert not hasattr(SoftmaxClassifierCV(), "partial_fit")


def test_groups_are_routed_to_the_splitter_and_weights_to_the_scorer():
    X, y = data("wine")
    groups, weight = np.arange(len(y)) % 7, np.random.default_rng(1).uniform(0.1, 1, len(y))
    with sklearn.config_context(enable_metadata_routing=True):
        scorer = make_scorer(sklearn.metrics.accuracy_score).set_score_request(sample_weight=True)
        model = SoftmaxClassifierCV(Cs=CS, cv=GroupKFold(3), scoring=scorer).set_fit_request(sample_weight=True)
        model.fit(X, y, sample_weight=weight, groups=groups)
    for j, (train, test) in enumerate(GroupKFold(3).split(X, y, groups)):
        alone = LogisticRegression(C=CS[1], **TIGHT).fit(X[train], y[train], weight[train])
        assert model.scores_[j, 1] == pytest.approx(np.average(alone.predict(X[test]) == y[test], weights=weight[test]))


def test_groups_without_routing_are_refused():
    X, y = data("iris")
    with pytest.raises(SoftgradError, match="metadata routing"):
        SoftmaxClassifierCV(cv=GroupKFold(3)).fit(X, y, groups=y)


def test_a_fold_without_a_class_works_and_says_so():
    X, y = data("iris")
    cv = [(np.flatnonzero(y != 2), np.flatnonzero(y == 2)[:20]), (np.arange(0, 150, 2), np.arange(1, 150, 2))]
    with pytest.warns(UserWarning, match="fold 0 trains without"):
        model = SoftmaxClassifierCV(Cs=CS, cv=cv, scoring="accuracy").fit(X, y)
    assert (model.scores_[0] == 0).all()
    assert (model.scores_[1] > 0.7).all()
    with pytest.warns(UserWarning, match="fold 0 trains without"):
        model = SoftmaxClassifierCV(Cs=CS, cv=cv).fit(X, y)
    assert np.isfinite(model.scores_).all()


def test_peaked_needs_two_that_are_clearly_below():
    flat = np.array([[0.5, 0.6], [0.7, 0.9], [0.69, 0.91], [0.71, 0.88]])
    falling = np.array([[0.5, 0.6], [0.8, 0.9], [0.7, 0.8], [0.6, 0.71]])
    assert not peaked(flat)
    assert not peaked(falling[:3])
    assert peaked(falling)
    assert peaked(falling[:, :1])
    assert not peaked(falling[:1])


@pytest.mark.parametrize("name", ["iris", "wine", "breast_cancer", "digits"])
@pytest.mark.parametrize("scoring", ["neg_log_loss", "accuracy"])
def test_an_early_end_chooses_what_the_whole_search_chooses(name, scoring):
    X, y = load_digits(return_X_y=True) if name == "digits" else data(name)
    rng = np.random.default_rng(5)
    y = np.where(rng.uniform(size=len(y)) < 0.2, rng.permutation(y), y)  # noise, so that there is a peak
    options = {"Cs": np.logspace(-5, 1, 9), "cv": 4, "scoring": scoring}
    early = SoftmaxClassifierCV(early_stopping=True, **options).fit(X, y)
    whole = SoftmaxClassifierCV(**options).fit(X, y)
    assert early.C_ == whole.C_
    done = np.isfinite(early.scores_).all(axis=0)
    assert np.array_equal(early.scores_[:, done], whole.scores_[:, done])
    assert np.isnan(early.coefs_paths_[:, ~done]).all()
    assert early.passes_ <= whole.passes_


def test_an_interrupt_gives_the_best_so_far():
    X, y = data("wine")

    def stop(state):
        if state.k == 2:
            raise KeyboardInterrupt

    with pytest.warns(ConvergenceWarning, match="interrupted"):
        model = SoftmaxClassifierCV(Cs=CS, cv=3, callback=stop).fit(X, y)
    assert np.isfinite(model.scores_[:, 0]).all()
    assert np.isnan(model.scores_[:, 3:]).all()
    assert model.predict(X).shape == y.shape


def test_a_search_that_was_killed_goes_on_to_the_same_bits(tmp_path):
    X, y = data("wine")
    options = {"Cs": CS, "cv": 3, "checkpoint": tmp_path / "state"}
    whole = SoftmaxClassifierCV(Cs=CS, cv=3).fit(X, y)

    class Killed(Exception):
        pass

    def kill(state):
        if state.k == 3:
            raise Killed

    with pytest.raises(Killed):
        SoftmaxClassifierCV(callback=kill, **options).fit(X, y)
    resumed = SoftmaxClassifierCV(resume=True, **options).fit(X, y)
    again = SoftmaxClassifierCV(resume=True, **options).fit(X, y)
    for model in (resumed, again):
        assert np.array_equal(model.scores_, whole.scores_)
        assert np.array_equal(model.coef_, whole.coef_)
        assert model.passes_ == whole.passes_


def test_fits_that_did_not_converge_are_told_in_one_warning():
    X, y = data("breast_cancer")
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        SoftmaxClassifierCV(Cs=CS, cv=3, max_iter=1, tol=1e-9, refit=False).fit(X, y)
    assert len(told) == 1
    assert "15 of 15 fits" in str(told[0].message)


def test_progress_is_shown_when_asked_for(capsys):
    X, y = data("iris")
    SoftmaxClassifierCV(Cs=3, cv=3, verbose=1).fit(X, y)
    assert "of 9 fits" in capsys.readouterr().err


BAD = {
    "no C": ({"Cs": []}, "at least one value"),
    "negative C": ({"Cs": [1.0, -2.0]}, "all above 0; got -2.0"),
    "NaN": ({"Cs": [float("nan")]}, "all above 0"),
    "none asked for": ({"Cs": 0}, "at least 1"),
    "too many folds": ({"cv": 200}, "n_splits=200"),
    "no fold": ({"cv": []}, "at least one"),
    "empty fold": ({"cv": [([], [0])]}, "training rows"),
    "rows that are not there": ({"cv": [([0, 900], [1])]}, "training rows"),
    "tol": ({"tol": 0}, "tol"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_calls_are_told_plainly(case):
    options, words = BAD[case]
    with pytest.raises(SoftgradError, match=words):
        SoftmaxClassifierCV(**options).fit(*data("iris"))


def test_a_fold_without_weight_is_refused():
    X, y = data("iris")
    with pytest.raises(SoftgradError, match="fold 0"):
        SoftmaxClassifierCV(cv=[(np.arange(10), np.arange(50, 150))]).fit(X, y, np.where(np.arange(150) < 10, 0.0, 1.0))


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_values_that_are_not_finite_are_named(bad):
    X, y = data("iris")
    X[17, 2] = bad
    with pytest.raises(SoftgradError, match="row 17"):
        SoftmaxClassifierCV(Cs=3).fit(X, y)


def test_rows_on_disk_give_the_same_bits(tmp_path):
    X, y = load_digits(return_X_y=True)
    np.save(tmp_path / "X.npy", X.astype(np.float32))
    np.save(tmp_path / "y.npy", y)
    streamed = softgrad.data.stream(tmp_path / "X.npy", memory_limit="64MiB")
    ours, memory = (SoftmaxClassifierCV(Cs=[1e-3, 1e-2], cv=3).fit(rows, y) for rows in (streamed.X, X.astype(np.float32)))
    assert np.array_equal(ours.scores_, memory.scores_)
    assert np.array_equal(ours.coef_, memory.coef_)
