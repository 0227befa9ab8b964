"""Rows in the type that they are computed in. NumPy takes 2 ns for a half, longer than its products with ten classes; compiled, 0.2."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

of_halves: list[Callable[[NDArray[Any], NDArray[Any]], None]] = []  # X (n, D) into out (n, D); handed in from above


def widened(X: NDArray[Any], dtype: np.dtype[Any]) -> NDArray[Any]:
    """Dense rows X (n, D) in dtype; X itself, if they are."""
    if not (of_halves and X.dtype == np.float16 and dtype == np.float32 and X.flags.c_contiguous):
        return X.astype(dtype, copy=False)
    out = np.empty(X.shape, dtype)
    of_halves[0](X, out)
    return out
