"""libsvm text, `label column:value column:value ...` a line: parsed once, a piece at a time, into CSR files that every pass reads.

Reference: C.-C. Chang, C.-J. Lin, LIBSVM: a library for support vector machines, 2011, doi 10.1145/1961189.1961199

Columns count from 1, as in the format's own tools, unless a column 0 occurs.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from softgrad.data.reading import Parts, reading, refusal
from softgrad.sources.csr import CsrRows
from softgrad.sources.file import File, remember
from softgrad.sources.spill import Spill

ENDINGS = (".libsvm", ".svmlight", ".svm")
PIECE = 1 << 22  # bytes of text at a time


@dataclass
class Parsed:
    """What a file came to: columns as they are written, values, labels, where the rows begin; least and largest column."""

    columns: File
    values: File
    y: np.ndarray
    indptr: np.ndarray
    least: int
    most: int


def read_libsvm(path: Path) -> Parts:
    """Rows of NAME.libsvm as CSR on disk and their labels; those of NAME.t or NAME.libsvm.t, or of test for train, are the test split."""
    twins = [path.with_name(path.stem + ".t"), path.with_name(path.name + ".t"), path.with_name(path.name.replace("train", "test"))]
    test_path = next((twin for twin in twins if twin != path and twin.is_file()), None)
    train = _parsed(path)
    test = None if test_path is None else _parsed(test_path)
    both = [train] if test is None else [train, test]
    base = 0 if any(part.least == 0 for part in both) else 1
    width = max(1, max(part.most for part in both) + 1 - base)
    X, *X_test = (_rows(part, base, width) for part in both)
    return Parts(path.stem, X, train.y, *([] if test is None else [X_test[0], test.y]))


def _rows(parsed: Parsed, base: int, width: int) -> CsrRows:
    return CsrRows(parsed.columns, parsed.values, parsed.indptr, (len(parsed.y), width), np.dtype(np.float64), base)


def _parsed(path: Path) -> Parsed:
    before, columns, values = remember(path), Spill(), Spill()
    labels, counts, least, most, line = [], [np.zeros(1, np.int64)], np.iinfo(np.int32).max, -1, 1
    for piece in _pieces(path):
        X, y = _piece(path, piece, line)
        if not np.isfinite(X.data).all():
            raise refusal(path, f"values must be finite numbers, found another from line {line} on; repair or drop it")
        labels.append(y)
        counts.append(np.diff(X.indptr).astype(np.int64))
        if X.nnz:
            least, most = min(least, int(X.indices.min())), max(most, int(X.indices.max()))
        columns.write(X.indices.astype(np.int32, copy=False))
        values.write(X.data)
        line += piece.count(b"\n")
    if not sum(map(len, labels)):
        raise refusal(path, "the file must have rows, found none; check how it was written")
    with before.opened():  # the same as before it was parsed
        return Parsed(columns.done(), values.done(), np.concatenate(labels), np.cumsum(np.concatenate(counts)), least, most)


def _pieces(path: Path) -> Iterator[bytes]:
    """Whole lines, about PIECE bytes of them."""
    with reading(path), path.open("rb") as file:
        while piece := file.read(PIECE):
            yield piece + file.readline()


def _piece(path: Path, text: bytes, line: int) -> Any:
    from sklearn.datasets import load_svmlight_file

    try:
        return load_svmlight_file(io.BytesIO(text), zero_based=True)  # type: ignore[arg-type]
    except (ValueError, OverflowError):
        lines = text.splitlines()
        if len(lines) == 1:
            what = lines[0][:60].decode("utf-8", "replace")
            raise refusal(
                path, f"a line must be a label and column:value pairs in ascending order, found {what!r} in line {line}; repair it"
            ) from None
        half = len(lines) // 2  # the first half is read again and again, but only on the way to an error
        for part, first in ((lines[:half], line), (lines[half:], line + half)):
            _piece(path, b"\n".join(part), first)
        raise
