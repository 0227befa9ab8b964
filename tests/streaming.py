"""What the tests of rows on disk share: a small problem as a pair of files; what has to be the same; the form of a refusal."""

import subprocess
import sys
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


MEASURED = """
import sys
import numpy as np, softgrad, scipy.linalg
from softgrad import threads
from softgrad.data import stream
from softgrad.solvers import SGD

def peak():
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("VmHWM:")) << 10

def work(X, y):
    {work}

rng = np.random.default_rng(0)
with threads.limit(2):
    work(rng.normal(size=(500, 8)).astype(np.float32), np.arange(500) % 3)
    data = stream(sys.argv[1], memory_limit=int(sys.argv[2]))
    before = peak()
    work(data.X, data.y)
print(peak() - before)
"""


def rise_of_peak(folder, N, dtype, limit, work):
    """Bytes that work(X, y), a line of Python, adds to the peak of a process, for N rows of 1024 numbers in 10 classes on disk."""
    rng = np.random.default_rng(0)
    with (folder / "X.npy").open("wb") as file:
        np.lib.format.write_array_header_1_0(file, {"descr": np.dtype(dtype).str, "fortran_order": False, "shape": (N, 1024)})
        for _ in range(0, N, 5000):
            file.write(rng.standard_normal((5000, 1024), np.float32).astype(dtype).tobytes())
    np.save(folder / "y.npy", rng.integers(0, 10, N))
    assert (folder / "X.npy").stat().st_size > 3 * limit
    command = [sys.executable, "-W", "ignore", "-c", MEASURED.format(work=work), str(folder / "X.npy"), str(limit)]
    return int(subprocess.run(command, capture_output=True, text=True, check=True, timeout=300).stdout)
