"""From a reader's parts to a Dataset: check rows and labels once, number the classes, hold rows out where no test came.

Messages quote the call as the user typed it, handed down as `call`.
"""

from __future__ import annotations

import sys
from typing import Any

import numpy as np

from softgrad import arrays
from softgrad.arrays import SoftgradError
from softgrad.data.dataset import Dataset
from softgrad.data.reading import Parts
from softgrad.data.split import stratified
from softgrad.row_source import AbstractRowSource


def assemble(parts: Parts, call: str, test_size: float, seed: int, least_classes: int) -> Dataset:
    """Build the Dataset of what a reader found; raises SoftgradError where rows and labels do not fit together."""
    own_test = parts.X_test is not None
    X, y = checked_rows(parts.X, f"{call}: X"), _labels(parts.y, f"{call}: y")
    _same_count(X, y, call, "training")
    _finite(X, f"{call}: X")
    X_test = y_test = None
    if own_test:
        X_test, y_test = checked_rows(parts.X_test, f"{call}: X_test"), _labels(parts.y_test, f"{call}: y_test")
        _same_count(X_test, y_test, call, "test")
        _finite(X_test, f"{call}: X_test")
        if X.shape[1] != X_test.shape[1]:
            raise SoftgradError(
                f"{call}: training and test rows must have the same features, found {X.shape[1]} and "
                f"{X_test.shape[1]}; make both with the same preprocessing"
            )
    y, y_test, classes = _number(y, y_test, parts.classes, call)
    if len(present := np.unique(y)) < least_classes:
        came = f"only {classes[present[0]]!r}" if len(present) == 1 else f"{len(present)}"
        raise SoftgradError(
            f"{call}: the training labels must name at least {least_classes} classes, found {came}; check the label column or file"
        )
    if not own_test and not test_size:
        X_test, y_test = X[:0], y[:0]
    elif X_test is None or y_test is None:
        train, test = stratified(y, test_size, seed)
        if not len(test):
            raise SoftgradError(
                f"{call}: {test_size:g} of {len(y)} rows must leave at least one test row, found none to spare beside "
                f"{len(present)} classes; raise test_size=, give a test split, or check that these are the labels"
            )
        X, X_test, y, y_test = X[train], X[test], y[train], y[test]
    told = parts.image_shape, parts.layout, parts.feature_names, parts.label_name
    return Dataset(parts.name, X, y, X_test, y_test, classes, own_test, *told)


def checked_rows(X: Any, what: str) -> Any:
    """X in a type and an order that kernels read; raises SoftgradError where there is none."""
    if isinstance(X, AbstractRowSource):
        return X
    if getattr(X, "format", None) != "csr":
        X = np.asarray(X)
        if X.ndim != 2:
            raise SoftgradError(f"{what} must have rows and columns, found shape {X.shape}; save it as (N, D) or as pictures")
    if X.dtype.kind == "b":
        X = X.astype(np.uint8)
    if X.dtype.kind not in "uif" or X.dtype.itemsize > 8:
        raise SoftgradError(f"{what} must hold integers or floats of at most 64 bits, found {X.dtype}; convert it and save again")
    if 0 in X.shape:
        raise SoftgradError(f"{what} must not be empty, found shape {X.shape}; check how the file was written")
    if isinstance(X, np.ndarray):  # C order and the machine's byte order; copies only what has another
        return np.ascontiguousarray(X, X.dtype.newbyteorder("="))
    return X


def _labels(y: Any, what: str) -> np.ndarray:
    y = np.asarray(y)
    if y.ndim == 2 and y.shape[1] == 1:
        y = y[:, 0]
    if y.ndim != 1:
        hint = "take argmax(1) of one-hot rows" if y.ndim == 2 else "one label per row"
        raise SoftgradError(f"{what} must have shape (N,), found {y.shape}; {hint}")
    if y.dtype.kind == "S":
        return np.strings.decode(y, "utf-8", "replace")
    if y.dtype.kind == "U":
        return y
    if y.dtype.kind == "f":
        whole = np.isfinite(y) & (y == np.floor(y)) & (np.abs(y) < 2.0**53)
        if not whole.all():
            row = int(np.argmin(whole))
            raise SoftgradError(f"{what} must hold whole numbers or text, found {y[row]} in row {row}; softgrad classifies only")
    elif y.dtype.kind not in "biu":
        raise SoftgradError(f"{what} must hold whole numbers or text, found {y.dtype}; convert it and save again")
    if y.dtype.kind == "u" and y.size and y.max() > sys.maxsize:
        raise SoftgradError(f"{what} must fit int64, found {y.max()}; number the classes from 0")
    return y.astype(np.int64)


def _finite(X: Any, what: str) -> None:
    """Rows in memory are looked at here, where they still have the file's numbers; a source's are when they are read."""
    if not isinstance(X, AbstractRowSource):
        arrays.finite_features(what, X)


def _same_count(X: Any, y: np.ndarray, call: str, split: str) -> None:
    if X.shape[0] != len(y):
        raise SoftgradError(
            f"{call}: the {split} split must have one label per row, found {X.shape[0]} rows and {len(y)} labels; "
            "check that both files belong together"
        )


def _number(y: np.ndarray, y_test: np.ndarray | None, names: Any, call: str) -> tuple[np.ndarray, Any, tuple[str, ...]]:
    """Class numbers of both splits and the names; one numbering for both, so a class may occur in one of them only."""
    both = y if y_test is None else np.concatenate([y, y_test])
    if y_test is not None and y.dtype.kind != y_test.dtype.kind:
        raise SoftgradError(
            f"{call}: training and test labels must be of one kind, found {y.dtype} and {y_test.dtype}; save both the same way"
        )
    values = np.unique(both) if names is None else _labels(names, f"{call}: classes")
    if names is not None and len(set(values.tolist())) < len(values):
        twice = next(value for value in values.tolist() if values.tolist().count(value) > 1)
        raise SoftgradError(f"{call}: class names must differ, found {twice!r} more than once; rename one")
    if values.dtype.kind == both.dtype.kind:
        numbers, outside = _look_up(both, values)
    elif both.dtype.kind == "i":  # labels are class numbers, names are text
        numbers, outside = both, (both < 0) | (both >= len(values))
    else:
        raise SoftgradError(f"{call}: text labels need text in classes, found {values.dtype}; save the class names")
    if outside.any():
        row = int(np.argmax(outside))
        split, place = ("training", row) if row < len(y) else ("test", row - len(y))
        raise SoftgradError(
            f"{call}: every label must be one of the {len(values)} classes, found {both[row].item()!r} in {split} "
            f"row {place}; repair the label or the class names"
        )
    numbers = np.ascontiguousarray(numbers, np.int64)
    test = None if y_test is None else numbers[len(y) :]
    return numbers[: len(y)], test, tuple(str(value) for value in values.tolist())


def _look_up(labels: np.ndarray, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Positions of labels in values (any order) and which labels are missing there."""
    order = np.argsort(values, kind="stable")
    spot = np.minimum(np.searchsorted(values, labels, sorter=order), len(values) - 1)
    numbers = order[spot]
    return numbers, values[numbers] != labels
