"""Rows at random: mini-batches gathered and widened one at a time, so that X stays in its storage type.

    x~ = (x - mu, s)        features centred, and a constant feature s whose coefficient is the intercept (s = 0: there is none)

Dense rows are centred as they are widened. Sparse ones stay sparse:  x~ = (x, 0) + c,  c = (-mu, s), whose share of scores and gradients is
a product with c.

In memory an epoch is one shuffle of all rows. On disk rows come in piles: chunks of neighbouring rows, drawn from all over the file, are
read until the pile is full, and its rows are shuffled together (CorgiPile: Xu et al. 2022, doi 10.1145/3514221.3526150). Large chunks one
by one would read no faster, and where a file is sorted by class, all mini-batches of one would be of that class.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import count
from typing import Any

import numpy as np
from numpy.typing import NDArray

from softgrad.blocks.block import Block
from softgrad.row_source import AbstractRowSource
from softgrad.widening import widened

Array = NDArray[Any]
Numbers = NDArray[np.intp]
Parts = list[tuple[Block, Numbers]]  # rows by their numbers in blocks

STEP = 64  # rows gathered at a time
PILE = 8  # the part of the memory limit that a pile takes: one is used, one read, one of mini-batches under way
CHUNKS = 32  # of a pile: 4 MB each at 1 GiB, so that seeking costs little beside reading


class AbstractFeatures(ABC):
    """Rows x~ (n, D + 1) of a mini-batch."""

    @abstractmethod
    def scores(self, W: Array, out: Array) -> None:
        """out (n, K) = X~ W' for W (K, D + 1)."""

    @abstractmethod
    def gradient(self, g: Array, out: Array) -> None:
        """out (K, D + 1) = g' X~ for g (n, K)."""

    @abstractmethod
    def lengths(self) -> tuple[Array, Array]:
        """|x~|^2 and |x~|_1 (an upper bound, where rows are sparse) of every row, (n,)."""


class Dense(AbstractFeatures):
    """Widened and centred."""

    def __init__(self, parts: Parts, mu: Array, s: float):
        self.X, end = np.empty((sum(len(picked) for _, picked in parts), len(mu) + 1), mu.dtype), 0
        for rows, picked in parts:
            for i in range(0, len(picked), STEP):  # what is gathered stays in cache until it is widened
                some = picked[i : i + STEP]
                np.subtract(widened(rows.X[some], mu.dtype), mu, out=self.X[end : end + len(some), :-1])
                end += len(some)
        self.X[:, -1] = s

    def scores(self, W: Array, out: Array) -> None:
        np.matmul(self.X, W.T, out=out)

    def gradient(self, g: Array, out: Array) -> None:
        np.matmul(g.T, self.X, out=out)

    def lengths(self) -> tuple[Array, Array]:
        return np.einsum("ij,ij->i", self.X, self.X), np.abs(self.X).sum(axis=1)


class Sparse(AbstractFeatures):
    """CSR rows and the constant row c."""

    def __init__(self, parts: Parts, mu: Array, s: float):
        from scipy.sparse import vstack

        self.X = vstack([rows.X[picked] for rows, picked in parts], "csr", mu.dtype)
        self.c = np.append(-mu, mu.dtype.type(s))

    def scores(self, W: Array, out: Array) -> None:
        out[:] = self.X @ W[:, :-1].T
        out += W @ self.c

    def gradient(self, g: Array, out: Array) -> None:
        np.multiply.outer(self.c, g.sum(axis=0), out=out.T)
        out.T[:-1] += self.X.T @ g

    def lengths(self) -> tuple[Array, Array]:
        squares, ones = (np.asarray(part.sum(axis=1)).ravel() for part in (self.X.multiply(self.X), abs(self.X)))
        return squares + 2 * (self.X @ self.c[:-1]) + self.c @ self.c, ones + np.abs(self.c).sum()


@dataclass(frozen=True)
class MiniBatch:
    """Features, and the rows' targets y and weights r."""

    features: AbstractFeatures
    y: Array
    r: NDArray[np.float64]


@dataclass(frozen=True)
class MiniBatches:
    """Mini-batches of the rows that count, which are all there are in `rows`: X in memory, or on disk."""

    rows: Block
    counted: Numbers
    mu: Array
    s: float

    def gather(self, parts: Parts) -> MiniBatch:
        """Rows widened, with their targets and weights."""
        features = Sparse if hasattr(self.rows.X, "indptr") else Dense
        y, r = (np.concatenate([getattr(rows, name)[picked] for rows, picked in parts]) for name in "yr")
        return MiniBatch(features(parts, self.mu, self.s), y, r)

    def held(self, picked: Numbers) -> tuple[Block, Numbers]:
        """Rows in memory: a block that holds them, and their numbers in it."""
        if not isinstance(self.rows.X, AbstractRowSource):
            return self.rows, picked
        ascending = np.sort(picked)
        return self.rows.part(ascending), np.searchsorted(ascending, picked)

    def stream(self, size: int, steps: int, seed: int, first: int = 0) -> Iterator[Parts]:
        """Rows of the steps from `first` on: one epoch after the other, cut into equal pieces without regard to where one ends."""
        piles, left = self._piles(seed, first * size, steps * size), np.empty(0, np.intp)
        block = self.rows
        for _ in range(first, steps):
            parts, missing = [], size
            while missing:
                if not len(left):
                    block, left = next(piles)
                parts.append((block, left[:missing]))
                left, missing = left[missing:], missing - len(parts[-1][1])
            yield parts

    def _piles(self, seed: int, begin: int, end: int) -> Iterator[tuple[Block, Numbers]]:
        """Rows begin to end of all epochs, one after the other, as piles; on disk the next one is read while one is used."""
        n = len(self.counted)

        def orders() -> Iterator[Numbers]:
            at = begin - begin % n
            for epoch in count(begin // n):
                for order in self.epoch(seed, epoch):
                    if begin < at + len(order):
                        yield order[max(begin - at, 0) :]
                    at += len(order)
                    if at >= end:
                        return

        return _ahead(self.held, orders()) if isinstance(self.rows.X, AbstractRowSource) else map(self.held, orders())

    def epoch(self, seed: int, number: int) -> list[Numbers]:
        """The rows of an epoch, pile by pile. Each epoch has a generator of its own: who goes on in its middle needs no other state."""
        rng, X = np.random.default_rng([seed, number]), self.rows.X
        if not isinstance(X, AbstractRowSource) or X.nbytes(0, X.shape[0]) <= X.memory_limit // PILE:
            return [rng.permutation(self.counted)]
        pile = X.memory_limit // PILE
        chunks = np.array_split(self.counted, min(len(self.counted), -(-CHUNKS * X.nbytes(0, X.shape[0]) // pile)))
        turns = rng.permutation(len(chunks))
        filled = np.cumsum([X.nbytes(chunks[c][0], chunks[c][-1] + 1) for c in turns])
        piles = np.split(turns, np.flatnonzero(np.diff(filled // pile)) + 1)
        return [rng.permutation(np.concatenate([chunks[c] for c in np.sort(some)])) for some in piles]


def _ahead(part: Callable[[Any], Any], items: Iterator[Any]) -> Iterator[Any]:
    """part(item) of each item, made by a thread while the one before is used."""
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(1, thread_name_prefix="softgrad-disk") as reader:
        waiting = reader.submit(part, next(items))
        for item in items:
            made, waiting = waiting.result(), reader.submit(part, item)
            yield made
        yield waiting.result()
