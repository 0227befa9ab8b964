"""`data.stream`: every format against the same rows from memory, and what is said of files that do not fit."""

from __future__ import annotations

import json

import numpy as np
import pytest
from reading import idx_bytes, write_binary, write_mnist
from streaming import bfloat16, head, refused, same, small_blocks, write_pair

import softgrad
from softgrad import cli
from softgrad.data import load, stream

# ---- .npy --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("stored", "handed_out"),
    [
        *((kind, kind) for kind in ("<f2", "<f4", "<f8", "|u1")),
        *((">f2", "f2"), (">f4", "f4"), (">f8", "f8"), ("|b1", "u1")),
        *((kind, "f8") for kind in ("<i8", ">i4", "<i2", "<u2", "|i1")),  # as from memory
    ],
)
def test_npy_of_every_type(tmp_path, monkeypatch, stored, handed_out):
    small_blocks(monkeypatch)
    X, y, _ = head()
    X = (np.abs(X) * 10).astype(stored)
    same(stream(write_pair(tmp_path, X, y)), X.astype(handed_out), y)


def test_bfloat16_is_what_numpy_stores_as_v2(tmp_path):
    X, y, _ = head()
    bits, X = bfloat16(X)
    same(stream(write_pair(tmp_path, bits.view("V2"), y)), X, y)


def test_a_pair_of_files_text_labels_and_a_test_twin(tmp_path):
    X, y, _ = head()
    for split, rows in (("train", slice(0, 1500)), ("test", slice(1500, None))):
        np.save(tmp_path / f"emb_{split}.npy", X[rows])
        np.save(tmp_path / f"lab_{split}.npy", np.array(["a", "b", "c"])[y[rows]])
    data = stream(f"{tmp_path / 'emb_train.npy'},{tmp_path / 'lab_train.npy'}")
    same(data, X[:1500], y[:1500])
    np.testing.assert_array_equal(data.X_test[:], X[1500:])
    np.testing.assert_array_equal(data.y_test, y[1500:])
    assert (data.classes, data.own_test) == (("a", "b", "c"), True)


def test_pictures_keep_their_shape(tmp_path):
    X = np.random.default_rng(0).integers(0, 255, (30, 4, 5, 3), np.uint8)
    path = write_pair(tmp_path, X, np.arange(30) % 3)
    assert (stream(path).image_shape, stream(path).unit) == ((4, 5, 3), 255.0)
    same(stream(path), X.reshape(30, -1), np.arange(30) % 3)


def test_npy_that_cannot_be_streamed(tmp_path):
    X, y, _ = head()
    refused(write_pair(tmp_path, np.asfortranarray(X), y), "rows must lie one after the other", "in columns")
    refused(write_pair(tmp_path, X[:, 0], y), "shape (2000,)")
    refused(write_pair(tmp_path, X.astype(np.complex64), y), "rows must be numbers", "complex64")
    refused(write_pair(tmp_path, X, y[:-1]), "one label per row", "2000 rows and 1999 labels")


# ---- shards ------------------------------------------------------------------------------------------------------------

NAMES = {"X_{}.npy": "y_{}.npy", "part{}_X.npy": "part{}_y.npy", "part{}.npy": "part{}_labels.npy"}


@pytest.mark.parametrize("rows", NAMES)
def test_shards_in_the_order_of_their_numbers(tmp_path, monkeypatch, rows):
    small_blocks(monkeypatch)
    X, y, _ = head()
    for k, cut in enumerate(np.array_split(np.arange(len(y)), 11)):  # shard 10 comes after shard 9
        np.save(tmp_path / rows.format(k), X[cut])
        np.save(tmp_path / NAMES[rows].format(k), y[cut])
    data = stream(tmp_path)
    same(data, X, y)
    k = np.sort(np.random.default_rng(0).choice(len(y), 500, replace=False))
    np.testing.assert_array_equal(data.X[k], X[k])


def test_shards_with_a_test_split(tmp_path):
    X, y, _ = head()
    for name, rows in {"train_0": slice(0, 700), "train_1": slice(700, 1400), "test_0": slice(1400, None)}.items():
        np.save(tmp_path / f"{name}_X.npy", X[rows])
        np.save(tmp_path / f"{name}_y.npy", y[rows])
    data = stream(tmp_path)
    same(data, X[:1400], y[:1400])
    np.testing.assert_array_equal(data.X_test[:], X[1400:])


@pytest.mark.parametrize(
    ("second", "words"),
    [
        (lambda X: X[:, :-1], ("rows of 12 values of float16", "11 of float16", "X_1.npy")),
        (lambda X: X.astype(np.float32), ("rows of 12 values of float16", "12 of float32")),
        (lambda X: X[:-1], ("one label per row", "1000 labels")),
    ],
)
def test_shards_that_do_not_fit(tmp_path, second, words):
    X, y, _ = head()
    for k, rows in enumerate((X[:1000], second(X[1000:]))):
        np.save(tmp_path / f"X_{k}.npy", rows)
        np.save(tmp_path / f"y_{k}.npy", y[1000 * k :][:1000])
    refused(tmp_path, *words)


