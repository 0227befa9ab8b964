"""Rows on disk: the bits of the same rows in memory, within the memory limit, and a clear error where a file is not what it was."""

from __future__ import annotations

import os
import pickle
import sys
import threading
from dataclasses import replace

import numpy as np
import pytest
from streaming import head, rise_of_peak, small_blocks, write_pair

import softgrad
from softgrad import blocks
from softgrad import threads as threads_room
from softgrad.arrays import SoftgradError
from softgrad.blocks.memory import MemoryRows
from softgrad.data import stream
from softgrad.losses import cross_entropy
from softgrad.row_source import AbstractRowSource, runs


def test_the_same_bits_as_from_memory(tmp_path, threads, monkeypatch):
    small_blocks(monkeypatch)
    X, y, W = head()
    data = stream(write_pair(tmp_path, X, y))
    assert isinstance(data.X, AbstractRowSource)
    for loss in (cross_entropy(), cross_entropy(label_smoothing=0.1)):
        value, G, g = softgrad.linear_value_and_grad(X, y, W, loss=loss, l2=0.1)
        value_disk, G_disk, g_disk = softgrad.linear_value_and_grad(data.X, data.y, W, loss=loss, l2=0.1)
        assert value == value_disk
        np.testing.assert_array_equal(G, G_disk)
        np.testing.assert_array_equal(g, g_disk)


