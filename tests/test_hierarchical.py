"""HierarchicalClassifier: labels as paths, probabilities along the tree, scikit-learn's manners."""

import numpy as np
import pytest
from sklearn.datasets import load_digits, load_iris
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

import softgrad
from softgrad import HierarchicalClassifier, SoftmaxClassifier, losses
from softgrad.solvers.sgd import SGD

KINDS = ["hierarchical softmax", "hxe"]
PATHS = np.array(["round/0", "line/1", "open/2", "open/3", "line/4", "open/5", "round/loop/6", "line/7", "round/loop/8", "round/loop/9"])
each = pytest.mark.parametrize("kind", KINDS)


@parametrize_with_checks([HierarchicalClassifier(loss=kind) for kind in KINDS], xfail_strict=True)
def test_scikit_learn_checks(estimator, check):
    check(estimator)


def digits():
    X, y = load_digits(return_X_y=True)
    return X[:600] / 16, PATHS[y[:600]]


@each
def test_labels_without_a_separator_are_a_softmax(kind):
    """Side by side under the root; text or not."""
    X, y = load_iris(return_X_y=True)
    flat, plain = HierarchicalClassifier(loss=kind, tol=1e-8).fit(X, y), SoftmaxClassifier(tol=1e-8).fit(X, y)
    np.testing.assert_allclose(flat.coef_, plain.coef_, atol=1e-5)
    np.testing.assert_allclose(flat.predict_proba(X), plain.predict_proba(X), atol=1e-6)
    assert flat.nodes_ == [("0",), ("1",), ("2",)]


@each
def test_it_reaches_its_optimum(kind):
    X, y = digits()
    model = HierarchicalClassifier(C=10.0, loss=kind, tol=1e-7, max_iter=500).fit(X, y)
    link = losses.HXE(model.tree_, 0.1) if kind == "hxe" else losses.HierarchicalSoftmax(model.tree_)
    numbers = np.searchsorted(model.classes_, y)
    value, G, g = softgrad.linear_value_and_grad(X, numbers, model.coef_, model.intercept_, loss=losses.compose(link), l2=1 / (10 * len(y)))
    assert value == pytest.approx(model.result_.value, rel=1e-12)
    assert max(np.abs(G).max(), np.abs(g).max()) <= 1.01e-7
    assert model.result_.passes < 60
    assert model.score(X, y) > 0.97
    for group in link.shifts(len(model.coef_)):  # of all equal coefficients the smallest
        assert np.abs(model.coef_[group].sum(axis=0)).max() < 1e-12


@each
def test_predictions_hang_together(kind):
    X, y = digits()
    model = HierarchicalClassifier(loss=kind).fit(X, y)
    P, leaves = model.node_proba(X), model.predict_proba(X)
    np.testing.assert_allclose(leaves.sum(axis=1), 1, rtol=1e-12)
    np.testing.assert_allclose(np.exp(model.predict_log_proba(X)), leaves, rtol=1e-12)
    for j, node in enumerate(model.nodes_):
        under = [k for k, label in enumerate(model.classes_) if tuple(label.split("/"))[: len(node)] == node]
        np.testing.assert_allclose(P[:, j], leaves[:, under].sum(axis=1), rtol=1e-12)
    assert (model.predict(X) == model.classes_[leaves.argmax(axis=1)]).all()
    assert ["/".join(path) for path in model.predict_path(X)] == model.predict(X).tolist()
    sure = model.predict_path(X, confidence=0.9)
    assert {len(path) for path in sure} > {2}
    for path, p, full in zip(sure, P, model.predict_path(X), strict=True):
        assert path == full[: len(path)]
        assert all(p[model.nodes_.index(path[:i])] >= 0.9 for i in range(1, len(path) + 1))
        assert len(path) == len(full) or p[model.nodes_.index(full[: len(path) + 1])] < 0.9


