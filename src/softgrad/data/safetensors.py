"""Rows in a .safetensors file: a length, a header in JSON, and the bytes of all tensors, of which only the rows asked for are read.

Reference: https://github.com/huggingface/safetensors, "Format"
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np

from softgrad.data.reading import Parts, Pictures, pictures, reading, refusal
from softgrad.sources.file import File, remember
from softgrad.sources.fixed import BFLOAT16, FixedRows, Stretch

LONGEST_HEADER = 100_000_000  # the limit of the format
DTYPES = {
    "F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": BFLOAT16.str, "I64": "<i8", "I32": "<i4", "I16": "<i2", "I8": "|i1",
    "U64": "<u8", "U32": "<u4", "U16": "<u2", "U8": "|u1", "BOOL": "|u1",
}  # fmt: skip
ROWS = ("x", "data", "features", "embeddings", "images")
LABELS = ("y", "label", "labels", "target", "targets")


def read_safetensors(path: Path) -> Parts:
    """Rows X (features, embeddings, ...), left on disk, and labels y (labels, targets, ...); also X_train, X_test, ..."""
    file = remember(path)
    tensors, start = _header(path, file)
    X_name, y_name, X_test, y_test = (
        _named(tensors, words, split) for split in ("train", "test") for words in (ROWS, LABELS)
    )
    X_name, y_name = X_name or _named(tensors, ROWS), y_name or _named(tensors, LABELS)
    if X_name is None or y_name is None or (X_test is None) != (y_test is None):
        raise refusal(
            path,
            f"the file must hold rows (X, or {', '.join(ROWS[1:])}) and labels (y, or {', '.join(LABELS[1:])}), each split with both, "
            f"found {', '.join(tensors) or 'no tensors'}; rename them",
        )
    X, image_shape, layout = _rows(path, file, start, X_name, tensors[X_name])
    parts = Parts(path.stem, X, _labels(path, file, start, y_name, tensors[y_name]), image_shape=image_shape, layout=layout)
    if X_test is not None and y_test is not None:
        parts.X_test = _rows(path, file, start, X_test, tensors[X_test])[0]
        parts.y_test = _labels(path, file, start, y_test, tensors[y_test])
    return parts


def _named(tensors: dict[str, Any], words: tuple[str, ...], split: str = "") -> str | None:
    wanted = [f"{word}_{split}" for word in words] + [f"{split}_{word}" for word in words] if split else list(words)
    return next((name for word in wanted for name in tensors if name.lower() == word), None)


def _header(path: Path, file: File) -> tuple[dict[str, Any], int]:
    """Tensors by name, and where their bytes begin."""
    file.expect(8)
    with reading(path), path.open("rb") as opened:
        length = int.from_bytes(opened.read(8), "little")
        if length > LONGEST_HEADER:
            raise refusal(path, f"the header must have at most {LONGEST_HEADER} bytes, found {length}; it is no safetensors file")
        file.expect(8 + length)
        tensors = json.loads(opened.read(length))
        tensors.pop("__metadata__", None)
    return tensors, 8 + length


def _rows(path: Path, file: File, start: int, name: str, entry: Any) -> Pictures:
    with reading(path):
        stored, shape, (begin, end) = np.dtype(DTYPES[entry["dtype"]]), tuple(map(int, entry["shape"])), entry["data_offsets"]
    width = math.prod(shape[1:])
    if len(shape) == 0 or 0 in shape or end - begin != shape[0] * width * stored.itemsize or begin < 0:
        raise refusal(path, f"{name} must be a tensor of rows, found shape {shape} in bytes {begin} to {end}; get the file again")
    file.expect(start + end)
    rows = FixedRows((Stretch(file, start + begin, shape[0], width * stored.itemsize),), width, stored)
    return rows, *pictures(shape)


def _labels(path: Path, file: File, start: int, name: str, entry: Any) -> np.ndarray:
    y = _rows(path, file, start, name, entry)[0]
    if y.width != 1:
        raise refusal(path, f"{name} must hold one label for each row, found {y.width}; save class numbers")
    return y[:].ravel()
