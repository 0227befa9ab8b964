"""The model file: arrays and a JSON description in the safetensors layout, readable everywhere and unable to run code.

Layout: length of the header (u64, little-endian) | header (JSON, padded with spaces to 8 bytes) | bytes of the arrays,
row by row. The header maps each name to {"dtype", "shape", "data_offsets": [begin, end]}; offsets count from the end of
the header, and the arrays fill the rest of the file without holes or overlaps. "__metadata__" maps strings to strings:
it holds the name of our format, its version, and our description as JSON text.

Written by hand because it takes these few lines, and a dependency that every user would have to install takes more.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from softgrad.arrays import SoftgradError
from softgrad.atomic import replacing

FORMAT, VERSION = "softgrad-model", 1
LONGEST_HEADER = 100_000_000  # the limit of the format: a longer one is damage or an attack

DTYPES = {
    "F64": "<f8", "F32": "<f4", "F16": "<f2", "I64": "<i8", "I32": "<i4", "I16": "<i2", "I8": "|i1",
    "U64": "<u8", "U32": "<u4", "U16": "<u2", "U8": "|u1", "BOOL": "|b1",
}  # fmt: skip
NAMES = {np.dtype(code): name for name, code in DTYPES.items()}


def write(path: str | os.PathLike[str], tensors: Mapping[str, np.ndarray], metadata: Mapping[str, Any]) -> None:
    """Write arrays of any shape and a JSON description to `path`, whole or not at all.

    Integers, booleans and floats of 16 to 64 bits keep every bit; `metadata` is anything that JSON can hold (no NaN, no
    infinity). Raises SoftgradError for other arrays or descriptions, OSError when the file cannot be written.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write(Path(folder) / "m.safetensors", {"coef": np.eye(2)}, {"classes": ["a", "b"]})
    ...     tensors, metadata = read(Path(folder) / "m.safetensors")
    >>> tensors["coef"].tolist(), metadata
    ([[1.0, 0.0], [0.0, 1.0]], {'classes': ['a', 'b']})
    """
    arrays = {name: _storable(name, array) for name, array in tensors.items()}
    # widest first, as the format's own writer does: then every array lies on a multiple of its item size
    order = sorted(arrays, key=lambda name: (-arrays[name].itemsize, name))
    header: dict[str, Any] = {"__metadata__": {"format": FORMAT, "version": str(VERSION), "softgrad": _description(metadata)}}
    end = 0
    for name in order:
        array, begin = arrays[name], end
        end = begin + array.nbytes
        header[name] = {"dtype": NAMES[array.dtype], "shape": list(array.shape), "data_offsets": [begin, end]}
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with replacing(path) as file:
        file.write(len(text).to_bytes(8, "little"))
        file.write(text)
        for name in order:
            file.write(arrays[name].data)


def read(path: str | os.PathLike[str]) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Read what `write` wrote: (arrays by name, description).

    Everything is checked before it is believed. Raises SoftgradError for a damaged file, another format or a newer
    version, OSError when the file cannot be read.
    """
    data = Path(path).read_bytes()
    header, body = _header(path, data)
    metadata = _metadata(path, header.pop("__metadata__", None))
    tensors, filled = {}, 0
    for name, entry in sorted(header.items(), key=lambda item: _begin(path, item)):
        dtype, shape, begin, end = _entry(path, name, entry)
        if begin != filled:
            _reject(path, "arrays lie one after the other", f"{name!r} begins at {begin}, not at {filled}")
        if end > len(body):
            _reject(path, "arrays lie inside the file", f"{name!r} ends at byte {end} of {len(body)} (cut off?)")
        tensors[name] = np.frombuffer(body[begin:end], dtype).reshape(shape).copy()
        filled = end
    if filled != len(body):
        _reject(path, "arrays fill the file", f"{len(body) - filled} bytes are left over")
    return tensors, metadata


def _storable(name: str, array: np.ndarray) -> np.ndarray:
    array = np.asarray(array)
    array = array.astype(array.dtype.newbyteorder("<"), order="C", copy=False)
    if name == "__metadata__" or array.dtype not in NAMES:
        raise SoftgradError(
            f"model_file.write(tensors): arrays of numbers or booleans under free names can be stored, "
            f"got {array.dtype} under {name!r}: store text in the metadata"
        )
    return array