@each
def test_two_leaves_keep_a_row_each(kind):
    """Probabilities of nodes are asked of scores of all of them; and a warm start finds its own shape."""
    X, y = digits()
    X, y = X[np.isin(y, ["line/1", "line/4"])], y[np.isin(y, ["line/1", "line/4"])]
    for labels in (y, np.char.replace(y, "line/", "")):
        model = HierarchicalClassifier(loss=kind, warm_start=True).fit(X, labels)
        assert len(model.coef_) == (len(model.nodes_) if kind == "hierarchical softmax" else 2)
        assert np.allclose(model.node_proba(X)[:, model.tree_.leaves], model.predict_proba(X), rtol=1e-12)
        assert [path[-1] for path in model.predict_path(X)] == [label.rpartition("/")[2] for label in model.predict(X)]
        assert model.fit(X, labels).n_iter_[0] == 1


def test_distance_counts_edges():
    X, y = digits()
    model = HierarchicalClassifier().fit(X, y)
    other = ["open/2", "open/3", "round/loop/6", "round/loop/6"]
    assert model.distance(["open/2", "open/2", "round/0", "line/1"], other).tolist() == [0, 2, 3, 5]
    with pytest.raises(softgrad.SoftgradError, match=r"among classes_.*'open/9'"):
        model.distance(["open/9"], ["open/2"])


def test_levels_of_every_kind_make_the_same_tree():
    X, y = digits()
    codes = np.array(["".join(f"{name:5}" for name in path.split("/")) for path in PATHS])
    by_text = HierarchicalClassifier(tol=1e-8).fit(X, y)
    by_code = HierarchicalClassifier(levels=(5, 10), tol=1e-8).fit(X, codes[[PATHS.tolist().index(label) for label in y]])
    digit = np.array([int(label[-1]) for label in y])
    by_dict = HierarchicalClassifier(levels={k: path.split("/") for k, path in enumerate(PATHS.tolist())}, tol=1e-8).fit(X, digit)
    assert by_code.nodes_[0] == ("line ",)
    for other in (by_code, by_dict):
        assert other.result_.value == pytest.approx(by_text.result_.value, rel=1e-9)
        assert [str(path[-1]).rstrip()[-1] for path in other.predict_path(X)] == [label[-1] for label in by_text.predict(X)]


def test_mistakes_are_nearer_with_a_tree():
    """What the tree is for: where classes are told apart badly, the wrong ones are near the right one."""
    X, y = digits()
    X = X[:, ::7]
    train, test = np.arange(600) < 300, np.arange(600) >= 300
    flat = SoftmaxClassifier(C=0.1).fit(X[train], y[train])
    distances = []
    for kind, alpha in (("hierarchical softmax", 0.0), ("hxe", 0.6)):
        model = HierarchicalClassifier(C=0.1, loss=kind, alpha=alpha).fit(X[train], y[train])
        distances.append(model.distance(y[test], model.predict(X[test])).mean())
    assert min(distances) <= model.distance(y[test], flat.predict(X[test])).mean()


@each
@pytest.mark.parametrize("levels", ["/", "dict"])
def test_saved_models_predict_the_same(tmp_path, kind, levels):
    X, y = digits()
    labels = {k: path.split("/") for k, path in enumerate(PATHS.tolist())} if levels == "dict" else levels
    y = np.array([int(label[-1]) for label in y]) if levels == "dict" else y
    model = HierarchicalClassifier(levels=labels, loss=kind, alpha=0.4, class_weight="balanced").fit(X, y)
    model.save(tmp_path / "m")
    loaded = softgrad.load(tmp_path / "m")
    assert isinstance(loaded, HierarchicalClassifier)
    assert (loaded.node_proba(X) == model.node_proba(X)).all()
    assert loaded.predict_path(X[:20], 0.5) == model.predict_path(X[:20], 0.5)
    assert (loaded.get_params()["loss"], loaded.get_params()["alpha"]) == (kind, 0.4)
    assert loaded.fit(X, y).nodes_ == model.nodes_


@each
def test_weights_are_copies_and_warm_starts_go_on(kind):
    X, y = digits()
    times = np.random.default_rng(2).integers(0, 3, len(y))
    weighted = HierarchicalClassifier(loss=kind, tol=1e-9).fit(X, y, times)
    copied = HierarchicalClassifier(loss=kind, tol=1e-9, warm_start=True).fit(np.repeat(X, times, axis=0), np.repeat(y, times))
    np.testing.assert_allclose(weighted.coef_, copied.coef_, atol=1e-6)
    assert copied.fit(np.repeat(X, times, axis=0), np.repeat(y, times)).result_.passes == 1
    assert copied.fit(X, np.char.replace(y, "loop/", "")).result_.passes > 1  # another tree: anew


