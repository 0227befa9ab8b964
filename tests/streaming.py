"""What the tests of rows on disk share: a small problem as a pair of files; what has to be the same; the form of a refusal."""

import warnings

import numpy as np
import pytest

import softgrad
from softgrad.arrays import SoftgradError
from softgrad.data import stream


def head(N=2000, D=12, C=3, dtype=np.float16):
    """Rows (N, D), labels that follow from them, coefficients (C, D)."""
    rng = np.random.default_rng([N, D, C])
    X = rng.normal(size=(N, D)).astype(dtype)
    W = rng.normal(size=(C, D))
    return X, (X @ W.T + rng.normal(size=(N, C))).argmax(axis=1), W


def write_pair(folder, X, y):
    """X.npy and y.npy; the path of the rows."""
    np.save(folder / "X.npy", X)
    np.save(folder / "y.npy", y)
    return folder / "X.npy"


def small_blocks(monkeypatch):
    """Blocks so small that tests have many of them."""
    monkeypatch.setattr("softgrad.blocks.memory.WORK", 3e3)


def same(data, X, y):
    """Rows, labels, one pass and one fit have the bits that rows in memory give."""
    dense = data.X[:].toarray() if hasattr(data.X, "indptr") else data.X[:]
    np.testing.assert_array_equal(dense, X.toarray() if hasattr(X, "indptr") else X)
    assert data.X.dtype == dense.dtype
    np.testing.assert_array_equal(data.y, y)
    W = np.random.default_rng(0).normal(size=(data.n_classes, data.n_features)) / data.n_features
    for ours, theirs in zip(softgrad.linear_value_and_grad(data.X, data.y, W), softgrad.linear_value_and_grad(X, y, W), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    if X.shape[0] < X.shape[1]:
        return  # from memory such a fit is done in the space of the rows
    model = softgrad.SoftmaxClassifier(max_iter=3, tol=1e-9)
    with warnings.catch_warnings(action="ignore"):  # three steps show enough
        np.testing.assert_array_equal(model.fit(data.X, data.y).coef_, model.fit(X, y).coef_)
    assert model.coef_.any()
    np.testing.assert_array_equal(model.predict(data.X), model.predict(X))


def refused(source, *words, **options):
    """The one line of the refusal holds all the words."""
    with pytest.raises(SoftgradError) as caught:
        stream(source, **options)
    message = str(caught.value)
    assert "\n" not in message
    for word in words:
        assert word in message, message


def bfloat16(X):
    """Bits of float32 numbers that bfloat16 holds, and these numbers."""
    bits = np.ascontiguousarray(X, np.float32).view(np.uint32) >> 16
    return bits.astype("<u2"), (bits << 16).view(np.float32)
