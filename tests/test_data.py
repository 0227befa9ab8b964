"""Readers: the split, the Dataset, where sources are looked for, and tables."""

from __future__ import annotations

import io
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from reading import LABELS, ROWS, refused, save, write_binary, write_mnist

from softgrad.arrays import SoftgradError
from softgrad.data import Dataset, load
from softgrad.data.split import stratified


def test_split_takes_its_share_of_every_class():
    y = np.repeat([0, 1, 2], [100, 50, 10])
    train, test = stratified(y, 0.2, seed=0)
    assert np.bincount(y[test]).tolist() == [20, 10, 2]
    assert np.array_equal(np.sort(np.concatenate([train, test])), np.arange(160))  # disjoint and complete
    assert np.array_equal(train, np.sort(train))


def test_split_is_set_by_its_seed_alone():
    y = np.arange(300) % 3
    first, again, other = (stratified(y, 0.2, seed)[1] for seed in (5, 5, 6))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)
    assert len(np.unique(first % 30)) > 10  # shuffled inside the class, not its first rows


@given(
    st.lists(st.integers(0, 12), min_size=1, max_size=200),
    st.floats(0.01, 0.99),
    st.integers(0, 2**32),
)
def test_split_laws(labels, test_size, seed):
    y = np.array(labels)
    train, test = stratified(y, test_size, seed)
    assert np.array_equal(np.sort(np.concatenate([train, test])), np.arange(len(y)))
    assert set(y[train]) == set(labels)
    rows, taken = np.bincount(y), np.bincount(y[test], minlength=y.max() + 1)
    assert np.all(np.abs(taken - rows * test_size) < 1 + 1e-6 + (rows == 1))
    assert len(test) <= round(len(y) * test_size)


def test_split_keeps_a_row_where_rounding_would_take_it():
    train, _ = stratified(np.repeat([0, 1], [3, 5]), float(np.nextafter(1, 0)), 0)
    assert train.shape == (2,)


def test_split_of_singletons_gives_nothing():
    assert len(stratified(np.arange(5), 0.4, 0)[1]) == 0




def test_digits_are_the_real_ones():
    from sklearn.datasets import load_digits

    data = load("digits")
    assert data.X.dtype == data.X_test.dtype == np.uint8
    assert (data.n_features, data.n_classes, data.image_shape, data.own_test) == (64, 10, (8, 8), False)
    assert data.classes == tuple("0123456789")
    assert len(data.X) + len(data.X_test) == 1797
    pixels = load_digits(return_X_y=True)[0].astype(np.uint8)
    together = np.sort(np.vstack([data.X, data.X_test]).view("V64").ravel())
    assert np.array_equal(together, np.sort(pixels.view("V64").ravel()))
    share = np.bincount(data.y_test) / (np.bincount(data.y) + np.bincount(data.y_test))
    assert np.all(np.abs(share - 0.2) < 0.006)
    assert np.array_equal(load("digits", seed=0).X, data.X)
    assert not np.array_equal(load("digits", seed=1).X, data.X)
    assert len(load("digits", test_size=0.5).X_test) == 898


def test_image_refuses_other_sizes_and_sets_without_pictures(tmp_path):
    data = load("digits")
    assert data.image(np.arange(64.0)).dtype == np.float64
    assert data.image(data.X[:1]).shape == (8, 8)
    for wrong in (np.zeros(65), np.zeros((8, 8)), np.zeros((2, 64))):
        with pytest.raises(SoftgradError, match="must have 64 values"):
            data.image(wrong)
    save(tmp_path / "a.npz", X=np.eye(4), y=[0, 1, 0, 1])
    with pytest.raises(SoftgradError, match="must be pictures"):
        load(tmp_path / "a.npz").image(np.zeros(4))


def test_dataset_is_frozen():
    data = load("digits")
    with pytest.raises(AttributeError):
        data.X = None  # type: ignore[misc]
    assert isinstance(data, Dataset)


