"""Derivatives by central differences of five points: what an analytic gradient is held against.

    f'(x) = (f(x - 2h) - 8 f(x - h) + 8 f(x + h) - f(x + 2h)) / 12 h + O(h^4)

The rounding of f costs eps |f| / h, the formula h^4: both are smallest together near h = eps^(1/5).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

POINTS = ((-2, 1 / 12), (-1, -8 / 12), (1, 8 / 12), (2, -1 / 12))


def step_for(eps: float) -> float:
    """The step for values that are rounded to a relative eps."""
    return eps**0.2


def along(f: Callable[[NDArray[Any]], Any], x: NDArray[np.float64], v: NDArray[np.float64], h: float) -> Any:
    """Derivative of f at x along v, for f a number or an array."""
    return sum(weight * f(x + k * h * v) for k, weight in POINTS) / h


def slopes(
    f: Callable[[NDArray[Any]], float], x: NDArray[np.float64], h: float, places: Iterable[tuple[int, ...]] | None = None
) -> NDArray[np.float64]:
    """Derivatives of f at x by each entry named in places (default: all); 0 elsewhere. -inf stays, and has none."""
    g, x = np.zeros(x.shape), x.copy()
    for place in np.ndindex(x.shape) if places is None else places:
        middle, total = x[place], 0.0
        for k, weight in POINTS:
            x[place] = middle + k * h
            total += weight * f(x)
        g[place], x[place] = total / h, middle
    return g
