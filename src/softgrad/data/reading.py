"""What every reader shares: the parts it hands over, and the guard that turns a broken file into one clear sentence.

Readers import this room and no other; `assemble` makes a Dataset of the parts.
"""

from __future__ import annotations

import csv
import pickle
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from softgrad.arrays import SoftgradError

# What the standard library and NumPy raise on damaged bytes. ValueError covers UnicodeDecodeError and np.load; KeyError
# and the rest come out of damaged pickles and zip directories.
DAMAGE = (
    OSError,
    EOFError,
    ValueError,
    KeyError,
    IndexError,
    TypeError,
    AttributeError,
    OverflowError,
    MemoryError,
    NotImplementedError,
    RuntimeError,
    zlib.error,
    zipfile.BadZipFile,
    csv.Error,
    pickle.UnpicklingError,
)


@dataclass
class Parts:
    """What a reader found, unchecked: X (N, D), y (N,) numbers or text, the own test split if there is one.

    `classes` are names by class number, or label values in class order; None: the sorted labels are the classes. Of a table with a header
    `feature_names` are the columns of X, and `label_name` is the labels'.
    """

    name: str
    X: Any
    y: Any
    X_test: Any = None
    y_test: Any = None
    classes: Any = None
    image_shape: tuple[int, ...] | None = None
    layout: str = "rows"
    feature_names: tuple[str, ...] | None = None
    label_name: str | None = None


def refusal(path: Path, text: str) -> SoftgradError:
    """Error for a reader to raise: the call with the file in it, then the rule, what came and what to do."""
    return SoftgradError(f"load({str(path)!r}): {text}")


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Turn whatever a damaged or locked file makes Python raise into a SoftgradError that names the file."""
    try:
        yield
    except SoftgradError:
        raise
    except DAMAGE as error:
        what = " ".join(str(error).split())  # NumPy's messages run over several lines
        do = "save it as UTF-8" if isinstance(error, UnicodeDecodeError) else "check its permissions and get it again"
        raise refusal(path, f"the file must be readable and whole, found {type(error).__name__}: {what}; {do}") from error


def holdings(folder: Path, most: int = 8) -> str:
    """List what a folder holds, in a few words for a message."""
    with reading(folder):
        names = sorted(entry.name + "/" * entry.is_dir() for entry in folder.iterdir())
    if not names:
        return "nothing"
    return ", ".join(names[:most]) + (f", ... ({len(names)} entries)" if len(names) > most else "")


Pictures = tuple[Any, tuple[int, ...] | None, str]  # rows (N, D), image_shape, layout
Opener = Callable[[Path], Pictures]  # how a reader gets at the rows of one file: into memory, or as a source that stays on disk


def flatten_pictures(X: np.ndarray) -> Pictures:
    """Rows (N, D), image_shape and layout of an array (N, ...)."""
    rows = X if X.ndim < 3 else X.reshape(len(X), -1 if X.size else 0)
    return rows, *pictures(X.shape)


def pictures(shape: tuple[int, ...]) -> tuple[tuple[int, ...] | None, str]:
    """image_shape and layout of an array of this shape.

    (N, H, W), (N, H, W, 1 or 3) and the channel planes (N, 1 or 3, H, W) are pictures; anything else is only flattened.
    """
    sizes = shape[1:]
    if len(sizes) == 2:
        return sizes, "rows"
    if len(sizes) == 3 and sizes[2] in (1, 3):
        return sizes if sizes[2] == 3 else sizes[:2], "rows"
    if len(sizes) == 3 and sizes[0] == 3:
        return (*sizes[1:], 3), "planes"
    if len(sizes) == 3 and sizes[0] == 1:
        return sizes[1:], "rows"
    return None, "rows"
