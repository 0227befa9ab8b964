"""CSR rows in two files, one of column numbers and one of values. Where each row begins is kept in memory."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from softgrad.row_source import MEMORY_LIMIT, AbstractRowSource, runs
from softgrad.sources.file import File


@dataclass(frozen=True, repr=False)
class CsrRows(AbstractRowSource):
    """Rows (N, D): int32 column numbers in one file, values of `dtype` in another, row i at indptr[i] to indptr[i + 1]."""

    columns: File
    values: File
    indptr: NDArray[np.int64]
    shape: tuple[int, int]
    dtype: np.dtype[Any]
    base: int = 0  # number of the first column in the file
    memory_limit: int = field(default=MEMORY_LIMIT, compare=False)

    @property
    def nnz(self) -> int:
        return int(self.indptr[-1])

    def nbytes(self, i: Any, j: Any) -> Any:
        return (self.indptr[j] - self.indptr[i]) * (4 + self.dtype.itemsize)

    def read(self, i: int, j: int, buffer: NDArray[np.uint8]) -> Any:
        n, size = int(self.indptr[j] - self.indptr[i]), self.dtype.itemsize
        data = buffer[: size * n].view(self.dtype)
        indices = buffer[size * n : (size + 4) * n].view(np.int32)
        self._fill(int(self.indptr[i]), indices, data)
        return self._csr(data, indices, self.indptr[i : j + 1] - self.indptr[i])

    def picked(self, k: NDArray[np.intp]) -> Any:
        indptr = np.concatenate([[0], np.cumsum(self.indptr[k + 1] - self.indptr[k])])
        indices, data, row = np.empty(indptr[-1], np.int32), np.empty(indptr[-1], self.dtype), 0
        for i, j in runs(k):
            cells = slice(indptr[row], indptr[row + j - i])
            self._fill(int(self.indptr[i]), indices[cells], data[cells])
            row += j - i
        return self._csr(data, indices, indptr)

    def _fill(self, first: int, indices: NDArray[np.int32], data: NDArray[Any]) -> None:
        with self.columns.opened() as fill:
            fill(4 * first, indices)
        indices -= np.int32(self.base)
        with self.values.opened() as fill:
            fill(self.dtype.itemsize * first, data)

    def _csr(self, data: NDArray[Any], indices: NDArray[np.int32], indptr: NDArray[np.int64]) -> Any:
        from scipy.sparse import csr_array

        rows = csr_array((len(indptr) - 1, self.shape[1]), dtype=self.dtype)
        rows.data, rows.indices, rows.indptr = data, indices, indptr.astype(np.int32) if indptr[-1] < 1 << 31 else indptr
        return rows
