"""draft"""
from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from softgrad.losses.part import Floats


def sums_by_class(y: NDArray[Any], rows: Floats) -> tuple[NDArray[Any], Floats]:
    """Classes that occur in y (n,), ascending, and the sum of each one's rows, in their order."""
    order = np.argsort(y, kind="stable")
    classes, first = np.unique(y[order], return_index=True)
    return classes, np.add.reduceat(rows[order], first, axis=0) if len(classes) else rows
