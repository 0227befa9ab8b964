"""Readers of npz and npy: names, shapes, classes, and what is said of files that are wrong."""

from __future__ import annotations

import json
import pickle

import numpy as np
import pytest
from reading import LABELS, ROWS, refused, save

from softgrad.arrays import SoftgradError
from softgrad.data import load
from softgrad.data.reading import flatten_pictures


@pytest.mark.parametrize("X", ["X", "x", "data", "features", "images"])
@pytest.mark.parametrize("y", ["y", "labels", "target", "targets"])
def test_npz_names(tmp_path, X, y):
    save(tmp_path / "a.npz", **{X: ROWS, y: LABELS, "more": [1]})
    data = load(tmp_path / "a.npz")
    assert data.X.dtype == np.float16
    assert (data.name, data.X.shape, data.X_test.shape, data.own_test) == ("a", (6, 3), (2, 3), False)
    save(tmp_path / "b.npz", **{f"{X}_train": ROWS, f"{y}_train": LABELS, f"{X}_test": ROWS[:2], f"{y}_test": LABELS[:2]})
    data = load(tmp_path / "b.npz")
    assert (data.X.shape, data.X_test.shape, data.own_test) == ((8, 3), (2, 3), True)
    assert np.array_equal(data.X, ROWS)
    save(tmp_path / "c.npz", **{f"train_{X}": ROWS, f"train_{y}": LABELS})
    assert load(tmp_path / "c.npz").own_test is False


@pytest.mark.parametrize(
    ("shape", "image_shape", "pixel"),
    [
        ((4, 3), (4, 3), lambda a, i, j: a[i, j]),
        ((4, 3, 1), (4, 3), lambda a, i, j: a[i, j, 0]),
        ((4, 5, 3), (4, 5, 3), lambda a, i, j: a[i, j]),
        ((3, 4, 5), (4, 5, 3), lambda a, i, j: a[:, i, j]),
        ((1, 4, 5), (4, 5), lambda a, i, j: a[0, i, j]),
        ((3, 4, 3), (3, 4, 3), lambda a, i, j: a[i, j]),  # ambiguous: the last axis wins
        ((2, 4, 5), None, None),
        ((2, 2, 2, 2), None, None),
    ],
)
def test_pictures_are_flattened_and_come_back(tmp_path, shape, image_shape, pixel):
    pictures = np.random.default_rng(0).integers(0, 255, (6, *shape), np.uint8)
    save(tmp_path / "a.npz", X_train=pictures, y_train=[0, 1] * 3, X_test=pictures, y_test=[0, 1] * 3)
    data = load(tmp_path / "a.npz")
    assert data.image_shape == image_shape
    assert np.array_equal(data.X, pictures.reshape(6, -1))
    if pixel:
        assert np.array_equal(data.image(data.X[2])[1, 2], pixel(pictures[2], 1, 2))
        assert data.image(data.X[2]).shape == image_shape


def test_flatten_of_no_rows():
    assert flatten_pictures(np.zeros((0, 4, 4)))[0].shape == (0, 0)


@pytest.mark.parametrize(
    ("y", "classes", "expected", "names"),
    [
        ([3, 7, 3, 7], None, [0, 1, 0, 1], ("3", "7")),
        ([-1, 1, 10, 1], None, [0, 1, 2, 1], ("-1", "1", "10")),
        (["b", "a", "b", "a"], None, [1, 0, 1, 0], ("a", "b")),
        ([b"b", b"a", b"b", b"\xc3\xa4"], None, [1, 0, 1, 2], ("a", "b", "ä")),
        ([True, False, True, True], None, [1, 0, 1, 1], ("0", "1")),
        ([1.0, 0.0, 2.0, 1.0], None, [1, 0, 2, 1], ("0", "1", "2")),
        ([[1], [0], [2], [1]], None, [1, 0, 2, 1], ("0", "1", "2")),
        ([1, 0, 1, 0], ["cat", "dog", "cow"], [1, 0, 1, 0], ("cat", "dog", "cow")),
        (["dog", "cat", "dog", "cat"], ["dog", "cat"], [0, 1, 0, 1], ("dog", "cat")),
        ([5, 3, 5, 3], [5, 4, 3], [0, 2, 0, 2], ("5", "4", "3")),
    ],
)
def test_labels_become_class_numbers(tmp_path, y, classes, expected, names):
    more = {} if classes is None else {"classes": classes}
    save(tmp_path / "a.npz", X_train=np.eye(4), y_train=y, X_test=np.eye(4), y_test=y, **more)
    data = load(tmp_path / "a.npz")
    assert data.y.tolist() == data.y_test.tolist() == expected
    assert data.y.dtype == np.int64
    assert data.classes == names