def test_importing_the_room_loads_numpy_only():
    code = "import sys, softgrad.data; print([m for m in ('scipy', 'sklearn', 'pandas', 'torch') if m in sys.modules])"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"




def table(tmp_path, text, name="t.csv"):
    path = tmp_path / name
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


BODY = "1,2.5,cat\n3,-4e2,dog\n5,6,cat\n7,8,dog\n"


@pytest.mark.parametrize(
    ("text", "name"),
    [
        (BODY, "t.csv"),
        ("a,b,kind\n" + BODY, "t.csv"),
        ("a,b,kind\r\n" + BODY.replace("\n", "\r\n"), "t.csv"),
        ("\n\na,b,kind\n" + BODY.replace("\n", "\n\n"), "t.csv"),
        ("\ufeffa,b,kind\n" + BODY, "t.csv"),
        ('"a","b, c","kind"\n' + BODY.replace("cat", '"cat"').replace("6", '"6"'), "t.csv"),
        ("a;b;kind\n" + BODY.replace(",", ";"), "t.csv"),
        ("a\tb\tkind\n" + BODY.replace(",", "\t"), "t.tsv"),
        ("a\tb\tkind\n" + BODY.replace(",", "\t"), "T.CSV"),
        ("a, b , kind\n" + BODY.replace(",", " , "), "t.csv"),
        ("0,1,label\n" + BODY, "t.csv"),
        (BODY.rstrip(), "t.csv"),
        ("#a,b,kind\n" + BODY, "t.csv"),
    ],
)
def test_table(tmp_path, text, name):
    data = load(table(tmp_path, text, name), test_size=0.5)
    assert data.X.dtype == np.float64
    assert data.X.flags.c_contiguous
    rows = np.vstack([data.X, data.X_test])
    assert rows[np.argsort(rows[:, 0])].tolist() == [[1, 2.5], [3, -400], [5, 6], [7, 8]]
    assert data.classes == ("cat", "dog")
    assert data.y.tolist() == [int(row[0] in (3, 7)) for row in data.X]
    assert data.name == name[:-4]


@pytest.mark.parametrize(
    ("header", "label", "column"),
    [
        ("a,b,c", None, 2),
        ("Label,b,c", None, 0),
        ("a,TARGET,c", None, 1),
        ("class,b,y", None, 0),
        ("y,label,c", None, 1),
        ("a,b,label", "a", 0),
        ("a,b,label", 1, 1),
        ("a,b,label", -3, 0),
        ("a,b,label", np.int64(0), 0),
        (None, None, 2),
        (None, 0, 0),
        ("3,4,5", "4", 1),
    ],
)
def test_table_label_column(tmp_path, header, label, column):
    rows = np.array([[1, 2, 3], [4, 5, 6], [1, 2, 3], [4, 5, 6]])
    body = "\n".join(",".join(map(str, row)) for row in rows)
    data = load(table(tmp_path, f"{header}\n{body}" if header else body), label=label, test_size=0.5)
    assert data.classes == tuple(map(str, sorted({int(v) for v in rows[:, column]})))
    assert set(map(tuple, data.X)) <= set(map(tuple, np.delete(rows, column, 1)))


def test_table_header_that_only_counts(tmp_path):
    data = load(table(tmp_path, "0,1,2,3\n1,1,1,0\n2,2,2,1\n3,3,3,0\n4,4,4,1\n"), test_size=0.5)
    assert len(data.X) + len(data.X_test) == 4
    assert len(load(table(tmp_path, "1,1,y\n2,2,n\n3,3,y\n4,4,n\n"), test_size=0.5).X) == 2  # y is a label here


