"""A temporary file for rows that cannot be read in place: text and Parquet are parsed once, and every pass reads what came of it.

It lies where TMPDIR says, and is deleted with the last source that reads it, or when Python ends.
"""

from __future__ import annotations

import os
import tempfile
import weakref
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from softgrad.sources.file import File, remember


class Spill:
    """Arrays are written one after the other; `done` gives the file to read."""

    def __init__(self) -> None:
        fd, path = tempfile.mkstemp(prefix="softgrad-", suffix=".rows")
        self.path = Path(path)
        weakref.finalize(self, self.path.unlink, missing_ok=True)
        self._fd = fd
        self._close = weakref.finalize(self, os.close, fd)

    def write(self, array: NDArray[np.generic]) -> None:
        rest = np.ascontiguousarray(array).reshape(-1).view(np.uint8)
        while rest.size:
            rest = rest[os.write(self._fd, rest.data) :]

    def done(self) -> File:
        self._close()
        return remember(self.path, owner=self)
