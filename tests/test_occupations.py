"""Long tails, many labels and trees on real text: job titles and the codes of their occupations, which form a tree by their digits."""

from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import f1_score, recall_score

import softgrad
from softgrad import HierarchicalClassifier, MultiLabelClassifier, SoftmaxClassifier, losses

TITLES = Path(__file__).resolve().parents[2] / "shared" / "data" / "onet" / "onet_titles_tfidf.npz"
GROUPS = ("15", "21", "31")  # 2,195 rows of 76 classes: enough to see, and fitted in seconds
LEVELS = (2, 4, 6, 7)


class Titles(NamedTuple):
    """Rows and codes of some groups, features that occur in the training rows alone."""

    X: Any
    codes: np.ndarray
    X_test: Any
    codes_test: np.ndarray


@pytest.fixture(scope="module")
def titles(real_data):
    found = softgrad.data.load(TITLES)
    codes, codes_test = (np.array(found.classes)[y] for y in (found.y, found.y_test))
    kept, known = (np.isin(part.astype("U2"), GROUPS) for part in (codes, codes_test))
    columns = np.unique(found.X[kept].indices)
    return Titles(found.X[kept][:, columns].astype(float), codes[kept], found.X_test[known][:, columns].astype(float), codes_test[known])


def macro_recall(y, found):
    return recall_score(y, found, labels=np.unique(y), average="macro", zero_division=0)


def test_logit_adjustment_finds_rare_occupations(titles):
    """In a linear classifier it moves the intercepts, which are not penalised, and nothing else: training and adjusting are one."""
    counts = np.unique(titles.codes, return_counts=True)[1]
    log_prior = np.log(counts / counts.sum())
    plain = SoftmaxClassifier(tol=1e-7, max_iter=1000).fit(titles.X, titles.codes)
    adjusted = SoftmaxClassifier(loss=losses.logit_adjusted(counts), tol=1e-7, max_iter=1000).fit(titles.X, titles.codes)
    assert adjusted.result_.value == pytest.approx(plain.result_.value, rel=1e-9)
    np.testing.assert_allclose(adjusted.coef_, plain.coef_, atol=2e-4)
    moved = plain.intercept_ - log_prior
    np.testing.assert_allclose(adjusted.intercept_, moved - moved.mean(), atol=2e-3)
    after = plain.classes_[losses.adjusted_scores(plain.decision_function(titles.X_test), counts).argmax(axis=1)]
    found = adjusted.predict(titles.X_test)
    assert np.mean(found == after) > 0.995
    assert macro_recall(titles.codes_test, found) > macro_recall(titles.codes_test, plain.predict(titles.X_test)) + 0.05


def of_levels(codes, labels):
    return np.array([[code.startswith(label) for label in labels] for code in codes], np.int8)


def test_levels_as_many_labels(titles):
    labels = [label for k in LEVELS[:2] for label in np.unique(titles.codes.astype(f"U{k}")).tolist()]
    Y, Y_test = of_levels(titles.codes, labels), of_levels(titles.codes_test, labels)
    model = MultiLabelClassifier(tol=1e-7, max_iter=1000).fit(titles.X, Y)
    ours = model.predict_proba(titles.X_test)
    for j in range(0, len(labels), 5):
        one = LogisticRegression(tol=1e-8, max_iter=2000).fit(titles.X, Y[:, j])
        np.testing.assert_allclose(ours[:, j], one.predict_proba(titles.X_test)[:, 1], atol=1e-4)
        assert np.mean(model.predict(titles.X_test)[:, j] == one.predict(titles.X_test)) > 0.998
    macro = {}
    for loss in (losses.binary_cross_entropy(), losses.asymmetric(), losses.zlpr()):
        fitted = MultiLabelClassifier(loss=loss, max_iter=1000).fit(titles.X, Y)
        assert fitted.result_.converged
        macro[type(loss.link).__name__] = f1_score(Y_test, fitted.predict(titles.X_test), average="macro", zero_division=0)
    assert macro["Asymmetric"] > macro["Sigmoid"] + 0.03
    assert macro["ZLPR"] > 0.55


@pytest.mark.parametrize("kind", ["hierarchical softmax", "hxe"])
def test_codes_as_a_tree(titles, kind):
    flat = SoftmaxClassifier(max_iter=1000).fit(titles.X, titles.codes)
    model = HierarchicalClassifier(levels=LEVELS, loss=kind, max_iter=1000).fit(titles.X, titles.codes)
    link = losses.HXE(model.tree_, 0.1) if kind == "hxe" else losses.HierarchicalSoftmax(model.tree_)
    y, l2 = np.searchsorted(model.classes_, titles.codes), 1 / len(titles.codes)
    _, G, g = softgrad.linear_value_and_grad(titles.X, y, model.coef_, model.intercept_, loss=losses.compose(link), l2=l2)
    assert max(np.abs(G).max(), np.abs(g).max()) <= 1.01e-5
    found, beside = (m.predict(titles.X_test) for m in (model, flat))
    right, flat_right = ([np.mean(z.astype(f"U{k}") == titles.codes_test.astype(f"U{k}")) for k in (*LEVELS, 10)] for z in (found, beside))
    assert all(a >= b for a, b in pairwise(right))
    distance, flat_distance = (model.distance(titles.codes_test, z).mean() for z in (found, beside))
    if kind == "hxe":  # weighs the decisions next to the leaves most: no nearer mistakes here
        assert right[-1] > flat_right[-1] - 0.03
    else:
        assert distance < flat_distance - 0.1
        assert all(a > b for a, b in zip(right, flat_right, strict=True))
