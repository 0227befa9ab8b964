"""Readers of CIFAR-10 and IDX: small sets of every version, and what is said of files that are wrong."""

from __future__ import annotations

import gzip
import io
import os
import pickle
import struct
import tempfile
import warnings
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from reading import NAMES, cifar_rows, idx_bytes, refused, write_binary, write_idx, write_mnist

from softgrad.arrays import SoftgradError
from softgrad.data import load
from softgrad.data.idx import TYPES, read_idx


def test_cifar_binary(tmp_path):
    pictures, labels = write_binary(tmp_path / "cifar-10-batches-bin")
    for source in (tmp_path, tmp_path / "cifar-10-batches-bin", str(tmp_path)):
        data = load(source)
        assert (data.name, data.X.dtype, data.X.shape, data.own_test) == ("cifar-10", np.uint8, (40, 3072), True)
        assert data.X.flags.c_contiguous
        assert data.y.dtype == data.y_test.dtype == np.int64
        assert data.y.tolist() == np.concatenate(labels[:2]).tolist()
        assert data.classes == tuple(NAMES)
        assert data.image_shape == (32, 32, 3)
        assert np.array_equal(data.image(data.X[25]), pictures[1][5])  # pixel (i, j, c)
        assert np.array_equal(data.image(data.X_test[3]), pictures[2][3])


def test_cifar_batch_longer_than_the_reading_chunk(tmp_path):
    pictures, _ = write_binary(tmp_path, batches=(1,), n=1030, test=False)
    data = load(tmp_path, test_size=0.1)
    rows = {row.tobytes() for row in np.vstack([data.X, data.X_test])}
    assert rows == {picture.transpose(2, 0, 1).tobytes() for picture in pictures[0]}


def test_cifar_subset_without_test_and_names(tmp_path):
    write_binary(tmp_path, batches=(4,), n=50, test=False, meta=False)
    data = load(tmp_path)
    assert (len(data.X), len(data.X_test), data.own_test) == (40, 10, False)
    assert data.classes == tuple("0123456789")


def test_cifar_batches_in_order_of_their_numbers(tmp_path):
    pictures, _ = write_binary(tmp_path, batches=(10, 9), test=False, n=10)
    data = load(tmp_path, test_size=0.5)
    first = data.image(data.X[0])
    assert any(np.array_equal(first, picture) for picture in pictures[1])  # batch 9 comes first


def write_pickles(folder, keep=("data_batch_1", "test_batch"), n=20, protocol=2, wide=np.int64):
    """Pickles as Python 2 wrote them: keys and label names are byte strings."""
    folder.mkdir(exist_ok=True, parents=True)
    pictures = []
    for name in keep:
        images, y = cifar_rows(n, seed=len(pictures))
        data = images.transpose(0, 3, 1, 2).reshape(n, -1).copy()
        batch = {b"batch_label": b"batch", b"labels": y.tolist(), b"data": data, b"filenames": [b"a.png"] * n}
        if name == "test_batch":
            batch[b"labels"] = y.astype(wide)
        (folder / name).write_bytes(pickle.dumps(batch, protocol=protocol))
        pictures.append(images)
    meta = {b"label_names": [name.encode() for name in NAMES], b"num_vis": 3072, b"num_cases_per_batch": n}
    (folder / "batches.meta").write_bytes(pickle.dumps(meta, protocol=protocol))
    return pictures


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("wide", ["<i8", ">i2", "u1"])
def test_cifar_python(tmp_path, protocol, wide):
    pictures = write_pickles(tmp_path / "cifar-10-batches-py", protocol=protocol, wide=wide)
    data = load(tmp_path)
    assert (data.X.shape, data.X.dtype, data.classes) == ((20, 3072), np.uint8, tuple(NAMES))
    assert data.y_test.tolist() == list(range(10)) * 2
    assert np.array_equal(data.image(data.X[7]), pictures[0][7])
    assert np.array_equal(data.image(data.X_test[7]), pictures[1][7])


