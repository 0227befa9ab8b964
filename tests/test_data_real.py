"""Readers on the real sets of ../shared/data: whole files, real sizes, real names."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from softgrad.data import load

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"
pytestmark = pytest.mark.skipif(not SHARED.is_dir(), reason="the real sets lie in ../shared/data, which is absent")


def test_cifar10(real_data):
    tracemalloc.start()
    data = load(real_data)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1.1 * (data.X.nbytes + data.X_test.nbytes)  # never twice in memory
    assert (data.X.shape, data.X_test.shape, data.X.dtype) == ((50000, 3072), (10000, 3072), np.uint8)
    assert np.bincount(data.y).tolist() == [5000] * 10
    assert np.bincount(data.y_test).tolist() == [1000] * 10
    assert data.classes == ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
    assert data.own_test
    # Means over all pixels that everybody's normalisation constants repeat: 0.4914, 0.4822, 0.4465
    mean = data.image(data.X.mean(0)).mean((0, 1)) / 255
    assert np.allclose(mean, [0.4914, 0.4822, 0.4465], atol=2e-4)
    # A picture is smooth along rows and columns; a wrong layout is not
    picture = data.image(data.X[0]).astype(int)
    shuffled = data.X[0].reshape(32, 32, 3).astype(int)
    assert np.abs(np.diff(picture, axis=1)).mean() < np.abs(np.diff(shuffled, axis=1)).mean() / 1.5


def test_fashion_mnist(real_data):
    data = load(real_data / "fashion-mnist")
    assert (data.X.shape, data.X_test.shape, data.X.dtype) == ((60000, 784), (10000, 784), np.uint8)
    assert np.bincount(data.y).tolist() == [6000] * 10
    assert (data.image_shape, data.classes[9], data.own_test) == ((28, 28), "Ankle boot", True)
    # Row 0 is an ankle boot: its sole fills the bottom, nothing is above it
    assert data.classes[data.y[0]] == "Ankle boot"
    picture = data.image(data.X[0])
    assert picture[:3].sum() == 0
    assert (picture[24] > 0).mean() > 0.8


@pytest.mark.parametrize(
    ("source", "shape", "test_shape", "n_classes", "name"),
    [
        ("banking77/banking77_tfidf.npz", (10003, 10088), (3080, 10088), 77, "activate_my_card"),
        ("onet/onet_titles_tfidf.npz", (42617, 20761), (10137, 20761), 1016, "11-1011.03"),
    ],
)
def test_sparse_text(source, shape, test_shape, n_classes, name):
    data = load(SHARED / source)
    assert (data.X.format, data.X.shape, data.X_test.shape) == ("csr", shape, test_shape)
    assert (data.X.dtype, data.n_classes, data.classes[1]) == (np.float32, n_classes, name)
    assert set(data.y) == set(range(n_classes))
    assert np.allclose(data.X.multiply(data.X).sum(1), 1, atol=1e-5)  # tf-idf rows of length 1
    assert data.image_shape is None


def test_features_of_a_network():
    data = load(SHARED / "predictions" / "cifar10_test_resnet20_64.npz")
    assert (data.X.shape, data.X_test.shape, data.X.dtype) == ((8000, 64), (2000, 64), np.float32)
    assert np.bincount(data.y_test).tolist() == [200] * 10
