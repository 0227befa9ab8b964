"""Numbers of other programs, on data that all of them were run on: Stata and R by way of statsmodels, scikit-learn, R glmnet."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import softgrad
from softgrad import SoftmaxClassifier
from softgrad.losses import cross_entropy

REFERENCE = Path(__file__).resolve().parents[2] / "shared" / "data" / "reference"
absent = pytest.mark.skipif(not REFERENCE.is_dir(), reason="the reference values lie in ../shared/data, which is absent")


def election():
    """The 1996 election study, features as the reference names them (without the constant), classes 0 to 6."""
    rows = np.genfromtxt(REFERENCE / "statsmodels/anes96.csv", names=True, delimiter="\t")
    X = np.column_stack([np.log(rows["popul"] + 0.1), *(rows[name] for name in ("selfLR", "age", "educ", "income"))])
    return X, rows["PID"].astype(int)


@absent
def test_multinomial_logit_of_stata():
    X, y = election()
    told = json.loads((REFERENCE / "statsmodels/mnlogit_reference.json").read_text())["mnlogit_basezero"]
    params = np.array(told["params"]).reshape(6, 6)  # class 1..6 against class 0: five features, then the constant
    model = SoftmaxClassifier(C=np.inf, tol=1e-10, max_iter=500).fit(X, y)
    ours = np.column_stack([model.coef_ - model.coef_[0], model.intercept_ - model.intercept_[0]])[1:]
    np.testing.assert_allclose(ours, params, rtol=2e-5, atol=2e-7)  # seven digits are printed
    assert 0 <= -model.result_.value * len(y) - told["llf"] < 1e-7  # ours is the higher by what their last step left
    fitted = np.loadtxt(REFERENCE / "statsmodels/phat_mnlogit.csv")
    np.testing.assert_allclose(model.predict_proba(X), fitted, atol=2e-6)


@absent
def test_multinomial_loss_of_scikit_learn():
    told = json.loads((REFERENCE / "sklearn/multinomial_loss_ground_truth.json").read_text())
    X, y, r = np.array(told["X"]), np.array(told["y"]), np.array(told["sample_weight"])
    coef, b = np.array(told["weights"]).T, np.array(told["intercept"])
    loss = cross_entropy()(X @ coef.T + b, y, sample_weight=r, reduction="sum")
    assert loss == pytest.approx(told["loss"], rel=1e-14)
    value, G, _ = softgrad.linear_value_and_grad(X, y, coef, b, sample_weight=r)
    assert value * r.sum() == pytest.approx(told["loss"], rel=1e-14)
    np.testing.assert_allclose(G.T * r.sum(), told["grad"], atol=1e-6)  # six decimals are told


def test_three_classes_of_glmnet():
    """scikit-learn's own test of identifiability, its numbers from R glmnet: lambda = 1 on the mean loss."""
    x = np.array([[-4, 0], [-3, 0], [-2, 1], [-1, 0], [0, 1], [1, 1], [2, 1], [3, 0], [4, 0]], float)
    model = SoftmaxClassifier(C=1 / 9, tol=1e-12).fit(x, np.repeat([0, 1, 2], 3))
    np.testing.assert_allclose(model.intercept_, [-0.12004759652, 0.2251747383, -0.1051271418], atol=1e-5)
    told = [[-0.38023389305, -0.01226499932], [-8.164030176e-05, 0.04734548012], [0.3803155334, -0.0350804808]]
    np.testing.assert_allclose(model.coef_, told, atol=1e-5)


@absent
def test_classifier_on_whole_cifar10_reaches_the_known_optimum(real_data):
    data = softgrad.data.load(real_data)
    model = SoftmaxClassifier(C=0.02 / 255**2, tol=1e-2).fit(data.X, data.y)  # pixels / 255 at C = 0.02, as they are in their bytes
    assert model.result_.value == pytest.approx(1.647719, abs=2e-6)
    assert model.score(data.X_test, data.y_test) == pytest.approx(0.416, abs=0.002)
    assert model.result_.passes < 25