def test_class_only_in_the_test_split(tmp_path):
    save(tmp_path / "a.npz", X_train=np.eye(4), y_train=[2, 6, 2, 6], X_test=np.eye(4), y_test=[4, 6, 4, 2])
    data = load(tmp_path / "a.npz")
    assert data.classes == ("2", "4", "6")
    assert data.y.tolist() == [0, 2, 0, 2]
    assert data.y_test.tolist() == [1, 2, 1, 0]


def test_class_names_in_a_list_beside(tmp_path):
    save(tmp_path / "a.npz", X=ROWS, y=LABELS)
    listing = tmp_path / "a_classes.json"
    listing.write_text(json.dumps(["no", "yes"]))
    assert load(tmp_path / "a.npz").classes == ("no", "yes")
    for wrong in ("{}", "[]", "[1, 2]"):
        listing.write_text(wrong)
        refused(tmp_path / "a.npz", "a_classes.json", "JSON list of text")
    listing.write_text("[")
    refused(tmp_path / "a.npz", "a_classes.json")


def test_rows_are_made_contiguous_and_native(tmp_path):
    save(tmp_path / "a.npz", X_train=np.asfortranarray(ROWS), y_train=LABELS, X_test=ROWS.astype(">f2"), y_test=LABELS)
    data = load(tmp_path / "a.npz")
    for X in (data.X, data.X_test):
        assert X.flags.c_contiguous
        assert X.dtype == np.float16
        assert X.dtype.isnative
        assert np.array_equal(X, ROWS)
    save(tmp_path / "b.npz", X=ROWS > 5, y=LABELS)
    assert load(tmp_path / "b.npz").X.dtype == np.uint8


def sparse_arrays(test=True):
    from scipy.sparse import csr_array

    rows = csr_array(np.eye(6, 5, dtype=np.float32))
    arrays = {"n_features": 5, "n_classes": 4}
    for split in ["train", "test"] if test else ["train"]:
        arrays |= {f"{split}_indptr": rows.indptr, f"{split}_indices": rows.indices, f"{split}_data": rows.data}
        arrays[f"{split}_labels"] = np.arange(6, dtype=np.int32) % 3
    return arrays


def test_npz_of_csr_rows(tmp_path):
    save(tmp_path / "a.npz", **sparse_arrays())
    data = load(tmp_path / "a.npz")
    assert (data.X.format, data.X.shape, data.X_test.shape, data.X.dtype) == ("csr", (6, 5), (6, 5), np.float32)
    assert np.array_equal(data.X.toarray(), np.eye(6, 5))
    assert data.classes == ("0", "1", "2", "3")
    save(tmp_path / "b.npz", **{k: v for k, v in sparse_arrays(test=False).items() if not k.startswith("n_")})
    data = load(tmp_path / "b.npz", test_size=0.5)
    assert (data.X.shape, data.X_test.shape, data.own_test, data.n_classes) == ((3, 5), (3, 5), False, 3)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"train_indices": np.array([0, 1, 2, 3, 9])}, ["must make CSR rows of 5 features"]),
        ({"train_indptr": np.array([0, 1, 2])}, ["must end in the number of values"]),
        ({"train_indptr": np.array([0, 3, 2, 3, 4, 5, 5])}, ["must make CSR rows"]),
        ({"train_indptr": np.array([0, 1, 2, 3, 4, 4, 4])}, ["must end in the number of values, 5, found 4"]),
        ({"train_labels": np.arange(5)}, ["training split", "6 rows and 5 labels"]),
        ({"train_labels": np.array([0, 1, 2, 3, 4, 0])}, ["one of the 4 classes", "found 4 in training row 4"]),
        ({"n_features": np.array([1, 2])}, ["a.npz"]),
    ],
)
def test_npz_of_wrong_csr_rows(tmp_path, change, words):
    save(tmp_path / "a.npz", **(sparse_arrays() | change))
    refused(tmp_path / "a.npz", *words)