@each
def test_stochastic_descent_and_grids(kind):
    X, y = digits()
    best = HierarchicalClassifier(C=0.1, loss=kind).fit(X, y)
    found = HierarchicalClassifier(C=0.1, loss=kind, solver=SGD(epochs=20, batch_size=50)).fit(X, y)
    assert found.result_.value == pytest.approx(best.result_.value, rel=3e-2)
    pipeline = make_pipeline(StandardScaler(), HierarchicalClassifier(loss=kind))
    grid = GridSearchCV(pipeline, {"hierarchicalclassifier__C": [1e-5, 1.0]}, cv=3)
    assert grid.fit(X, y).best_params_ == {"hierarchicalclassifier__C": 1.0}


@pytest.mark.parametrize(("options", "y", "rule"), [
    ({}, ["a", "a/b", "c"], "end at leaves"),
    ({"levels": (4, 2)}, ["a", "b", "c"], r"growing lengths.*\(4, 2\)"),
    ({"levels": ""}, ["a", "b", "c"], "levels.*text between names"),
    ({"levels": {"a": "x"}}, ["a", "b", "a"], "path of every label.*'b'"),
    ({"loss": "softmax"}, ["a", "b", "c"], "'hierarchical softmax' or 'hxe'"),
    ({"loss": "hxe", "alpha": -1}, ["a", "b", "c"], "alpha"),
])  # fmt: skip
def test_what_makes_no_tree_is_refused(options, y, rule):
    with pytest.raises(softgrad.SoftgradError, match=rule):
        HierarchicalClassifier(**options).fit(np.eye(3), y)


def test_other_classifiers_name_it():
    loss = losses.compose(losses.HierarchicalSoftmax((-1, -1, 0, 0)))
    with pytest.raises(softgrad.SoftgradError, match="HierarchicalClassifier"):
        SoftmaxClassifier(loss=loss).fit(np.eye(4), [0, 1, 2, 3])


@each
def test_partial_fit_approaches_the_optimum(kind, tmp_path):
    X, y = digits()
    best = HierarchicalClassifier(loss=kind).fit(X, y)
    model, rng = HierarchicalClassifier(loss=kind), np.random.default_rng(0)
    for _ in range(300):
        batch = rng.choice(len(y), 50, replace=False)
        model.partial_fit(X[batch], y[batch], classes=PATHS)
    assert model.nodes_ == best.nodes_
    assert model.score(X, y) > 0.7
    assert model.n_iter_[0] == 300
    best.save(tmp_path / "m")
    assert (softgrad.load(tmp_path / "m").partial_fit(X, y).coef_ == best.partial_fit(X, y).coef_).all()


@each
def test_partial_fit_of_labels_side_by_side_is_a_softmaxs(kind):
    X, y = load_iris(return_X_y=True)
    flat, plain = HierarchicalClassifier(loss=kind, class_weight={0: 2, 1: 1, 2: 1}), SoftmaxClassifier(class_weight={0: 2, 1: 1, 2: 1})
    for k in range(0, 150, 30):
        for model in (flat, plain):
            model.partial_fit(X[k::7], y[k::7], classes=range(3), sample_weight=np.linspace(0, 1, len(y[k::7])))
    np.testing.assert_allclose(flat.coef_, plain.coef_, rtol=1e-12)
    np.testing.assert_allclose(flat.intercept_, plain.intercept_, rtol=1e-12)


def test_partial_fit_refuses():
    X, y = digits()
    with pytest.raises(softgrad.SoftgradError, match="first call"):
        HierarchicalClassifier().partial_fit(X, y)
    with pytest.raises(softgrad.SoftgradError, match=r"among classes_.*'line/1'"):
        HierarchicalClassifier().partial_fit(X[1:2], y[1:2], classes=["a/b", "a/c"])