def test_cifar_pickle_as_python2_wrote_it(tmp_path):
    """The official batches: protocol 2, byte strings, numpy.core, and align=0 in the dtype, of which NumPy 2.4 warns."""
    n, data = 10, cifar_rows(10)[0].transpose(0, 3, 1, 2).tobytes()
    out = b"\x80\x02}(U\x04datacnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R"
    out += b"(K\x01K" + bytes([n]) + b"M\x00\x0c\x86cnumpy\ndtype\nU\x02u1K\x00K\x01\x87R"
    out += b"(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89T" + struct.pack("<I", len(data)) + data + b"tb"
    out += b"U\x06labels](" + b"".join(b"K" + bytes([k]) for k in range(n)) + b"eu."
    (tmp_path / "data_batch_1").write_bytes(out)
    (tmp_path / "test_batch").write_bytes(out)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        data = load(tmp_path)
    assert np.array_equal(data.image(data.X[4]), cifar_rows(10)[0][4])


class Evil:
    """Asks to run a function when it is unpickled."""

    def __init__(self, function, *arguments):
        self.call = (function, arguments)

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize(
    ("evil", "name"),
    [
        (Evil(os.system, "touch ran"), f"{os.system.__module__}.system"),
        (Evil(eval, "1"), "eval"),
        (Evil(getattr, 1, "real"), "getattr"),
        (Evil(io.open, "x"), "io.open"),
        (Evil(np.frombuffer, b"1"), "frombuffer"),
        (Path("x"), "pathlib."),
    ],
)
@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_cifar_pickle_runs_nothing(tmp_path, monkeypatch, evil, name, protocol):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data_batch_1").write_bytes(pickle.dumps({b"data": evil}, protocol=protocol))
    refused(tmp_path, "data_batch_1", "found the global", name)
    assert [path.name for path in tmp_path.iterdir()] == ["data_batch_1"]


def test_cifar_pickle_of_objects_or_odd_codecs(tmp_path):
    batch = tmp_path / "data_batch_1"
    batch.write_bytes(pickle.dumps({b"data": np.array([{}, 1], object)}, protocol=2))
    refused(tmp_path, "data_batch_1", "not of numbers")
    batch.write_bytes(b"\x80\x02c_codecs\nencode\nX\x01\x00\x00\x00aX\x03\x00\x00\x00zip\x86R.")
    refused(tmp_path, "codec 'zip'")
    batch.write_bytes(pickle.dumps([1, 2]))
    refused(tmp_path, "must hold a dict", "list")


@pytest.mark.parametrize(
    ("batch", "words"),
    [
        ({}, ["'data' and 'labels'"]),
        ({"data": [1], "labels": [1]}, ["uint8 (N, 3072)", "list"]),
        ({"data": np.zeros((2, 3072)), "labels": [0, 1]}, ["float64"]),
        ({"data": np.zeros((2, 3072), np.uint8), "labels": [0]}, ["one whole number per row", "2 rows"]),
        ({"data": np.zeros((2, 3072), np.uint8), "labels": [[0], 1]}, ["whole"]),
        ({"data": np.zeros((2, 3072), np.uint8), "labels": [0, -1]}, ["0..9", "-1 in row 1"]),
        ({"data": np.zeros((2, 3072), np.uint8), "fine_labels": [0, 1]}, ["CIFAR-100"]),
    ],
)
def test_cifar_pickle_with_other_content(tmp_path, batch, words):
    (tmp_path / "data_batch_1").write_bytes(pickle.dumps(batch))
    refused(tmp_path, "data_batch_1", *words)


def test_cifar_truncated(tmp_path):
    write_binary(tmp_path)
    path = tmp_path / "data_batch_2.bin"
    path.write_bytes(path.read_bytes()[:-10])
    refused(tmp_path, "data_batch_2.bin", "expected 61460 bytes", "found 61450")
    path.write_bytes(b"")
    refused(tmp_path, "expected 3073 bytes", "found 0")


@pytest.mark.parametrize("keep", [0, 1, 1000, -1])
def test_cifar_truncated_pickle(tmp_path, keep):
    write_pickles(tmp_path)
    path = tmp_path / "data_batch_1"
    path.write_bytes(path.read_bytes()[:keep])
    refused(tmp_path, "data_batch_1", "whole")


def test_cifar_label_out_of_range(tmp_path):
    write_binary(tmp_path)
    path = tmp_path / "data_batch_2.bin"
    content = bytearray(path.read_bytes())
    content[4 * 3073] = 77
    path.write_bytes(content)
    refused(tmp_path, "data_batch_2.bin", "0..9", "77 in row 4")