@pytest.mark.parametrize("n", [1, 2, 3, 8])
def test_smaller_blocks_give_the_bits_of_the_same_blocks_in_memory(tmp_path, n):
    X, y, W = head(N=30_000)
    source = replace(stream(write_pair(tmp_path, X, y)).X, memory_limit=1 << 20)
    rows = blocks.rows(source, y, np.ones(len(y)), len(W))
    assert rows.n_blocks == 22  # 64 KiB of floats in each
    kernel = softgrad.kernels.choose(X, len(W), cross_entropy())
    arguments = (cross_entropy(), W.astype(np.float32), np.zeros(len(W), np.float32), 1.0)
    with threads_room.limit(n):
        ours = rows.sum(kernel.sums, *arguments)
    for a, b in zip(ours, MemoryRows(X, y, np.ones(len(y)), rows.n_blocks).sum(kernel.sums, *arguments), strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_fit_and_its_predictions(tmp_path, threads):
    X, y, _ = head(N=3000)
    data = stream(write_pair(tmp_path, X, y))
    weight = np.random.default_rng(1).uniform(0, 2, len(y)) * (np.arange(len(y)) % 3 > 0)
    ours = softgrad.SoftmaxClassifier(class_weight="balanced").fit(data.X, data.y, weight)
    theirs = softgrad.SoftmaxClassifier(class_weight="balanced").fit(X, y, weight)
    np.testing.assert_array_equal(ours.coef_, theirs.coef_)
    np.testing.assert_array_equal(ours.intercept_, theirs.intercept_)
    np.testing.assert_array_equal(ours.predict_proba(data.X), theirs.predict_proba(X))
    assert ours.n_features_in_ == X.shape[1]


def test_fewer_rows_than_features_reach_the_same_optimum(tmp_path):
    X, y, _ = head(N=60, D=100)
    data = stream(write_pair(tmp_path, X, y))
    ours = softgrad.SoftmaxClassifier(C=0.1, tol=1e-6).fit(data.X, data.y)
    theirs = softgrad.SoftmaxClassifier(C=0.1, tol=1e-6).fit(X, y)  # in the space of the rows
    assert ours.result_.converged
    assert ours.result_.value == pytest.approx(theirs.result_.value, rel=1e-6)


@pytest.mark.parametrize("dtype", ["float32", "float64", "uint8"])
def test_a_fit_within_a_small_limit(tmp_path, dtype):
    X, y, _ = head(N=4000, D=200)
    X = (X * 20 + 100).clip(0, 255).astype(dtype) if dtype == "uint8" else X.astype(dtype)
    data = stream(write_pair(tmp_path, X, y), memory_limit="1MiB")
    scale = 400.0 if dtype == "uint8" else 1.0
    ours = softgrad.SoftmaxClassifier(C=1 / scale, tol=1e-5 * scale**0.5, max_iter=2000).fit(data.X, data.y)
    theirs = softgrad.SoftmaxClassifier(C=1 / scale, tol=1e-5 * scale**0.5).fit(X, y)
    assert ours.result_.value == pytest.approx(theirs.result_.value, rel=1e-4)


def test_two_classes_and_a_two_dimensional_target(tmp_path):
    X, y, W = head(C=2)
    data = stream(write_pair(tmp_path, X, y))
    np.testing.assert_array_equal(softgrad.SoftmaxClassifier().fit(data.X, y).coef_, softgrad.SoftmaxClassifier().fit(X, y).coef_)
    q = np.random.default_rng(0).dirichlet(np.ones(2), len(X))
    assert softgrad.linear_value_and_grad(data.X, q, W)[0] == softgrad.linear_value_and_grad(X, q, W)[0]


def test_slices_and_picked_rows(tmp_path):
    X, y, _ = head(N=50)
    source = stream(write_pair(tmp_path, X, y)).X
    assert (source.shape, source.dtype, source.ndim, len(source)) == (X.shape, X.dtype, 2, 50)
    k = np.array([0, 1, 2, 7, 30, 31, 49])
    for key in (slice(None), slice(3, 17), slice(40, 80), slice(9, 3), slice(0, 50, 7), slice(-5, None), k, k[:0], k[::-1]):
        np.testing.assert_array_equal(source[key], X[key])
    assert runs(k) == [(0, 3), (7, 8), (30, 32), (49, 50)]
    assert repr(source) == "FixedRows(50 x 12, float16)"


def test_a_source_travels_and_leaves_no_thread_behind(tmp_path):
    X, y, W = head()
    source = stream(write_pair(tmp_path, X, y)).X
    copy = pickle.loads(pickle.dumps(source))
    assert copy == source
    assert softgrad.linear_value_and_grad(copy, y, W)[0] == softgrad.linear_value_and_grad(X, y, W)[0]
    assert not [t for t in threading.enumerate() if t.name.startswith("softgrad-disk")]


def test_nobody_waits_for_ever_when_the_rest_is_not_wanted(tmp_path):
    X, y, _ = head(N=30_000)
    source = replace(stream(write_pair(tmp_path, X, y)).X, memory_limit=1 << 20)
    rows = blocks.rows(source, y, np.ones(len(y)), 3)
    walk = rows.each(lambda block: len(block.r))
    assert next(walk) > 0
    walk.close()

    def fail(block):
        raise ZeroDivisionError

    for n in (1, 2, 8):
        with threads_room.limit(n), pytest.raises(ZeroDivisionError):
            rows.sum(fail)
    assert not [t for t in threading.enumerate() if t.name.startswith("softgrad-disk")]


# ---- files that are not what they were ---------------------------------------------------------------------------------


def changed(path, how):
    data, later = path.read_bytes(), path.stat().st_mtime_ns + 5_000_000_000
    if how == "appended":
        path.write_bytes(data + b"\0" * 24)
    elif how == "truncated":
        path.write_bytes(data[: len(data) // 2])
    elif how == "overwritten":
        path.write_bytes(data[:-1] + b"\1")
        os.utime(path, ns=(later, later))  # a clock that is coarser than this test
    elif how == "replaced":
        path.with_suffix(".new").write_bytes(data)
        path.with_suffix(".new").replace(path)
    else:
        path.unlink()


@pytest.mark.parametrize("how", ["appended", "truncated", "overwritten", "replaced", "deleted"])
def test_a_file_that_changes_between_two_passes(tmp_path, how):
    X, y, W = head()
    path = write_pair(tmp_path, X, y)
    source = stream(path).X
    softgrad.linear_value_and_grad(source, y, W)
    changed(path, how)
    for use in (lambda: softgrad.linear_value_and_grad(source, y, W), lambda: source[3:5], lambda: source[np.array([1, 4])]):
        with pytest.raises(SoftgradError, match=r"X\.npy: the file must (stay as it was|be readable)"):
            use()


@pytest.mark.parametrize("how", ["truncated", "overwritten"])
def test_a_file_that_changes_in_the_middle_of_a_fit(tmp_path, how):
    X, y, _ = head()
    path = write_pair(tmp_path, X, y)
    source = stream(path).X
    model = softgrad.SoftmaxClassifier(callback=lambda state: changed(path, how))
    with pytest.raises(SoftgradError, match=r"X\.npy: the file must stay as it was"):
        model.fit(source, y)


def test_a_file_that_is_truncated_before_it_is_opened(tmp_path):
    X, y, _ = head()
    path = write_pair(tmp_path, X, y)
    changed(path, "truncated")
    with pytest.raises(SoftgradError, match="truncated"):
        stream(path)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_rows_that_are_not_finite_are_named(tmp_path, bad):
    X, y, W = head()
    X[1234, 5] = bad
    data = stream(write_pair(tmp_path, X, y), memory_limit="1MiB")
    for use in (
        lambda: softgrad.linear_value_and_grad(data.X, y, W),
        lambda: softgrad.SoftmaxClassifier().fit(data.X, y),
        lambda: softgrad.SoftmaxClassifier().fit(X[:1000], y[:1000]).predict(data.X),
    ):
        with pytest.raises(SoftgradError, match="one in row 1234, column 5"):
            use()
    r = np.where(np.arange(len(y)) == 1234, 0.0, 1.0)
    assert np.isfinite(softgrad.linear_value_and_grad(data.X, y, W, sample_weight=r)[0])


def test_what_rows_on_disk_are_refused_for(tmp_path):
    X, y, _ = head()
    source = stream(write_pair(tmp_path, X, y)).X
    with pytest.raises(SoftgradError, match="takes a batch of rows in memory"):
        softgrad.SoftmaxClassifier().partial_fit(source, y, classes=[0, 1, 2])
    with pytest.raises(SoftgradError, match="one label for each of the 2000 rows"):
        softgrad.SoftmaxClassifier().fit(source, y[:-1])
    model = softgrad.SoftmaxClassifier().fit(X[:, :5], y)
    with pytest.raises(SoftgradError, match=r"predict\(X\): must have 5 features, as in fit; got 12"):
        model.predict(source)
    with pytest.raises(SoftgradError, match="memory_limit: one row needs"):
        softgrad.linear_value_and_grad(replace(source, memory_limit=100), y, np.zeros((3, 12)))


# ---- memory ------------------------------------------------------------------------------------------------------------

@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the peak of a process is read from /proc")
@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_the_memory_limit_is_kept(tmp_path, dtype):
    """Rows of several times the limit: the rise of the process's peak over what labels and libraries take stays below it."""
    N, limit = 100_000 if dtype == "float16" else 50_000, 64 << 20
    labels = 100 * N  # the labels as numbers, weights, predictions of 10 classes
    assert rise_of_peak(tmp_path, N, dtype, limit, "softgrad.SoftmaxClassifier(max_iter=5, tol=1e-2).fit(X, y).predict(X)") < limit + labels
