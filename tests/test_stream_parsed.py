"""`data.stream` of libsvm, safetensors and Parquet: against the same rows from memory, and what is said of damaged files."""

from __future__ import annotations

import gc
import json
import tempfile

import numpy as np
import pytest
from scipy.sparse import csr_array
from sklearn.datasets import dump_svmlight_file, load_svmlight_file
from streaming import bfloat16, head, refused, same, small_blocks

import softgrad
from softgrad.data import stream

# ---- libsvm ------------------------------------------------------------------------------------------------------------


def sparse(N=500, D=30):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(N, D)) * (rng.uniform(size=(N, D)) < 0.2)
    X[3] = 0
    X[7, D - 1] = X[9, 0] = 1.5
    return csr_array(X), rng.integers(0, 3, N)


@pytest.mark.parametrize("zero_based", [True, False])
def test_libsvm(tmp_path, monkeypatch, zero_based, threads):
    small_blocks(monkeypatch)
    monkeypatch.setattr("softgrad.data.libsvm.PIECE", 1000)
    X, y = sparse()
    dump_svmlight_file(X, y, str(tmp_path / "rows.libsvm"), zero_based=zero_based, comment="as NumPy wrote it")
    data, memory = stream(tmp_path / "rows.libsvm"), load_svmlight_file(str(tmp_path / "rows.libsvm"))[0]
    same(data, csr_array(memory), y)
    k = np.array([0, 3, 4, 5, 499])
    np.testing.assert_array_equal(data.X[k].toarray(), memory[k].toarray())
    assert softgrad.SoftmaxClassifier().fit(data.X, y).predict_proba(data.X).shape == (500, 3)


def test_libsvm_in_small_blocks_gives_nearly_the_same(tmp_path, monkeypatch):
    monkeypatch.setattr("softgrad.training.SPARSE_GRAM_FEATURES", 5)  # the metric without a sample
    X, y = sparse(20_000)
    dump_svmlight_file(X, y, str(tmp_path / "rows.svm"))
    data = stream(tmp_path / "rows.svm", memory_limit="1MiB")
    memory = csr_array(load_svmlight_file(str(tmp_path / "rows.svm"))[0])
    ours, theirs = (softgrad.SoftmaxClassifier(tol=1e-8).fit(rows, y) for rows in (data.X, memory))
    np.testing.assert_allclose(ours.coef_, theirs.coef_, atol=1e-6)


def test_libsvm_with_a_test_file(tmp_path):
    X, y = sparse()
    dump_svmlight_file(X[:, :20], y, str(tmp_path / "a9.libsvm"), zero_based=False)
    dump_svmlight_file(X, y, str(tmp_path / "a9.t"), zero_based=False)
    data = stream(tmp_path / "a9.libsvm")
    assert data.X.shape == data.X_test.shape == (500, 30)
    np.testing.assert_allclose(data.X_test[:].toarray(), X.toarray(), rtol=1e-15)  # 16 digits are written


@pytest.mark.parametrize(
    ("bad", "words"),
    [
        ("2 1:x", ("line 31", "'2 1:x'")),
        ("2 5:1 3:1", ("line 31", "ascending")),
        ("2 3:nan", ("finite",)),
        ("2 9999999999:1", ("line 31",)),
        ("1.5 1:1", ("whole numbers or text", "1.5 in row 30")),
    ],
)
def test_libsvm_with_a_bad_line(tmp_path, monkeypatch, bad, words):
    monkeypatch.setattr("softgrad.data.libsvm.PIECE", 100)
    lines = [f"{k % 2} 1:{k} 4:2.5" for k in range(40)]
    lines[30] = bad
    (tmp_path / "a.svm").write_text("\n".join(lines) + "\n")
    refused(tmp_path / "a.svm", *words)


