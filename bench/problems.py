"""Real problems to fit, from the caches where tests find them too."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy.sparse import csr_matrix

from softgrad import data

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"
CACHE = Path(os.environ.get("SOFTGRAD_TEST_DATA", Path.home() / ".cache" / "softgrad-data"))


class Missing(Exception):
    """The data are not here; the text says how to get them."""


@dataclass(frozen=True)
class Problem:
    """Minimise mean loss + |W|^2 / (2 C N) over rows X (N, D) dense or CSR, y (N,); accuracy is told on the test rows."""

    name: str
    X: Any
    y: np.ndarray
    X_test: Any
    y_test: np.ndarray
    C: float

    @property
    def l2(self) -> float:
        return 1 / (self.C * self.X.shape[0])


def load(name: str, small: bool, raw: bool = False) -> Problem:
    """cifar10, fashion_mnist (pixels / 255 as float32; raw: bytes, C / 255^2, the same problem), banking77 or onet (CSR float32)."""
    if name in ("banking77", "onet"):
        return _text(name, small)
    folder, C = {"cifar10": ("cifar-10-batches-bin", 0.02), "fashion_mnist": ("fashion-mnist", 1 / 6)}[name]
    if not (CACHE / folder).is_dir():
        raise Missing(f"no {folder} in the cache; `python ../shared/data/unpack.py DEST` writes it, SOFTGRAD_TEST_DATA=DEST names it")
    found = data.load(CACHE / folder)
    X, y, X_test, y_test = found.X, found.y, found.X_test, found.y_test
    if small:
        X, y, X_test, y_test = np.ascontiguousarray(X[:1500, ::12]), y[:1500], np.ascontiguousarray(X_test[:300, ::12]), y_test[:300]
    if raw:
        return Problem(name, X, y, X_test, y_test, C / 255**2)
    return Problem(name, _scaled(X), y, _scaled(X_test), y_test, C)


def _scaled(X: np.ndarray) -> np.ndarray:
    return np.divide(X, np.float32(255), dtype=np.float32)


def _text(name: str, small: bool) -> Problem:
    path = SHARED / name / {"banking77": "banking77_tfidf.npz", "onet": "onet_titles_tfidf.npz"}[name]
    if not path.is_file():
        raise Missing(f"no {path.name} in ../shared/data/{name}")
    with np.load(path) as arrays:
        D = int(arrays["n_features"])
        (X, y), (X_test, y_test) = _rows(arrays, "train", D), _rows(arrays, "test", D)
    if small:
        few = np.flatnonzero(np.isin(y, np.argsort(np.bincount(y))[-40:]))[:800]  # of the most frequent classes
        X, y = X[few], np.unique(y[few], return_inverse=True)[1]
        X_test, y_test = X, y
    return Problem(name, X, y, X_test, y_test, 1.0)


def _rows(arrays: Any, split: str, D: int) -> tuple[Any, np.ndarray]:
    indptr, indices, values = (arrays[f"{split}_{part}"] for part in ("indptr", "indices", "data"))
    y = arrays[f"{split}_labels"].astype(np.int64)
    return csr_matrix((values, indices, indptr.astype(np.int32)), (len(y), D)), y