def test_npz_of_csr_rows_without_labels(tmp_path):
    save(tmp_path / "a.npz", **{k: v for k, v in sparse_arrays().items() if k != "test_labels"})
    refused(tmp_path / "a.npz", "test_labels")


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        ({"a": ROWS}, ["must hold rows", "found a"]),
        ({}, ["found no arrays"]),
        ({"X": ROWS}, ["and labels"]),
        ({"X_train": ROWS, "y_train": LABELS, "X_test": ROWS}, ["each split with both"]),
        ({"X": ROWS, "data": ROWS, "y": LABELS}, ["only one array", "X, data"]),
        ({"X": ROWS, "x": ROWS, "y": LABELS}, ["differ in more than case"]),
        ({"X": ROWS, "y": LABELS[:5]}, ["8 rows and 5 labels"]),
        ({"X": ROWS[0], "y": LABELS}, ["rows and columns", "(3,)"]),
        ({"X": ROWS[:0], "y": LABELS[:0]}, ["must not be empty", "(0, 3)"]),
        ({"X": ROWS[:, :0], "y": LABELS}, ["must not be empty", "(8, 0)"]),
        ({"X": ROWS, "y": LABELS * 0}, ["at least 2 classes", "'0'"]),
        ({"X": ROWS, "y": np.eye(8)}, ["argmax"]),
        ({"X": ROWS, "y": np.float64(1)}, ["one label per row"]),
        ({"X": ROWS, "y": LABELS + 0.5}, ["whole numbers or text", "0.5 in row 0"]),
        ({"X": ROWS, "y": np.where(LABELS, np.nan, 0.0)}, ["nan in row 1"]),
        ({"X": ROWS, "y": LABELS.astype("m8[s]")}, ["whole numbers or text", "timedelta"]),
        ({"X": ROWS, "y": np.arange(8, dtype=np.uint64) << 61}, ["fit int64"]),
        ({"X": ROWS.astype(complex), "y": LABELS}, ["integers or floats", "complex"]),
        ({"X": ROWS.astype(str), "y": LABELS}, ["integers or floats", "<U"]),
        ({"X": ROWS, "y": np.array([{}] * 8)}, ["found objects in 'y'"]),
        ({"X": np.array([{}] * 8), "y": LABELS}, ["found objects in 'X'"]),
        ({"X": ROWS, "y": LABELS, "classes": ["a"]}, ["one of the 1 classes", "found 1 in training row 1"]),
        ({"X": ROWS, "y": LABELS.astype(str), "classes": [0, 1]}, ["need text in classes"]),
        ({"X": ROWS, "y": LABELS.astype(str), "classes": ["0", "2"]}, ["found '1' in training row 1"]),
        ({"X_train": ROWS, "y_train": LABELS, "X_test": ROWS[:, :2], "y_test": LABELS}, ["same features", "3 and 2"]),
        ({"X_train": ROWS, "y_train": LABELS, "X_test": ROWS, "y_test": LABELS.astype(str)}, ["of one kind"]),
        ({"X_train": ROWS, "y_train": LABELS, "X_test": ROWS, "y_test": LABELS[:3]}, ["test split", "3 labels"]),
        ({"X": ROWS, "y": np.arange(8)}, ["at least one test row"]),
    ],
)
def test_npz_refusals(tmp_path, arrays, words):
    save(tmp_path / "a.npz", **arrays)
    refused(tmp_path / "a.npz", "a.npz", *words)


@pytest.mark.parametrize("kind", [np.float16, np.float32, np.float64])
def test_a_number_that_is_none_is_told_by_its_row_in_the_file(tmp_path, kind):
    """Before rows are held out: row 77 of a hundred, whichever part it would have come to."""
    X = np.ones((100, 3), kind)
    X[77, 1] = np.nan
    y = np.arange(100) % 2
    save(tmp_path / "a.npz", X=X, y=y)
    refused(tmp_path / "a.npz", "X: must hold no NaN", "row 77, column 1")
    save(tmp_path / "b.npz", X_train=np.ones((100, 3)), y_train=y, X_test=X, y_test=y)
    refused(tmp_path / "b.npz", "X_test: must hold no NaN", "row 77, column 1")


def test_class_names_that_are_one_name(tmp_path):
    save(tmp_path / "a.npz", X=ROWS, y=np.arange(8) % 3, classes=np.array(["a", "a", "b"]))
    refused(tmp_path / "a.npz", "class names must differ", "'a'")


def test_test_labels_outside_the_names(tmp_path):
    save(tmp_path / "a.npz", X_train=ROWS, y_train=LABELS, X_test=ROWS, y_test=LABELS + 1, classes=["a", "b"])
    refused(tmp_path / "a.npz", "found 2 in test row 1")


