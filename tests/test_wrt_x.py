"""Gradients by features: every loss with a linear head, every kind of rows, every kernel; the rest of the pass keeps its bits."""

import numpy as np
import pytest
import zoo
from family import CASES, MEMBERS

import softgrad
from softgrad import kernels, threads
from softgrad.kernels import native

LINEAR = [case for case in CASES if MEMBERS[case[0]].make().head.linear]


@pytest.mark.parametrize(("name", "kind"), LINEAR)
def test_every_loss_has_a_gradient_by_features(name, kind):
    member = MEMBERS[name]
    loss, (_, y, r, _) = member.make(), member.rows(kind, n=30)
    rng = np.random.default_rng(8)
    X, coef, b = rng.normal(size=(30, 4)), rng.normal(size=(member.n_scores, 4)), rng.normal(size=member.n_scores)
    plain = softgrad.linear_value_and_grad(X, y, coef, b, loss=loss, l2=0.2, sample_weight=r)
    *same, dX = softgrad.linear_value_and_grad(X, y, coef, b, loss=loss, l2=0.2, sample_weight=r, wrt_X=True)
    assert [np.asarray(a).tobytes() for a in same] == [np.asarray(a).tobytes() for a in plain]
    expected = loss.value_and_grad(X @ coef.T + b, y, sample_weight=r)[1] @ coef
    assert np.allclose(dX, expected, rtol=0, atol=1e-12 * max(1, np.abs(expected).max()))


@pytest.mark.parametrize("compiled", [True, False])
@pytest.mark.parametrize("C", [3, 50])
@pytest.mark.parametrize("features", zoo.FEATURES)
def test_every_kind_of_rows_has_a_gradient(features, C, compiled, monkeypatch):
    if not compiled:
        monkeypatch.setattr(native, "module", None)
        monkeypatch.setattr("softgrad.losses.loss.schedules", [])
    X, y, coef, b = zoo.head(features, C, 700, 23)
    r = np.random.default_rng(5).integers(0, 3, size=700).astype(float)
    dense = np.asarray(X.toarray() if hasattr(X, "toarray") else X, np.float64)
    loss = softgrad.losses.cross_entropy(label_smoothing=0.1)
    expected = loss.value_and_grad(dense @ coef.T.astype(np.float64) + b, y, sample_weight=r)[1] @ coef
    found = []
    for n in (1, 2, 3):
        with threads.limit(n):
            dX = softgrad.linear_value_and_grad(X, y, coef, b, loss=loss, sample_weight=r, wrt_X=True)[3]
        found.append(dX.tobytes())
    assert len(set(found)) == 1
    assert dX.dtype == (np.float64 if features.endswith("float64") else np.float32)
    assert (dX[r == 0] == 0).all()
    assert np.abs(dX - expected).max() <= (1e-13 if dX.dtype == np.float64 else 1e-4) * np.abs(expected).max()


def test_a_kernel_that_cannot_is_not_chosen():
    loss = softgrad.losses.cross_entropy()
    for features in zoo.FEATURES:
        X = zoo.head(features, 3, 20, 5)[0]
        assert kernels.choose(X, 3, loss, wrt_X=True).writes_out


def test_rows_on_disk_have_none(tmp_path):
    np.save(tmp_path / "X.npy", np.eye(3))
    np.save(tmp_path / "y.npy", [0, 1, 2])
    with pytest.raises(softgrad.SoftgradError, match="rows on disk"):
        softgrad.linear_value_and_grad(softgrad.data.stream(tmp_path / "X.npy").X, [0, 1, 2], np.eye(3), wrt_X=True)
