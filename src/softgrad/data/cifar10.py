"""CIFAR-10 as its authors publish it: the binary version and the Python version (pickles, read without running code).

Reference: A. Krizhevsky, Learning multiple layers of features from tiny images, 2009;
https://www.cs.toronto.edu/~kriz/cifar.html

Both versions hold one row of 3072 bytes per image, the planes R, G, B one after the other, each row by row.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from softgrad.data.array_pickle import read_pickle
from softgrad.data.reading import Parts, reading, refusal
from softgrad.sources.file import remember
from softgrad.sources.fixed import FixedRows, Stretch

PIXELS = 3 * 32 * 32
ROW = 1 + PIXELS  # the binary version puts the label byte first
CHUNK = 1024  # rows; 3 MB, so that the whole set is never in memory twice
NAME = "cifar-10"
Batches = Callable[[list[Path]], tuple[Any, np.ndarray]]  # X and y of the files of a split

BINARY = re.compile(r"data_batch_\d+\.bin")
PICKLED = re.compile(r"data_batch_\d+")


def is_batch(path: Path) -> bool:
    """Whether the file is named as a batch of either version."""
    return bool(re.fullmatch(r"(data_batch_\d+|test_batch)(\.bin)?", path.name))


def read_folder(folder: Path, batches_of: Batches | None = None) -> Parts | None:
    """CIFAR-10, the binary version by `batches_of`, in this folder or in the authors' folder inside it; None where there is none.

    Any subset of data_batch_1..5 works; without test_batch the set has no test split of its own. Raises SoftgradError
    on truncated batches, labels above 9, pickles that want more than arrays, and on CIFAR-100.
    """
    for place in (folder, folder / "cifar-10-batches-bin", folder / "cifar-10-batches-py"):
        with reading(place):
            files = sorted(place.iterdir()) if place.is_dir() else []
        # By number, so that batch 10 of somebody's own cut follows batch 9
        files.sort(key=lambda path: int(re.sub(r"\D", "", path.name) or 0))
        for pattern, read, test, meta, read_names in (
            (BINARY, batches_of or _read_binary, "test_batch.bin", "batches.meta.txt", _text_names),
            (PICKLED, _read_pickles, "test_batch", "batches.meta", _pickled_names),
        ):
            batches = [path for path in files if pattern.fullmatch(path.name)]
            if batches:
                own = place / test in files
                X_test, y_test = read([place / test]) if own else (None, None)
                names = read_names(place / meta) if place / meta in files else tuple("0123456789")
                return Parts(NAME, *read(batches), X_test, y_test, names, (32, 32, 3), "planes")
        _refuse_cifar100(place, {path.name for path in files})
    return None


def _refuse_cifar100(folder: Path, names: set[str]) -> None:
    inside = {"cifar-100-binary", "cifar-100-python"} & names
    if inside or {"train.bin", "fine_label_names.txt"} <= names or {"train", "test", "meta"} <= names:
        raise refusal(
            folder,
            f"CIFAR-100 is not read, only CIFAR-10 is; found {', '.join(sorted(inside or names)[:4])}; "
            "save X (N, 3, 32, 32) and the labels you want as .npz",
        )


def on_disk(paths: list[Path]) -> tuple[FixedRows, np.ndarray]:
    """Pixels left where they are, behind the label byte of each row; the labels in memory."""
    files = [remember(path) for path in paths]
    counts = [_count(file.path, file.size) for file in files]
    X, y = (
        FixedRows(tuple(Stretch(file, start, n, ROW) for file, n in zip(files, counts, strict=True)), width, np.dtype(np.uint8))
        for start, width in ((1, PIXELS), (0, 1))
    )
    labels = y[:].ravel()
    for path, part in zip(paths, np.split(labels, np.cumsum(counts)[:-1]), strict=True):
        _check_labels(path, part)
    return X, labels


def _count(path: Path, size: int) -> int:
    if size == 0 or size % ROW:
        whole = max(1, -(-size // ROW))
        raise refusal(
            path,
            f"a batch must be rows of {ROW} bytes, expected {whole * ROW} bytes for {whole} rows, found "
            f"{size}; the file is truncated or no CIFAR-10 batch, get it again",
        )
    return size // ROW


def _read_binary(paths: list[Path]) -> tuple[np.ndarray, np.ndarray]:
    counts = []
    for path in paths:
        with reading(path):
            counts.append(_count(path, path.stat().st_size))
    X, y = np.empty((sum(counts), PIXELS), np.uint8), np.empty(sum(counts), np.uint8)
    start = 0
    for path, count in zip(paths, counts, strict=True):
        _fill(path, X[start : start + count], y[start : start + count])
        start += count
    return X, y


def _fill(path: Path, X: np.ndarray, y: np.ndarray) -> None:
    buffer = np.empty((CHUNK, ROW), np.uint8)
    with reading(path), path.open("rb") as file:
        for start in range(0, len(X), CHUNK):
            rows = buffer[: min(CHUNK, len(X) - start)]
            found = file.readinto(rows.data)
            if found != rows.nbytes:
                raise refusal(
                    path,
                    f"expected {len(X) * ROW} bytes, found {start * ROW + found}; the file shrank while it was read, try again",
                )
            X[start : start + len(rows)] = rows[:, 1:]
            y[start : start + len(rows)] = rows[:, 0]
    _check_labels(path, y)


def _check_labels(path: Path, y: np.ndarray) -> None:
    outside = (y < 0) | (y > 9)
    if outside.any():
        row = int(np.argmax(outside))
        raise refusal(
            path,
            f"CIFAR-10 labels must be 0..9, found {y[row]} in row {row}; the file is damaged or no CIFAR-10 batch (CIFAR-100 is not read)",
        )


def _text_names(path: Path) -> tuple[str, ...]:
    with reading(path):
        names = tuple(line.strip() for line in path.read_text(encoding="utf-8").splitlines() if line.strip())
    return _ten(path, names)


def _ten(path: Path, names: tuple[str, ...]) -> tuple[str, ...]:
    if len(names) != 10:
        raise refusal(path, f"the file must name 10 classes, found {len(names)}; get it again or remove it")
    return names


def _pickled_names(path: Path) -> tuple[str, ...]:
    with reading(path):
        names = read_pickle(path).get("label_names", ())
        return _ten(path, tuple(name.decode("utf-8") if isinstance(name, bytes) else str(name) for name in names))


def _read_pickles(paths: list[Path]) -> tuple[np.ndarray, np.ndarray]:
    most = 0
    for path in paths:
        with reading(path):
            most += path.stat().st_size // PIXELS  # no batch can hold more rows; untouched pages cost nothing
    X, y = np.empty((most, PIXELS), np.uint8), np.empty(most, np.uint8)
    start = 0
    for path in paths:
        data, labels = _batch(path)
        stop = start + len(data)
        if stop > most:
            raise refusal(path, f"the rows must lie in the file, found {len(data)} rows; get the file again")
        X[start:stop], y[start:stop] = data, labels
        start = stop
    return X[:start], y[:start]


def _batch(path: Path) -> tuple[np.ndarray, np.ndarray]:
    found = read_pickle(path)
    if "fine_labels" in found:
        raise refusal(path, "CIFAR-100 is not read, only CIFAR-10 is; found 'fine_labels' in the pickle")
    if not {"data", "labels"} <= found.keys():
        raise refusal(path, f"a batch must hold 'data' and 'labels', found {sorted(map(str, found))}; get the file again")
    data = found["data"]
    if not isinstance(data, np.ndarray) or data.dtype != np.uint8 or data.ndim != 2 or data.shape[1] != PIXELS or not len(data):
        what = f"{data.dtype} {data.shape}" if isinstance(data, np.ndarray) else type(data).__name__
        raise refusal(path, f"'data' must be uint8 (N, {PIXELS}), found {what}; get the file again")
    with reading(path):
        labels = np.asarray(found["labels"])
    if labels.shape != (len(data),) or labels.dtype.kind not in "iu":
        raise refusal(
            path,
            f"there must be one whole number per row, found {len(data)} rows and labels {labels.dtype} {labels.shape}; get the file again",
        )
    _check_labels(path, labels)
    return data, labels
