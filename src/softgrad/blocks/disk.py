"""Rows that are on disk: blocks are read into buffers that go round, ahead of the threads that compute.

    memory:  K buffers of at most limit / 16 each, K <= 8, and what a kernel makes of a block in floats, as much again

The edges depend on the data and on the limit, never on the number of threads: the same bits for every number, and the bits of rows in
memory where their blocks fit. Small blocks that stay in cache between reading and computing were tried here: what they save is lost to
handing over more of them. The compiled head does it: it reads files itself, some rows at a time (`whole`, native/window.hpp).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from threading import Event
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from softgrad import threads
from softgrad.arrays import refuse
from softgrad.blocks.block import AbstractRowBlocks, Block, Whole, cut, edges
from softgrad.row_source import AbstractRowSource

if TYPE_CHECKING:
    from concurrent.futures import Future

SHARE = 16  # of the memory limit: the largest block, counted in the floats that a kernel may make of it
READERS = 2  # threads that wait for the disk


@dataclass(frozen=True)
class DiskRows(AbstractRowBlocks):
    """X (N, D) in files, y (N,) or (N, C) and r (N,) in memory, cut into `n_blocks` slices of nearly equal length."""

    X: AbstractRowSource
    y: NDArray[Any]
    r: NDArray[np.float64]
    n_blocks: int

    @contextmanager
    def whole(self) -> Iterator[Whole | None]:
        with self.X.places() as found:
            if found is None:
                yield None
            else:
                stored, files = found
                X = np.empty((0, self.X.shape[1]), stored)
                yield Whole(Block(X, self.y, self.r), edges(self.X.shape[0], self.n_blocks), files)

    def blocks(self) -> Iterator[Block]:
        return (Block(self.X[i:j], self.y[i:j], self.r[i:j]) for i, j in cut(self.X.shape[0], self.n_blocks))

    def each(self, part: Callable[[Block], Any]) -> Iterator[Any]:
        """Block k is read into buffer k mod K once block k - K has been computed, while others are."""
        from concurrent.futures import ThreadPoolExecutor  # a tenth of the time that importing softgrad takes

        parts, room = cut(self.X.shape[0], self.n_blocks), self.X.memory_limit // 2
        size = max(int(self.X.nbytes(i, j)) for i, j in parts)
        K = max(2, min(threads.count() + READERS, room // max(1, _largest(self.X, self.n_blocks))))
        buffers, computed = [np.empty(size, np.uint8) for _ in range(min(K, len(parts)))], [Event() for _ in parts]

        def read(k: int) -> Block:
            if k >= K:
                computed[k - K].wait()
            i, j = parts[k]
            return Block(self.X.read(i, j, buffers[k % K]), self.y[i:j], self.r[i:j])

        def compute(reading: tuple[int, Future[Block]]) -> Any:
            k, block = reading
            try:
                return part(block.result())
            finally:
                computed[k].set()

        readers = ThreadPoolExecutor(READERS, thread_name_prefix="softgrad-disk")
        try:
            yield from threads.in_order(compute, _ahead(((k, readers.submit(read, k)) for k in range(len(parts))), K - 1))
        finally:  # also where a block failed or nobody wants the rest: readers must not wait for ever
            readers.shutdown(wait=False, cancel_futures=True)
            for event in computed:
                event.set()
            readers.shutdown()


def _ahead(items: Iterator[Any], n: int) -> Iterator[Any]:
    """The items, each handed out when the n after it have been started."""
    started: deque[Any] = deque()
    for item in items:
        started.append(item)
        if len(started) > n:
            yield started.popleft()
    yield from started


def on_disk(X: AbstractRowSource, y: NDArray[Any], r: NDArray[np.float64], n_blocks: int) -> DiskRows:
    """Rows on disk in n_blocks blocks, or in more where those would not fit into memory."""
    n, most = X.shape[0], X.memory_limit // SHARE
    while (largest := _largest(X, n_blocks)) > most and n_blocks < n:
        n_blocks = min(n, max(n_blocks + 1, int(n_blocks * largest / most)))
    if largest > X.memory_limit // 4:
        refuse("memory_limit", f"one row needs {largest} bytes, and four must fit", f"{X.memory_limit} bytes", "raise it")
    return DiskRows(X, y, r, n_blocks)


def _largest(X: AbstractRowSource, n_blocks: int) -> int:
    """Bytes of the largest block, dense rows counted as floats."""
    i, j = np.array(cut(X.shape[0], n_blocks)).T
    if hasattr(X, "indptr"):
        return int(X.nbytes(i, j).max())
    return int((j - i).max()) * X.shape[1] * max(4, X.dtype.itemsize)
