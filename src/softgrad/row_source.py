"""Rows that lie elsewhere: what a file has to answer so that it can stand where X stands. Knows no format.

A source has the shape and the type of X, hands out slices and picked rows as arrays, and reads into buffers that are used again. It opens
its files anew for every read, so that it can be pickled, forked and shared by threads.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

MEMORY_LIMIT = 1 << 30


class AbstractRowSource(ABC):
    """Rows X (N, D), dense or CSR, read on demand; all that is held of them at a time stays below memory_limit bytes."""

    shape: tuple[int, int]
    dtype: np.dtype[Any]  # of the rows as they are handed out
    memory_limit: int
    ndim = 2

    @abstractmethod
    def nbytes(self, i: NDArray[Any] | int, j: NDArray[Any] | int) -> Any:
        """Bytes of rows i to j as they are handed out."""

    @abstractmethod
    def read(self, i: int, j: int, buffer: NDArray[np.uint8]) -> Any:
        """Rows i to j as an array, or as CSR, that lies in the first nbytes(i, j) bytes of the buffer.

        Raises SoftgradError where a file is not what it was when the source was made.
        """

    @abstractmethod
    def picked(self, k: NDArray[np.intp]) -> Any:
        """The rows of these numbers."""

    @contextmanager
    def places(self) -> Iterator[tuple[np.dtype[Any], NDArray[np.int64]] | None]:
        """Type of the rows as they are stored, and files (K, 3): descriptor, byte of the first row, number of that row; open meanwhile.

        None where rows do not lie one after the other, in a type that the kernels read.
        """
        yield None

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, k: slice | NDArray[Any]) -> Any:
        if not isinstance(k, slice):
            return self.picked(np.asarray(k))
        i, j, step = k.indices(self.shape[0])
        if step != 1:
            return self.picked(np.arange(i, j, step))
        j = max(i, j)
        return self.read(i, j, np.empty(self.nbytes(i, j), np.uint8))

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.shape[0]} x {self.shape[1]}, {self.dtype})"


def runs(k: NDArray[np.intp]) -> list[tuple[int, int]]:
    """Row numbers as stretches (i, j) that follow one another without a gap.

    >>> runs(np.array([3, 4, 5, 9]))
    [(3, 6), (9, 10)]
    """
    if not len(k):
        return []
    cuts = np.flatnonzero(np.diff(k) != 1) + 1
    first, last = np.concatenate([[0], cuts]), np.concatenate([cuts, [len(k)]]) - 1
    return list(zip(k[first].tolist(), (k[last] + 1).tolist(), strict=True))