def test_cifar_names_of_another_number(tmp_path):
    write_binary(tmp_path)
    (tmp_path / "batches.meta.txt").write_text("cat\ndog\n")
    refused(tmp_path, "batches.meta.txt", "10 classes", "found 2")
    (tmp_path / "batches.meta.txt").write_bytes(b"\xff\xfe\x00")
    refused(tmp_path, "batches.meta.txt", "UnicodeDecodeError")


@pytest.mark.parametrize("names", [["train.bin", "test.bin", "fine_label_names.txt"], ["train", "test", "meta"]])
def test_cifar100_is_refused(tmp_path, names):
    for name in names:
        (tmp_path / name).write_bytes(b"x")
    refused(tmp_path, "CIFAR-100 is not read")


def test_cifar100_folder_is_refused(tmp_path):
    (tmp_path / "cifar-100-python").mkdir()
    refused(tmp_path, "CIFAR-100 is not read", "cifar-100-python")


def test_one_cifar_batch_points_to_its_folder(tmp_path):
    write_binary(tmp_path)
    refused(tmp_path / "data_batch_1.bin", "read as a folder", str(tmp_path))




@pytest.mark.parametrize(
    ("pattern", "test"),
    [
        ("{}-{}-idx{}-ubyte", "t10k"),
        ("{}-{}-idx{}-ubyte.gz", "t10k"),
        ("{}-{}.idx{}-ubyte", "t10k"),
        ("emnist-balanced-{}-{}-idx{}-ubyte.gz", "test"),
        ("emnist-letters-{}-{}-idx{}-ubyte", "test"),
    ],
)
def test_idx_folder(tmp_path, pattern, test):
    sets = write_mnist(tmp_path / "set", pattern, test=test)
    for source in (tmp_path / "set", tmp_path / "set" / pattern.format("train", "images", 3)):
        data = load(source)
        assert np.array_equal(data.X, sets["train"][0].reshape(30, 12))
        assert np.array_equal(data.y_test, sets[test][1])
        assert (data.X.dtype, data.own_test, data.classes) == (np.uint8, True, tuple("0123456789"))
        assert len(data.X_test) == 20
    picture = sets["train"][0][5]
    if "emnist" in pattern:  # stored column by column
        assert data.name == pattern.split("-{")[0]
        assert data.image_shape == (3, 4)
        assert np.array_equal(data.image(data.X[5]), picture.T)
    else:
        assert (data.name, data.image_shape) == ("set", (4, 3))
        assert np.array_equal(data.image(data.X[5]), picture)


def test_idx_prefers_the_unzipped_file_and_finds_raw(tmp_path):
    write_mnist(tmp_path / "MNIST" / "raw", "{}-{}-idx{}-ubyte.gz")
    write_mnist(tmp_path / "MNIST" / "raw")
    (tmp_path / "MNIST" / "raw" / "train-images-idx3-ubyte.gz").write_bytes(b"broken, and not looked at")
    data = load(tmp_path / "MNIST")
    assert (data.name, data.X.shape) == ("MNIST", (30, 12))


def test_idx_without_test_split(tmp_path):
    write_mnist(tmp_path, test=None)
    data = load(tmp_path)
    assert (len(data.X), len(data.X_test), data.own_test) == (24, 6, False)


def test_idx_test_file_alone_and_file_of_any_name(tmp_path):
    sets = write_mnist(tmp_path)
    data = load(tmp_path / "t10k-images-idx3-ubyte", test_size=0.5)
    assert (len(data.X), data.own_test) == (10, False)
    (tmp_path / "my-images.bin").write_bytes(idx_bytes(sets["train"][0]))
    (tmp_path / "my-labels.bin.gz").write_bytes(gzip.compress(idx_bytes(sets["train"][1])))
    assert len(load(tmp_path / "my-images.bin").X) == 24  # known by its first bytes
    refused(tmp_path / "my-labels.bin.gz", "kind of the file")


def test_fashion_names_come_with_the_folder_name(tmp_path):
    write_mnist(tmp_path / "FashionMNIST" / "raw")
    assert load(tmp_path / "FashionMNIST").classes[9] == "Ankle boot"
    assert load(tmp_path / "FashionMNIST" / "raw").classes[0] == "T-shirt/top"
    write_mnist(tmp_path / "mnist")
    assert load(tmp_path / "mnist").classes[9] == "9"


