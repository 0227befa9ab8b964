"""How rows arrive: from memory and from files; from a cluster by the same verb, `AbstractRowBlocks.sum`."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from softgrad.blocks import block, disk, memory
from softgrad.row_source import AbstractRowSource


def rows(X: Any, y: NDArray[Any], r: NDArray[np.float64], n_classes: int, out: NDArray[Any] | None = None) -> block.AbstractRowBlocks:
    """X (N, D), targets and weights as blocks, wherever X lies; the same blocks from everywhere, as far as memory allows.

    out (N, D) takes the gradient by rows in memory, if asked for.
    """
    if isinstance(X, AbstractRowSource):
        return disk.on_disk(X, y, r, memory.count(X, n_classes))
    return memory.in_memory(X, y, r, n_classes, out)
