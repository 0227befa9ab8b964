"""Rows in one .npy file, labels in another: how most people keep the features of a frozen network."""

from __future__ import annotations

import math
from pathlib import Path
from typing import BinaryIO

import numpy as np

from softgrad.data.reading import Opener, Parts, Pictures, flatten_pictures, pictures, reading, refusal
from softgrad.sources.file import remember
from softgrad.sources.fixed import FixedRows, Stretch, readable


def read_npy(path: Path, rows: Opener | None = None) -> Parts:
    """Rows of X.npy, got by `rows`, with the labels found beside it.

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
    return read_pair(path, labels, rows)


def read_pair(X_path: Path, y_path: Path, rows: Opener | None = None) -> Parts:
    """Rows and labels of two .npy files, and of their test twins where train is in both names."""
    rows = rows or _into_memory
    X, image_shape, layout = rows(X_path)
    parts = Parts(X_path.stem, X, array(y_path), image_shape=image_shape, layout=layout)
    X_test, y_test = (path.with_name(path.name.replace("train", "test")) for path in (X_path, y_path))
    if X_test != X_path and y_test != y_path:
        with reading(X_test):
            both = X_test.is_file() and y_test.is_file()
        if both:
            parts.X_test, parts.y_test = rows(X_test)[0], array(y_test)
    return parts


def _into_memory(path: Path) -> Pictures:
    return flatten_pictures(array(path))


def on_disk(path: Path) -> Pictures:
    """Rows of one .npy file, left where they are; bfloat16 is what NumPy stores as V2."""
    file = remember(path)
    with reading(path), path.open("rb") as opened:
        shape, in_columns, stored = _header(path, opened)
        start = opened.tell()
    if len(shape) < 2 or in_columns or 0 in shape:
        came = f"shape {shape}" + " in columns" * in_columns
        raise refusal(path, f"rows must lie one after the other, found {came}; save np.ascontiguousarray(X) with shape (N, D)")
    width = math.prod(shape[1:])
    stored = readable(f"stream({str(path)!r})", np.dtype(np.uint8) if stored.kind == "b" else stored)
    rows = FixedRows((Stretch(file, start, shape[0], width * stored.itemsize),), width, stored)
    return rows, *pictures(shape)


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


def array(path: Path) -> np.ndarray:
    """One array; the length is held against the header first, since NumPy's own message does not tell the bytes."""
    with reading(path):
        with path.open("rb") as file:
            _header(path, file)
        return np.load(path, allow_pickle=False)


def _header(path: Path, file: BinaryIO) -> tuple[tuple[int, ...], bool, np.dtype]:
    """Shape, whether columns lie together instead of rows, and type; the file stands at the first value then."""
    if file.read(6) != b"\x93NUMPY":
        raise refusal(path, "an .npy file must begin with 93 NUMPY (bad magic); it is no .npy file")
    file.seek(0)
    version = np.lib.format.read_magic(file)
    header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    if version > (2, 0):  # 3.0 is 2.0 with field names beyond latin1, so with structured arrays only
        raise refusal(path, "the array must be of numbers or text, found a structured one; save its columns")
    shape, in_columns, dtype = header(file)
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
    return shape, in_columns, dtype