def test_labels_from_one_keep_their_names(tmp_path):
    """EMNIST letters: 1..26."""
    write_mnist(tmp_path, test=None)
    write_idx(tmp_path / "train-labels-idx1-ubyte", np.arange(30, dtype=np.uint8) % 3 + 1)
    data = load(tmp_path)
    assert data.classes == ("1", "2", "3")
    assert set(data.y) == {0, 1, 2}


ANY_IDX = st.sampled_from(sorted(np.dtype(kind).newbyteorder("=").str for kind in TYPES.values())).flatmap(
    lambda kind: hnp.arrays(np.dtype(kind), hnp.array_shapes(max_dims=4, max_side=5))
)


@settings(max_examples=60, deadline=None)
@given(ANY_IDX, st.booleans())
def test_idx_round_trip(array, zipped):
    content = idx_bytes(array)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "any"
        path.write_bytes(gzip.compress(content) if zipped else content)
        found = read_idx(path)
    assert found.dtype == array.dtype
    assert found.dtype.isnative
    assert found.shape == array.shape
    assert found.tobytes() == array.tobytes()


@settings(max_examples=60, deadline=None)
@given(ANY_IDX, st.data())
def test_idx_of_another_length_is_refused(array, data):
    content = idx_bytes(array)
    keep = data.draw(st.integers(0, len(content) + 1).filter(lambda size: size != len(content)))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "any"
        path.write_bytes((content + b"!")[:keep])
        with pytest.raises(SoftgradError, match=r"truncated or damaged|bad magic"):
            read_idx(path)


@pytest.mark.parametrize("dtype", [np.float32, np.int16])
def test_idx_of_other_types_keeps_them(tmp_path, dtype):
    write_mnist(tmp_path, dtype=dtype)
    assert load(tmp_path).X.dtype == dtype


def test_idx_truncated(tmp_path):
    write_mnist(tmp_path)
    path = tmp_path / "train-images-idx3-ubyte"
    content = path.read_bytes()
    path.write_bytes(content[:-7])
    refused(tmp_path, "train-images", "376 bytes", "found 369", "truncated")
    path.write_bytes(content + b"12")
    refused(tmp_path, "train-images", "376 bytes", "found 377 or more")
    path.write_bytes(content[:6])
    refused(tmp_path, "train-images", "must have 16 bytes", "found 6")
    path.write_bytes(b"\x00\x00\x08\x03" + b"\xff" * 12 + content)  # a header beyond any memory
    refused(tmp_path, "train-images", "truncated")
    path.write_bytes(b"<html>")
    refused(tmp_path, "train-images", "bad magic", "3c 68 74 6d")
    path.write_bytes(b"")
    refused(tmp_path, "bad magic", "no bytes")


@pytest.mark.parametrize("damage", [lambda b: b[:-9], lambda b: b[:4], lambda b: b[:30] + b"\0\0\0" + b[33:]])
def test_idx_damaged_gzip(tmp_path, damage):
    write_mnist(tmp_path, "{}-{}-idx{}-ubyte.gz", n=300)
    path = tmp_path / "train-images-idx3-ubyte.gz"
    path.write_bytes(damage(path.read_bytes()))
    refused(tmp_path, "train-images-idx3-ubyte.gz", "whole")


def test_idx_refusals(tmp_path):
    sets = write_mnist(tmp_path)
    labels = tmp_path / "train-labels-idx1-ubyte"
    refused(labels, "must be the one of the images")
    write_idx(labels, sets["train"][1][:-1])
    refused(tmp_path, "training split", "30 rows and 29 labels")
    write_idx(labels, sets["train"][0])
    refused(tmp_path, "labels must have one dimension", "found 3")
    labels.unlink()
    refused(tmp_path, "found no train-labels-idx1-ubyte[.gz]")
    (tmp_path / "train-images-idx3-ubyte").unlink()
    refused(tmp_path, "must have its training images", "t10k-images")


def test_several_emnist_sets(tmp_path):
    for name in ("letters", "digits"):
        write_mnist(tmp_path, f"emnist-{name}-{{}}-{{}}-idx{{}}-ubyte.gz", test="test")
    message = refused(tmp_path, "found 2", "emnist-letters-train-images", "pass the images file")
    assert "emnist-digits-train-images-idx3-ubyte.gz" in message
    assert load(tmp_path / "emnist-digits-train-images-idx3-ubyte.gz").name == "emnist-digits"