def test_shards_without_labels(tmp_path):
    np.save(tmp_path / "a.npy", np.zeros((2, 2)))
    refused(tmp_path, "every shard must have its labels", "a.npy")


# ---- CIFAR-10 and IDX --------------------------------------------------------------------------------------------------


def test_cifar(tmp_path):
    write_binary(tmp_path / "cifar-10-batches-bin")
    data, memory = stream(tmp_path), load(tmp_path)
    same(data, memory.X, memory.y)
    np.testing.assert_array_equal(data.X_test[:], memory.X_test)
    assert (data.classes, data.image_shape, data.layout) == (memory.classes, memory.image_shape, memory.layout)
    batch = tmp_path / "cifar-10-batches-bin" / "data_batch_2.bin"
    batch.write_bytes(batch.read_bytes()[:-1])
    refused(tmp_path, "data_batch_2.bin", "truncated")


def test_idx(tmp_path):
    write_mnist(tmp_path)
    data, memory = stream(tmp_path), load(tmp_path)
    same(data, memory.X, memory.y)
    np.testing.assert_array_equal(data.X_test[:], memory.X_test)
    np.testing.assert_array_equal(stream(tmp_path / "train-images-idx3-ubyte").X[:], memory.X)
    images = tmp_path / "train-images-idx3-ubyte"
    images.write_bytes(images.read_bytes()[:-1])
    refused(tmp_path, "train-images", "truncated")


def test_idx_of_big_endian_floats(tmp_path):
    X = np.random.default_rng(0).normal(size=(30, 4, 3)).astype(np.float32)
    (tmp_path / "train-images-idx3-ubyte").write_bytes(idx_bytes(X))
    (tmp_path / "train-labels-idx1-ubyte").write_bytes(idx_bytes((np.arange(30) % 3).astype(np.uint8)))
    same(stream(tmp_path), X.reshape(30, -1), np.arange(30) % 3)


def test_zipped_idx_cannot_be_streamed(tmp_path):
    write_mnist(tmp_path, "{}-{}-idx{}-ubyte.gz")
    refused(tmp_path, "gunzip")


def test_real_sets(real_data):
    for name in ("cifar-10-batches-bin", "fashion-mnist"):
        data, memory = stream(real_data / name, memory_limit="64MiB"), load(real_data / name)
        k = np.sort(np.random.default_rng(0).choice(len(memory.y), 200, replace=False))
        np.testing.assert_array_equal(data.X[k], memory.X[k])
        np.testing.assert_array_equal(data.y, memory.y)
        np.testing.assert_array_equal(data.X_test[:], memory.X_test)


# ---- the door ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("limit", "size"),
    [("64MiB", 64 << 20), ("2GiB", 2 << 30), ("1GB", 10**9), (" 1.5 gib ", 3 << 29), ("2000000", 2_000_000), (1 << 20, 1 << 20)],
)
def test_memory_limits(tmp_path, limit, size):
    X, y, _ = head(N=50)
    assert stream(write_pair(tmp_path, X, y), memory_limit=limit).X.memory_limit == size


@pytest.mark.parametrize("limit", ["", "much", "-1GiB", "1TB2", "1MB", 0, -5, 1.5e9, None, True])
def test_memory_limits_that_are_none(tmp_path, limit):
    X, y, _ = head(N=50)
    refused(write_pair(tmp_path, X, y), "memory_limit must be at least 1 MiB", repr(limit), memory_limit=limit)


def test_sources_that_cannot_be_streamed(tmp_path):
    (tmp_path / "a.csv").write_text("1,2\n")
    refused(tmp_path / "a.csv", "can be streamed", "use load()")
    refused(tmp_path / "none.npy", "must exist")
    refused(tmp_path, "the folder must hold what can be streamed", "a.csv")
    refused(tmp_path / "a.csv", "label= goes with .parquet only", label="a")
    refused(3, "source must be a path")


# ---- the command -------------------------------------------------------------------------------------------------------


def test_fit_from_disk_on_the_command_line(tmp_path, capsys):
    X, y, _ = head()
    path = write_pair(tmp_path, X, y)
    words = ["fit", str(path), "--json", "--quiet", "--no-pictures", "--out", str(tmp_path / "fit")]
    assert cli.main([*words, "--memory-limit", "64MiB"]) == 0
    metrics = json.loads(capsys.readouterr().out)
    assert (metrics["rows"], metrics["test_rows"], metrics["test_size"], metrics["converged"]) == (2000, 0, 0.0, True)
    model = softgrad.load(tmp_path / "fit" / "model.safetensors")
    np.testing.assert_array_equal(model.coef_, softgrad.SoftmaxClassifier(random_state=0).fit(X, y).coef_)
    assert cli.main([*words, "--memory-limit", "lots"]) == 1
    assert "memory_limit must be at least 1 MiB" in capsys.readouterr().err