@pytest.mark.parametrize(
    ("labels", "classes"),
    [
        (["2", "10", "2", "10"], ("2", "10")),  # numbers sort as numbers
        (["1.0", "0.0", "1", "0e0"], ("0", "1")),
        (["1.000000000000000000e+00", "0.0", "-3", "0"], ("-3", "0", "1")),
        (["2", "ten", "2", "ten"], ("2", "ten")),
        (["New York, NY", "Ä\u2028", "New York, NY", "Ä"], ("New York, NY", "Ä")),
        (["True", "False", "True", "False"], ("False", "True")),
    ],
)
def test_table_labels(tmp_path, labels, classes):
    text = "v,label\n" + "".join(f'{k},"{label}"\n' for k, label in enumerate(labels)) * 2
    assert load(table(tmp_path, text)).classes == classes


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a,b,label\n1,2,x\n3,,y\n", ["an empty cell", "row 2 (line 3 of the file)", "column 'b'"]),
        ("a,b,label\n1,2,x\n\n3,?,y\n", ["'?'", "row 2 (line 4 of the file)", "column 'b'"]),
        ("1,2,x\n3,oops,y\n", ["'oops'", "row 2 (line 2 of the file)", "column 1 (counted from 0)"]),
        ("a,b,label\n1,nan,x\n3,4,y\n", ["finite", "'nan'", "row 1", "column 'b'"]),
        ("a,b,label\n1,2,x\n-inf,4,y\n", ["finite", "'-inf'", "row 2", "column 'a'"]),
        ("a,b,label\n1,2,x\ninf,-inf,y\n", ["'inf'", "row 2", "column 'a'"]),
        ("a,b,label\n1,2,x\n1_000,4,y\n", ["'1_000'", "row 2"]),
        ("a,b,label\n1,2,x\n3,4,\n", ["must have a label", "row 2", "column 'label'"]),
        ("a,b,label\n1,2,x\n3,4,NaN\n", ["must have a label", "row 2"]),
        ("a,b,label\n1,2,x\n3,4\n", ["3 columns", "found 2 in row 2"]),
        ("a,b,label\n1,2,x\n3,4,y,5\n", ["3 columns", "found 4 in row 2"]),
        ("a,label\n1,2,x\n3,4,y\n", ["2 columns", "found 3 in row 1"]),
        ("a,b,label\n1,2\n3,4\n", ["3 columns", "found 2 in row 1"]),
        ("a,b,price\n1,2,3.5\n3,4,7\n", ["text or whole numbers", "'3.5'", "column 'price'"]),
        ("a,b,label\n1,2,x\n3,4,x\n", ["at least 2 classes"]),
        ("a;b;label\n1,5;2;x\n3;4;y\n", ["decimal points", "'1,5'", "row 1", "column 'a'"]),
        ("", ["must have rows", "empty file"]),
        ("\n\n", ["must have rows"]),
        ("a,b,label\n", ["only the header"]),
        ("a\n1\n2\n", ["found 1 column"]),
        ("5.1,,x\n1,2,y\n", ["an empty cell", "row 1"]),
        (b"a,b,label\n1,2,\xff\n3,4,y\n", ["UnicodeDecodeError"]),
        ("x,y\nred,1\nblue,2\n", ["'red'", "column 'x'", "name the label column"]),
    ],
)
def test_table_refusals(tmp_path, text, words):
    refused(table(tmp_path, text), "t.csv", *words)


def test_table_label_refusals(tmp_path):
    path = table(tmp_path, "a,b,b\n" + BODY)
    refused(path, "found 0 of that name among 'a', 'b', 'b'", label="c")
    refused(path, "found 2 of that name", label="b")
    refused(path, "column from 0 to 2", "found 3", label=3)
    refused(path, "must be a name or a number", "float", label=1.0)
    refused(table(tmp_path, BODY), "needs a header", label="a")


@pytest.mark.parametrize("name", ["label", "target", "class", "y", "labels", "Targets"])
def test_a_label_column_is_known_by_its_name_wherever_it_stands(tmp_path, name):
    data = load(table(tmp_path, f"{name},a,b\n0,5,1\n1,6,2\n0,7,1\n1,8,2\n"), test_size=0.5)
    assert data.classes == ("0", "1")
    assert data.X.shape[1] == 2
    assert data.X.max() == 8 or data.X_test.max() == 8
    assert (data.feature_names, data.label_name) == (("a", "b"), name)


