"""Rows of equal length that lie one after the other in one file or in many: .npy, CIFAR, IDX, safetensors, spills.

Row k of a stretch begins at byte  start + k stride.  Where the stride is the row and the type is one that the kernels read, the system
writes right into the caller's buffer. All else (a label byte before each row, a foreign byte order, bfloat16) goes through a small piece
that stays in cache.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from softgrad.arrays import FLOATS, refuse
from softgrad.row_source import MEMORY_LIMIT, AbstractRowSource, runs
from softgrad.sources.file import File, Fill

PIECE = 1 << 18  # bytes
OPEN = 100  # files at a time; some systems allow a process 256
BFLOAT16 = np.dtype("V2")  # the name under which NumPy stores what it does not know


@dataclass(frozen=True)
class Stretch:
    """`rows` rows in a file; row k begins at start + k stride."""

    file: File
    start: int
    rows: int
    stride: int


@dataclass(frozen=True, repr=False)
class FixedRows(AbstractRowSource):
    """Rows (N, D) of type `stored` in stretches; handed out in the type in which X in memory would be read."""

    stretches: tuple[Stretch, ...]
    width: int  # D
    stored: np.dtype[Any]
    memory_limit: int = field(default=MEMORY_LIMIT, compare=False)

    @cached_property
    def edges(self) -> list[int]:
        """First row of each stretch, and N."""
        return [0, *np.cumsum([s.rows for s in self.stretches]).tolist()]

    @cached_property
    def shape(self) -> tuple[int, int]:  # type: ignore[override]
        return self.edges[-1], self.width

    @cached_property
    def dtype(self) -> np.dtype[Any]:  # type: ignore[override]
        return handed_out(self.stored)

    def nbytes(self, i: Any, j: Any) -> Any:
        return (j - i) * (self.width * self.dtype.itemsize)

    def read(self, i: int, j: int, buffer: NDArray[np.uint8]) -> NDArray[Any]:
        X = buffer[: self.nbytes(i, j)].view(self.dtype).reshape(j - i, self.width)
        for s, begin in zip(self.stretches, self.edges[:-1], strict=True):
            first, last = max(i, begin), min(j, begin + s.rows)
            if first < last:
                with s.file.opened() as fill:
                    self._read(fill, s.start + (first - begin) * s.stride, s.stride, X[first - i : last - i])
        return X

    @contextmanager
    def places(self) -> Iterator[tuple[np.dtype[Any], NDArray[np.int64]] | None]:
        raw = np.dtype(np.uint16) if self.stored == BFLOAT16 else self.dtype
        row = self.width * self.stored.itemsize
        if self.stored not in (self.dtype, BFLOAT16) or len(self.stretches) > OPEN or any(s.stride != row for s in self.stretches):
            yield None
            return
        with ExitStack() as files:
            opened = [files.enter_context(s.file.unchanged()).fileno() for s in self.stretches]
            yield raw, np.array([opened, [s.start for s in self.stretches], self.edges[:-1]]).T.copy()

    def picked(self, k: NDArray[np.intp]) -> NDArray[Any]:
        X, done = np.empty((len(k), self.width), self.dtype), 0
        for i, j in runs(k):
            self.read(i, j, X[done : done + j - i].reshape(-1).view(np.uint8))
            done += j - i
        return X

    def _read(self, fill: Fill, offset: int, stride: int, X: NDArray[Any]) -> None:
        row = self.width * self.stored.itemsize
        if stride == row and self.stored == self.dtype:
            fill(offset, X.reshape(-1).view(np.uint8))
            return
        step = max(1, PIECE // stride)
        piece = np.empty(min(step, len(X)) * stride, np.uint8)
        for k in range(0, len(X), step):
            part = X[k : k + step]
            raw = piece[: (len(part) - 1) * stride + row]
            fill(offset + k * stride, raw)
            cells = np.lib.stride_tricks.as_strided(raw, (len(part), row), (stride, 1))
            widen(np.ascontiguousarray(cells).view(self.stored), part)


def handed_out(stored: np.dtype[Any]) -> np.dtype[Any]:
    """The type in which a stored type reaches the kernels: what `arrays.features` makes of it, and float32 for bfloat16."""
    if stored == BFLOAT16:
        return np.dtype(np.float32)
    native = stored.newbyteorder("=")
    return native if native in FLOATS or native == np.uint8 else np.dtype(np.float64)


def widen(cells: NDArray[Any], out: NDArray[Any]) -> None:
    """Cells of a stored type in the type that is handed out; bfloat16 is the upper half of a float32."""
    if cells.dtype == BFLOAT16:
        np.left_shift(cells.view("<u2"), np.uint32(16), out=out.view(np.uint32), dtype=np.uint32)
    else:
        out[...] = cells


def readable(argument: str, stored: np.dtype[Any]) -> np.dtype[Any]:
    """A stored type that rows may have."""
    if not (stored == BFLOAT16 or (stored.kind in "fiub" and stored.itemsize <= 8)):
        refuse(argument, "rows must be numbers of at most 64 bits", f"dtype {stored}", "convert them to float16, float32 or uint8")
    return stored


def joined(call: str, parts: list[FixedRows]) -> FixedRows:
    """Rows of several files as one source; raises SoftgradError where widths or types differ."""
    first = parts[0]
    for part in parts[1:]:
        if (part.width, part.stored) != (first.width, first.stored):
            came = f"{part.width} of {part.stored} in {part.stretches[0].file.path}"
            rule = f"all files must have rows of {first.width} values of {first.stored}, as {first.stretches[0].file.path} has"
            refuse(call, rule, came, "write them all in one way")
    return FixedRows(tuple(s for part in parts for s in part.stretches), first.width, first.stored)
