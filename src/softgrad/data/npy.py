"""Rows in one .npy file, labels in another: how most people keep the features of a frozen network."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np

from softgrad.data.reading import Parts, flatten_pictures, reading, refusal


def read_npy(path: Path) -> Parts:
    """Rows of X.npy with the labels found beside it.

    Labels of NAME.npy are looked for as y*.npy for X*.npy, NAME_labels.npy, labels.npy, y.npy, in this order. Where
    both names have "train" in them and the same names with "test" lie beside, those are the test split.
    """
    labels = _labels_beside(path)
    if labels is None:
        tried = ", ".join(name for name in _label_names(path))
        raise refusal(
            path,
            f"the labels must lie beside the rows, found none of {tried}; put them there or pass '{path},LABELS.npy'",
        )
    return read_pair(path, labels)


def read_pair(X_path: Path, y_path: Path) -> Parts:
    """Rows and labels of two .npy files, and of their test twins where train is in both names."""
    X, image_shape, layout = flatten_pictures(_read(X_path))
    parts = Parts(X_path.stem, X, _read(y_path), image_shape=image_shape, layout=layout)
    X_test, y_test = (path.with_name(path.name.replace("train", "test")) for path in (X_path, y_path))
    if X_test != X_path and y_test != y_path:
        with reading(X_test):
            both = X_test.is_file() and y_test.is_file()
        if both:
            parts.X_test, parts.y_test = flatten_pictures(_read(X_test))[0], _read(y_test)
    return parts


def _label_names(path: Path) -> list[str]:
    stem = path.stem
    own = [f"y{stem[1:]}.npy"] if stem[:1] in ("X", "x") else []
    return list(dict.fromkeys([*own, f"{stem}_labels.npy", "labels.npy", "y.npy"]))


def _labels_beside(path: Path) -> Path | None:
    for name in _label_names(path):
        choice = path.with_name(name)
        with reading(choice):
            if choice.is_file() and choice.name != path.name:
                return choice
    return None


def _read(path: Path) -> np.ndarray:
    """One array; the length is held against the header first, since NumPy's own message does not tell the bytes."""
    with reading(path):
        with path.open("rb") as file:
            _check_header(path, file)
        return np.load(path, allow_pickle=False)


def _check_header(path: Path, file) -> None:
    if file.read(6) != b"\x93NUMPY":
        raise refusal(path, "an .npy file must begin with 93 NUMPY (bad magic); it is no .npy file")
    file.seek(0)
    version = np.lib.format.read_magic(file)
    header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    if version > (2, 0):  # 3.0 is 2.0 with field names beyond latin1, so with structured arrays only
        raise refusal(path, "the array must be of numbers or text, found a structured one; save its columns")
    shape, _, dtype = header(file)
    if dtype.hasobject:
        raise refusal(
            path,
            "the array must hold numbers or text, found objects, which could run code when opened; "
            "save it with a plain dtype, as y.astype(str)",
        )
    expected, found = file.tell() + math.prod(shape) * dtype.itemsize, path.stat().st_size
    if expected != found:
        raise refusal(
            path,
            f"the header says {dtype} {shape}, so the file must have {expected} bytes, found {found}; "
            "it is truncated or damaged, get it again",
        )