def _description(metadata: Mapping[str, Any]) -> str:
    try:
        return json.dumps(dict(metadata), allow_nan=False)
    except (TypeError, ValueError) as error:
        raise SoftgradError(
            f"model_file.write(metadata): must be what JSON can hold, got {error}: turn it into text, numbers, lists"
        ) from None


def _reject(path: str | os.PathLike[str], rule: str, came: str) -> NoReturn:
    raise SoftgradError(f"{os.fspath(path)}: not a softgrad model: {rule}, but {came}: fit and save it again, or fetch a whole copy")


def _header(path: str | os.PathLike[str], data: bytes) -> tuple[dict[str, Any], memoryview]:
    if len(data) < 8:
        _reject(path, "a model begins with 8 bytes of length", f"the file has {len(data)} bytes")
    length = int.from_bytes(data[:8], "little")
    if length > min(LONGEST_HEADER, len(data) - 8):
        _reject(path, "the header lies inside the file", f"it claims {length} bytes, and {len(data) - 8} are there (cut off?)")
    try:
        header = json.loads(data[8 : 8 + length].decode("utf-8"), object_pairs_hook=_unique)
    except (ValueError, RecursionError):  # UnicodeDecodeError and JSONDecodeError are ValueErrors
        _reject(path, "the header is JSON with unique names", "it is something else")
    if not isinstance(header, dict):
        _reject(path, "the header is a JSON object", f"it is a {type(header).__name__}")
    return header, memoryview(data)[8 + length :]


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len(dict(pairs)) != len(pairs):
        raise ValueError("a name comes twice")
    return dict(pairs)


def _metadata(path: str | os.PathLike[str], stored: Any) -> dict[str, Any]:
    if not isinstance(stored, dict) or stored.get("format") != FORMAT:
        came = stored.get("format") if isinstance(stored, dict) else None
        _reject(path, f"the format is {FORMAT!r}", f"it is {came!r}")
    version = stored.get("version")
    if not (isinstance(version, str) and version.isdecimal()):
        _reject(path, "the version is a number", f"it is {version!r}")
    if int(version) > VERSION:
        raise SoftgradError(
            f"{os.fspath(path)}: this softgrad reads model files up to version {VERSION}, got version {version}: install a newer softgrad"
        )
    try:
        description = json.loads(stored["softgrad"])
    except (KeyError, TypeError, ValueError, RecursionError):
        _reject(path, "the description is JSON", "it is missing or something else")
    if not isinstance(description, dict):
        _reject(path, "the description is a JSON object", f"it is a {type(description).__name__}")
    return description


def _begin(path: str | os.PathLike[str], item: tuple[str, Any]) -> tuple[int, int]:
    return _entry(path, *item)[2:]


def _entry(path: str | os.PathLike[str], name: str, entry: Any) -> tuple[np.dtype[Any], tuple[int, ...], int, int]:
    """(dtype, shape, begin, end) of one array, each checked for itself and against the others."""
    if not isinstance(entry, dict) or set(entry) != {"dtype", "shape", "data_offsets"}:
        _reject(path, "an array has dtype, shape and data_offsets", f"{name!r} has {entry!r:.80}")
    if not isinstance(entry["dtype"], str) or entry["dtype"] not in DTYPES:
        _reject(path, f"a dtype is one of {', '.join(DTYPES)}", f"{name!r} has {entry['dtype']!r:.80}")
    shape, offsets = entry["shape"], entry["data_offsets"]
    if not (_sizes(shape) and _sizes(offsets) and len(offsets) == 2):
        _reject(path, "shape and offsets are whole numbers from 0 on", f"{name!r} has {shape!r:.80} and {offsets!r:.80}")
    dtype = np.dtype(DTYPES[entry["dtype"]])
    if offsets[1] - offsets[0] != math.prod(shape) * dtype.itemsize:
        _reject(path, "an array has as many bytes as its shape asks for", f"{name!r} has shape {shape!r:.80} and offsets {offsets}")
    return dtype, tuple(shape), offsets[0], offsets[1]


def _sizes(numbers: Any) -> bool:
    return isinstance(numbers, list) and all(type(number) is int and number >= 0 for number in numbers)
