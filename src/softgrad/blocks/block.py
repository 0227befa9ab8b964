"""How rows arrive: as blocks, summed over in a fixed order. Knows nothing of losses.

The blocks depend on the data's shape alone, each is worked on by one thread, and their results are added in float64 in the order of
the rows: the same bits for any number of threads.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain, pairwise
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from softgrad import threads


@dataclass(frozen=True)
class Block:
    """Rows X (n, D) in their storage type (dense, or CSR), targets y (n,) or (n, C), weights r (n,); out (n, D) takes the gradient by X."""

    X: Any
    y: NDArray[Any]
    r: NDArray[np.float64]
    out: NDArray[Any] | None = None  # written, if there

    def part(self, k: slice | NDArray[Any]) -> Block:
        """Some of the rows; a slice of them writes into the same out."""
        return Block(self.X[k], self.y[k], self.r[k], self.out[k] if self.out is not None and isinstance(k, slice) else None)

    def write(self, dX: NDArray[Any]) -> None:
        """Gradients of the rows that count; those of the others are 0."""
        if self.out is not None and len(dX) < len(self.out):
            self.out[...] = 0
            self.out[self.r > 0] = dX
        elif self.out is not None:
            self.out[...] = dX


class Whole(NamedTuple):
    """All rows as one block, and where it is cut into blocks; files that hold X, if it is not in memory.

    Block.X has no rows then, only their type and width, and files (K, 3) are descriptor, byte of the first row, number of that row.
    """

    block: Block
    edges: list[int]
    files: NDArray[np.int64] | None = None


LONG = 1 << 22
LONG_ALONE = 1 << 18  # as long as what a fit keeps in float32 (`objective.state_type`)


def edges(n: int, n_blocks: int) -> list[int]:
    """Where rows 0 to n are cut into stretches of nearly equal length, none of them empty but the only one."""
    inner = {n * k // n_blocks for k in range(1, n_blocks)} - {0, n}
    return [0, *sorted(inner), n]


def cut(n: int, n_blocks: int) -> list[tuple[int, int]]:
    """Those stretches."""
    return list(pairwise(edges(n, n_blocks)))


def _total(term: Any, longest: int = LONG) -> NDArray[Any]:
    return term if np.size(term) > longest else np.array(term, np.float64, order="K")


@dataclass(frozen=True)
class AbstractRowBlocks(ABC):
    """Rows X (N, D), targets y and weights r, as a sequence of blocks that can be walked through any number of times."""

    X: Any
    y: NDArray[Any]
    r: NDArray[np.float64]

    @abstractmethod
    def blocks(self) -> Iterator[Block]:
        """The blocks in their order."""

    @contextmanager
    def whole(self) -> Iterator[Whole | None]:
        """All rows at once, if they are in memory, or in files that can be read as they are, which are open meanwhile."""
        yield None

    def each(self, part: Callable[[Block], Any]) -> Iterator[Any]:
        """part(block) of every block, computed on our threads, handed out in the order of the blocks."""
        return threads.in_order(part, self.blocks())

    def sum(self, part: Callable[..., tuple[Any, ...]], *shared: Any) -> tuple[NDArray[np.float64], ...]:
        """sum over blocks of part(block, *shared), which returns a tuple of numbers and arrays; added in order, in float64.

        Arrays of more than LONG numbers are added in their own type: they come in few blocks, and twice their memory would be spent.
        So are those of a block that is alone: there is nothing to be added, and on sparse rows this took as long as the product.
        """
        with threads.blas(1):
            found = self.each(lambda block: part(block, *shared))
            first, second = next(found), next(found, None)
            if second is None:
                return tuple(_total(term, LONG_ALONE) for term in first)
            totals = [_total(term) for term in first]
            for terms in chain([second], found):
                for total, term in zip(totals, terms, strict=True):
                    np.add(total, term, out=total)
        return tuple(totals)