@pytest.mark.parametrize("keep", [0, 3, 100, 400, -5])
def test_npz_truncated(tmp_path, keep):
    path = tmp_path / "a.npz"
    save(path, X=ROWS, y=LABELS)
    path.write_bytes(path.read_bytes()[:keep])
    refused(path, "a.npz", "whole")


@pytest.mark.parametrize("write", [np.savez, np.savez_compressed])
def test_npz_with_a_flipped_byte_never_escapes(tmp_path, write):
    path = tmp_path / "a.npz"
    write(path, X=ROWS, y=LABELS)
    content = path.read_bytes()
    for at in range(0, len(content), 7):
        path.write_bytes(content[:at] + bytes([content[at] ^ 0xFF]) + content[at + 1 :])
        try:
            load(path)
        except SoftgradError as error:
            assert "a.npz" in str(error)  # noqa: PT017  (many bytes, such as dates, may change unnoticed)


def test_npz_that_is_something_else(tmp_path):
    path = tmp_path / "a.npz"
    with path.open("wb") as file:
        np.save(file, ROWS)
    refused(path, "must be a zip of arrays", "one array; call it .npy")
    path.write_bytes(pickle.dumps({"X": 1}))
    refused(path, "must be a zip of arrays", "save it with np.savez")
    path.write_text("1,2,a\n")
    refused(path, "must be a zip of arrays", r"found b'1,2,a\n'")




@pytest.mark.parametrize(
    ("X", "y"),
    [
        ("features.npy", "features_labels.npy"),
        ("features.npy", "labels.npy"),
        ("features.npy", "y.npy"),
        ("X.npy", "y.npy"),
        ("X_clip.npy", "y_clip.npy"),
        ("x_a.npy", "y_a.npy"),
    ],
)
def test_npy_finds_its_labels(tmp_path, X, y):
    np.save(tmp_path / X, ROWS)
    np.save(tmp_path / y, LABELS)
    data = load(tmp_path / X)
    assert (data.name, data.X.shape, data.X.dtype, data.own_test) == (X[:-4], (6, 3), np.float16, False)
    pair = load(f"{tmp_path / X},{tmp_path / y}")
    assert np.array_equal(pair.X, data.X)


def test_npy_takes_the_nearest_labels(tmp_path):
    np.save(tmp_path / "a.npy", ROWS)
    np.save(tmp_path / "y.npy", LABELS[:3])
    np.save(tmp_path / "a_labels.npy", LABELS)
    assert len(load(tmp_path / "a.npy").X) == 6


def test_npy_with_its_test_twin(tmp_path):
    for split, rows in (("train", 8), ("test", 4)):
        np.save(tmp_path / f"X_{split}.npy", ROWS[:rows].reshape(rows, 3, 1))
        np.save(tmp_path / f"y_{split}.npy", LABELS[:rows])
    for source in (tmp_path / "X_train.npy", f"{tmp_path}/X_train.npy, {tmp_path}/y_train.npy"):
        data = load(source)
        assert (len(data.X), len(data.X_test), data.own_test, data.image_shape) == (8, 4, True, (3, 1))


def test_npy_refusals(tmp_path):
    X, y = tmp_path / "X.npy", tmp_path / "y.npy"
    np.save(X, ROWS)
    refused(X, "found none of y.npy, X_labels.npy, labels.npy")
    refused(f"{X},{y}", "y.npy", "FileNotFoundError")
    refused(f"{X},{y},{y}", "'X.npy,y.npy'", "3 parts")
    np.save(y, np.array(["a", {}] * 4, object))
    refused(X, "y.npy", "found objects")
    np.save(y, np.zeros(8, [("a", "f4"), ("ä", "f4")]))
    refused(X, "y must hold whole numbers or text")
    with pytest.warns(UserWarning, match="format 3.0"):
        np.save(y, np.zeros(8, [("a", "f4"), ("目", "f4")]))
    refused(X, "y.npy", "structured")
    np.save(y, LABELS)
    X.write_bytes(X.read_bytes()[:-4])
    refused(X, "float16 (8, 3)", "176 bytes", "found 172", "truncated")
    X.write_bytes(b"\x93NUMPY\x09\x09" + b"0" * 99)
    refused(X, "X.npy")
    for content in (b"", b"PK\x03\x04", pickle.dumps({})):
        X.write_bytes(content)
        refused(X, "X.npy", "bad magic")


def test_comma_in_a_name_that_exists(tmp_path):
    folder = tmp_path / "a,b"
    folder.mkdir()
    np.save(folder / "X.npy", ROWS)
    np.save(folder / "y.npy", LABELS)
    assert len(load(folder / "X.npy").X) == 6
