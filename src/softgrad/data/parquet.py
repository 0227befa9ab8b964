"""Rows in Parquet, flat columns or one column of lists: decoded once, some rows at a time, into a plain file that every pass reads.

A pass over Parquet itself was not tried: a fit takes tens of passes, and each would decompress everything again.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from softgrad.arrays import SoftgradError
from softgrad.data.reading import Parts, reading, refusal
from softgrad.sources.file import remember
from softgrad.sources.fixed import FixedRows, Stretch, readable
from softgrad.sources.spill import Spill

LABEL_NAMES = ("label", "target", "class", "y", "labels", "targets")
ROWS = 1024  # decoded at a time


def read_parquet(path: Path, label: str | int | None) -> Parts:
    """Rows of a Parquet file, left on disk, and their labels.

    Features are the one column of lists, all of one length; without one, all columns but the label, which must be numbers. The label is
    the column of this name or number, else the one named label, target, class, y, labels or targets.
    """
    before, spill = remember(path), Spill()
    labels: list[np.ndarray] = []
    found: tuple[int, np.dtype[Any]] | None = None
    label_name, names = "", [""]
    for label_name, names, X, y in _batches(path, label):  # noqa: B007 - the names are those of all batches
        this = X.shape[1], readable(f"stream({str(path)!r})", X.dtype)
        if this != (found := found or this):
            raise refusal(path, f"all rows must have {found[0]} values of {found[1]}, found {this[0]} of {this[1]}; make them alike")
        spill.write(X)
        labels.append(y)
    with before.opened():  # the same as before it was decoded
        if found is None:
            raise refusal(path, "the table must have rows, found none; check how it was written")
    (width, stored), y = found, np.concatenate(labels)
    X = FixedRows((Stretch(spill.done(), 0, len(y), width * stored.itemsize),), width, stored)
    return Parts(path.stem, X, y, feature_names=tuple(names) if len(names) == width else None, label_name=label_name)


def _batches(path: Path, label: str | int | None) -> Iterator[tuple[str, list[str], np.ndarray, np.ndarray]]:
    try:
        from pyarrow import lib, parquet  # type: ignore[import-not-found]
    except ImportError as error:
        do = "install it with pip install softgrad[parquet]"
        raise SoftgradError(f"stream({str(path)!r}): Parquet is read by pyarrow; got an environment without it; {do}.") from error
    with reading(path):
        try:
            with parquet.ParquetFile(path, buffer_size=1 << 20, pre_buffer=False) as table:  # not a whole row group in memory
                label_name, names = _columns(path, table.schema_arrow, label)
                for batch in table.iter_batches(ROWS, columns=[*names, label_name]):
                    yield label_name, names, _features(path, batch, names), _values(path, batch, label_name)
        except lib.ArrowException as error:
            raise ValueError(str(error)) from error


def _columns(path: Path, schema: Any, label: str | int | None) -> tuple[str, list[str]]:
    """Names of the label's column and of the features'."""
    if isinstance(label, int) and -len(schema.names) <= label < len(schema.names):
        label = schema.names[label]
    wanted = LABEL_NAMES if label is None else (str(label),)
    name = next((name for want in wanted for name in schema.names if name == want or (label is None and name.lower() == want)), None)
    if name is None:
        raise refusal(path, f"one column must hold the labels, found {', '.join(schema.names[:12])}; name it with label=")
    others = [field for field in schema if field.name != name]
    lists = [field.name for field in others if "list" in str(field.type)]
    if len(lists) > 1:
        raise refusal(path, f"one column of lists can be the features, found {', '.join(lists)}; drop the others")
    return name, lists or [field.name for field in others]


def _features(path: Path, batch: Any, names: list[str]) -> np.ndarray:
    column = batch.column(names[0]) if names else None
    if column is not None and "list" in str(column.type):
        values = column.flatten()
        if column.null_count or values.null_count or len(values) % len(column):
            raise refusal(path, "lists must all have one length and no gaps, found others; fill them or drop their rows")
        lengths = np.unique(column.value_lengths().to_numpy()) if hasattr(column, "value_lengths") else [len(values) // len(column)]
        if len(lengths) > 1:
            raise refusal(path, f"lists must all have one length, found {lengths[0]} and {lengths[1]}; make them alike")
        return values.to_numpy(zero_copy_only=False).reshape(len(column), -1)
    columns = [_values(path, batch, name) for name in names]
    strange = [name for name, values in zip(names, columns, strict=True) if values.dtype.kind not in "fiub"]
    if strange or not columns:
        raise refusal(path, f"features must be numbers, found {', '.join(strange[:8]) or 'no column'}; drop them, or name the label")
    return np.stack(columns, axis=1)


def _values(path: Path, batch: Any, name: str) -> np.ndarray:
    column = batch.column(name)
    if column.null_count:
        raise refusal(path, f"every row must have a value, found {column.null_count} without one in {name!r}; fill them or drop these rows")
    values = column.to_numpy(zero_copy_only=False)
    return values.astype(str) if values.dtype == object and values.size and isinstance(values[0], str) else values