def test_columns_without_names_have_none(tmp_path):
    data = load(table(tmp_path, BODY), test_size=0)
    assert (data.feature_names, data.label_name) == (None, None)


def test_how_many_classes_there_must_be(tmp_path):
    """Two to train on; one where it is said that one is enough, also of a test split's rows."""
    path = table(tmp_path, "a,label\n1,x\n2,x\n3,x\n")
    refused(path, "at least 2 classes, found only 'x'")
    data = load(path, test_size=0, least_classes=1)
    assert (data.X.shape, data.classes, data.y.tolist()) == ((3, 1), ("x",), [0, 0, 0])
    refused(path, "at least 3 classes, found only 'x'", least_classes=3)
    refused(table(tmp_path, "a,label\n1,x\n2,y\n"), "at least 3 classes, found 2", least_classes=3)


def test_table_of_huge_values_is_not_refused(tmp_path):
    data = load(table(tmp_path, "a,label\n1e308,x\n1.7e308,y\n1.6e308,x\n1e308,y\n"), test_size=0.5)
    assert data.X.max() > 1e307




def test_sources_that_are_none(tmp_path):
    refused(tmp_path / "nothing", "must exist", "no such file or folder")
    refused("iris", "load('iris')", "must exist", "'digits'")
    refused(tmp_path, "CIFAR-10 batches", "IDX files", "found nothing")
    (tmp_path / "readme.md").write_text("x")
    (tmp_path / "sub").mkdir()
    refused(tmp_path, "found readme.md, sub/")
    refused(tmp_path / "readme.md", "kind of the file", "readme.md")
    for k in range(20):
        (tmp_path / f"f{k:02}").touch()
    refused(tmp_path, "... (22 entries)")
    with pytest.raises(SoftgradError, match=r"load\(source\): source must be a name or a path, found ndarray"):
        load(np.zeros(3))  # type: ignore[arg-type]
    refused("a\0b.csv", "load(")


@pytest.mark.parametrize("test_size", [1, -0.1, 1.5, float("nan"), "half", None])
def test_wrong_test_size(test_size):
    refused("digits", "test_size must be a number of at least 0 and below 1", repr(test_size), test_size=test_size)


@pytest.mark.parametrize("seed", [-1, 0.5, None, "x"])
def test_wrong_seed(seed):
    refused("digits", "seed must be a whole number", repr(seed), seed=seed)


def test_label_is_for_tables():
    refused("digits", "label= goes with a .csv or .tsv table only", label=3)


@pytest.mark.parametrize("name", ["a.npz", "X.npy", "t.csv", "train-images-idx3-ubyte", "data_batch_1.bin"])
def test_files_that_may_not_be_read(tmp_path, monkeypatch, name):
    """Root reads everything, so the refusal of the system is played."""
    write_binary(tmp_path, test=False)
    write_mnist(tmp_path, test=None)
    save(tmp_path / "a.npz", X=ROWS, y=LABELS)
    np.save(tmp_path / "X.npy", ROWS)
    np.save(tmp_path / "y.npy", LABELS)
    table(tmp_path, BODY)
    true_open = io.open

    def locked(path, *arguments, **options):
        if str(path).endswith(name):
            raise PermissionError(13, "Permission denied", str(path))
        return true_open(path, *arguments, **options)

    monkeypatch.setattr("io.open", locked)  # pathlib's
    monkeypatch.setattr("builtins.open", locked)  # numpy's
    source = tmp_path if name.startswith("data_batch") else tmp_path / name
    refused(source, name, "PermissionError", "check its permissions")


def test_home_is_expanded(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    table(tmp_path, BODY)
    assert load("~/t.csv", test_size=0.5).n_features == 2
