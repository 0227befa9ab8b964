"""Memory for large results goes round: what one result gave back, the next one of its size takes.

The system clears every page that it hands out, and clearing 80 MB takes as long as computing a gradient of 80 MB. What was given back last
waits for its next use, but no longer belongs to us: it is marked as free (MADV_FREE), and the system takes pages of it when it is short.
"""

from __future__ import annotations

import contextlib
import ctypes
import math
import mmap
import weakref
from collections import deque
from typing import Any

import numpy as np
from numpy.typing import NDArray

LARGE = 1 << 22  # bytes; smaller memory comes round by malloc
PIECE = 1 << 21  # a large page

_waiting: deque[mmap.mmap] = deque(maxlen=1)


def empty(shape: tuple[int, ...], dtype: np.dtype[Any]) -> NDArray[Any]:
    """`np.empty`, in memory that a large result before it has given back, if there is such."""
    size = math.prod(shape) * dtype.itemsize
    if size < LARGE or not hasattr(mmap, "MADV_FREE"):
        return np.empty(shape, dtype)
    pages = _pages(-(-size // PIECE) * PIECE)
    lent: Any = (ctypes.c_char * len(pages)).from_buffer(pages)  # arrays and views of them keep it alive, and nothing else does
    weakref.finalize(lent, _given_back, pages).atexit = False
    return np.frombuffer(lent, dtype, math.prod(shape)).reshape(shape)


def _pages(size: int) -> mmap.mmap:
    with contextlib.suppress(IndexError):
        pages = _waiting.pop()
        if len(pages) == size:
            return pages
    pages = mmap.mmap(-1, size, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    with contextlib.suppress(OSError, AttributeError):  # no large pages here
        pages.madvise(mmap.MADV_HUGEPAGE)
    return pages


def _given_back(pages: mmap.mmap) -> None:
    with contextlib.suppress(OSError):  # not for this kernel: then they wait as they are
        pages.madvise(mmap.MADV_FREE)
    _waiting.append(pages)
