"""Arrays out of a pickle without letting it run anything: no name in it leads to NumPy's or Python's own functions.

An allow-list of NumPy's rebuilding functions is not enough: a pickle may change a dtype after its array was made and so
have bytes read as object pointers. Here those names lead to stand-ins that take only plain numbers.
"""

from __future__ import annotations

import pickle
import re
from pathlib import Path
from typing import Any

import numpy as np

from softgrad.arrays import SoftgradError
from softgrad.data.reading import reading, refusal


def _text(value: str | bytes) -> str:
    return value.decode("latin1") if isinstance(value, bytes) else value  # Python 2 wrote bytes


class _Dtype:
    """Stand-in for numpy.dtype: a code as u1 or i8, and the byte order that its state tells."""

    def __init__(self, code: str | bytes, *_flags: object) -> None:
        if not re.fullmatch(r"[iuf][1248]|b1", _text(code)):
            raise pickle.UnpicklingError(f"an array of type {code!r}, not of numbers")
        self.plain = np.dtype(_text(code))

    def __setstate__(self, state: tuple) -> None:
        self.plain = self.plain.newbyteorder(">" if _text(state[1]) == ">" else "<")


class _Array:
    """Stand-in for numpy.ndarray: empty until its state arrives."""

    values: np.ndarray | None = None

    def __setstate__(self, state: tuple) -> None:
        _version, shape, dtype, fortran, raw = state
        self.values = np.frombuffer(raw, dtype.plain).reshape(shape, order="F" if fortran else "C")


def _reconstruct(_kind: object, _shape: object, _code: object) -> _Array:
    return _Array()


def _frombuffer(raw: bytes, dtype: _Dtype, shape: tuple, order: str) -> _Array:
    array = _Array()
    array.values = np.frombuffer(raw, dtype.plain).reshape(shape, order="F" if order == "F" else "C")
    return array


def _scalar(dtype: _Dtype, raw: bytes) -> Any:
    return np.frombuffer(raw, dtype.plain)[0]


def _encode(text: str, encoding: str) -> bytes:
    if encoding != "latin1":  # what protocol 2 writes for bytes; another codec would be somebody's idea
        raise pickle.UnpicklingError(f"the codec {encoding!r}")
    return text.encode("latin1")


STAND_INS = {
    **{(f"numpy.{core}.multiarray", "_reconstruct"): _reconstruct for core in ("core", "_core")},
    **{(f"numpy.{core}.multiarray", "scalar"): _scalar for core in ("core", "_core")},
    **{(f"numpy.{core}.numeric", "_frombuffer"): _frombuffer for core in ("core", "_core")},
    ("numpy", "ndarray"): _Array,
    ("numpy", "dtype"): _Dtype,
    ("_codecs", "encode"): _encode,
    **{(home, plain.__name__): plain for home in ("builtins", "__builtin__") for plain in (bytes, bytearray, set, frozenset)},
}


class _ArraysOnly(pickle.Unpickler):
    """Ends the reading at the first name that has no stand-in."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in STAND_INS:
            raise SoftgradError(
                f"the pickle must hold arrays and plain values only, found the global {f'{module}.{name}'!r}; "
                "do not open it otherwise, it may run code; get the official file"
            )
        return STAND_INS[module, name]


def read_pickle(path: Path) -> dict[str, Any]:
    """Read the dict of a pickle of Python 2 or 3, keys as text; its arrays are views of the bytes, hence read-only.

    Raises SoftgradError on a global that is no array, on damage, and where the pickle is no dict.
    """
    with reading(path), path.open("rb") as file:
        try:
            found = _ArraysOnly(file, encoding="bytes").load()
        except SoftgradError as error:
            raise refusal(path, f"{error}") from None
    if not isinstance(found, dict):
        raise refusal(path, f"the pickle must hold a dict, found {type(found).__name__}; get the file again")
    return {
        key.decode("latin1") if isinstance(key, bytes) else str(key): value.values if isinstance(value, _Array) else value
        for key, value in found.items()
    }