def test_spills_are_deleted(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    X, y = sparse()
    dump_svmlight_file(X, y, str(tmp_path / "a.svm"))
    data = stream(tmp_path / "a.svm")
    assert len(list(tmp_path.glob("softgrad-*"))) == 2
    del data
    gc.collect()
    assert not list(tmp_path.glob("softgrad-*"))


# ---- safetensors -------------------------------------------------------------------------------------------------------


def safetensors(path, tensors):
    """A file of (dtype's name, shape, bytes) by name, as the format's page says."""
    header, end, body = {"__metadata__": {"format": "pt"}}, 0, b""
    for name, (dtype, shape, raw) in tensors.items():
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [end, end + len(raw)]}
        end, body = end + len(raw), body + raw
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + body)
    return path


@pytest.mark.parametrize("kind", ["F16", "F32", "BF16"])
def test_safetensors(tmp_path, monkeypatch, kind):
    small_blocks(monkeypatch)
    X, y, _ = head()
    raw, X = bfloat16(X) if kind == "BF16" else 2 * (X.astype({"F16": np.float16, "F32": np.float32}[kind]),)
    labels = ("I64", [2000], y.astype("<i8").tobytes())
    path = safetensors(tmp_path / "e.safetensors", {"labels": labels, "embeddings": (kind, [2000, 12], raw.tobytes())})
    same(stream(path), X, y)
    path.write_bytes(path.read_bytes()[:-1])
    refused(path, "truncated")
    path.write_bytes(b"123")
    refused(path, "truncated")
    refused(safetensors(path, {"weights": labels}), "rows (X", "found weights")


def test_safetensors_as_the_library_writes_them(tmp_path):
    numpy = pytest.importorskip("safetensors.numpy")
    X, y, _ = head()
    numpy.save_file({"X_train": X[:1500], "y_train": y[:1500], "X_test": X[1500:], "y_test": y[1500:]}, tmp_path / "e.safetensors")
    data = stream(tmp_path / "e.safetensors")
    same(data, X[:1500], y[:1500])
    np.testing.assert_array_equal(data.X_test[:], X[1500:])


# ---- Parquet -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["flat", "list", "fixed"])
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_parquet(tmp_path, form, dtype):
    pa = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    X, y, _ = head(N=3000)
    X = X.astype(dtype)
    if form == "flat":
        columns = {f"x{k}": X[:, k] for k in range(X.shape[1])}
    elif form == "list":
        columns = {"embedding": pa.array(list(X)), "text": ["..."] * len(X)}
    else:
        columns = {"embedding": pa.FixedSizeListArray.from_arrays(X.ravel(), X.shape[1])}
    parquet.write_table(pa.table({**columns, "label": y}), tmp_path / "a.parquet", row_group_size=700)
    data = stream(tmp_path / "a.parquet")
    same(data, X, y)
    assert data.label_name == "label"
    assert data.feature_names == (tuple(columns) if form == "flat" else None)


def test_parquet_labels_and_refusals(tmp_path):
    pa = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    X, y, _ = head(N=100)
    path = tmp_path / "a.parquet"

    def write(**columns):
        parquet.write_table(pa.table(columns), path)

    write(a=X[:, 0], b=X[:, 1], kind=np.array(["u", "v", "w"])[y])
    data = stream(path, label="kind")
    assert data.classes == ("u", "v", "w")
    np.testing.assert_array_equal(data.y, y)
    np.testing.assert_array_equal(data.X[:], X[:, :2])
    assert stream(path, label=2).classes == data.classes
    refused(path, "one column must hold the labels", "a, b, kind")
    write(a=["x"] * 100, label=y)
    refused(path, "features must be numbers", "found a")
    write(a=[None, *X[1:, 0].tolist()], label=y)
    refused(path, "without one in 'a'")
    write(a=[[1.0], [1.0, 2.0, 3.0], *[[1.0, 2.0]] * 98], label=y)
    refused(path, "one length")
    write(a=[[1.0]] * 50 + [[None]] * 50, label=y)
    refused(path, "gaps")
    path.write_bytes(path.read_bytes()[:-20])
    refused(path, "a.parquet", "readable and whole")
