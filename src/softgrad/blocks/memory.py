"""Rows that are in memory: blocks are slices, nothing is copied."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from softgrad.blocks.block import AbstractRowBlocks, Block, Whole, cut, edges

WORK = 3e7  # multiplications of a block, one direction: about 3 ms, a hundred times what starting it costs
ROWS = 2048  # adding a block's gradient must cost little beside making it, also for many threads: at least so many (dense) rows,
FEW_ROWS = 256  # or so many for few classes, whose gradient is small
MOST = 64  # blocks: enough for a large machine's threads


@dataclass(frozen=True)
class MemoryRows(AbstractRowBlocks):
    """X (N, D) dense or CSR, y (N,) or (N, C), r (N,), cut into `n_blocks` slices of nearly equal length; out (N, D) or None."""

    X: Any
    y: NDArray[Any]
    r: NDArray[np.float64]
    n_blocks: int
    out: NDArray[Any] | None = None

    @contextmanager
    def whole(self) -> Iterator[Whole]:
        yield Whole(Block(self.X, self.y, self.r, self.out), edges(self.X.shape[0], self.n_blocks))

    def blocks(self) -> Iterator[Block]:
        block = Block(self.X, self.y, self.r, self.out)
        return (block.part(slice(i, j)) for i, j in cut(self.X.shape[0], self.n_blocks))


def count(X: Any, n_classes: int) -> int:
    """How many blocks X (N, D) is cut into: by the work that a pass takes with n_classes columns; never by the number of threads."""
    n, d = X.shape
    cells = X.nnz if hasattr(X, "nnz") else n * d
    dense_rows = cells / max(d, 1)  # sparse rows make as much gradient as dense ones, with less work
    work, least = cells * n_classes / WORK, ROWS if n_classes > 32 else FEW_ROWS
    # a tenth of WORK for the few: the alternative is one thread for all
    found = max(1, int(max(min(work, dense_rows / least, MOST), min(10 * work, _of_few(dense_rows)))))
    return found if found >= 8 else 1 << found.bit_length() - 1  # with three blocks one of two threads stands still half of the time


def _of_few(rows: float) -> float:
    """Blocks of a little data, which few threads share: two from FEW_ROWS rows on, four from as many for each.

    With eight, adding them up costs more than it saves. On two threads 3000 x 1024 x 1000 took 150 ms in one block, 80 in two or four, 128
    in eight.
    """
    return max(min(2 * rows / FEW_ROWS, 2), min(rows / FEW_ROWS, 4))


def in_memory(X: Any, y: NDArray[Any], r: NDArray[np.float64], n_classes: int, out: NDArray[Any] | None = None) -> MemoryRows:
    """Rows in memory, and where the gradient by them goes, if asked for."""
    return MemoryRows(X, y, r, count(X, n_classes), out)
