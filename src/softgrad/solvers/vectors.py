"""Scalar products and sums of long vectors, a cache-sized piece at a time, on all threads: the same bits for every number of them.

A sparse problem with a thousand classes has 20 million coefficients; its pairs are gigabytes, and NumPy's temporaries would double what
goes through memory at every step.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from softgrad import threads

Vector = NDArray[np.floating]

PIECE = 1 << 16  # numbers that stay in the second-level cache
SHARE = 1 << 18  # numbers that one thread takes at a time


def inner(a: Vector, b: Vector) -> float:
    """The scalar product a.b; pieces in the vectors' own type, their sum in float64."""
    if len(a) <= PIECE:
        return float(np.dot(a, b))
    return sum(threads.in_order(lambda i: _inner(a[i : i + SHARE], b[i : i + SHARE]), range(0, len(a), SHARE)))


def _inner(a: Vector, b: Vector) -> float:
    return sum(float(np.dot(a[i : i + PIECE], b[i : i + PIECE])) for i in range(0, len(a), PIECE))


def products(vectors: Sequence[Vector], columns: Sequence[Vector]) -> NDArray[np.float64]:
    """All scalar products (vectors, columns); each piece of a column is in the cache for all vectors."""

    def share(i: int, end: int) -> NDArray[np.float64]:
        found = np.zeros((len(vectors), len(columns)))
        for j in range(i, end, PIECE):
            k = slice(j, min(j + PIECE, end))
            found += [[float(np.dot(a[k], b[k])) for b in columns] for a in vectors]
        return found

    n = len(columns[0])
    if n <= PIECE:
        return share(0, n)
    return sum(threads.in_order(lambda i: share(i, min(i + SHARE, n)), range(0, n, SHARE)), np.zeros((len(vectors), len(columns))))


def combined(vectors: Sequence[Vector], factors: Sequence[float]) -> Vector:
    """sum_i factors_i vectors_i, a piece at a time."""
    total = np.empty_like(vectors[0])
    kinds = [total.dtype.type(factor) for factor in factors]

    def share(i: int) -> None:
        for j in range(i, min(i + SHARE, len(total)), PIECE):
            k = slice(j, min(j + PIECE, i + SHARE))
            piece = np.multiply(vectors[0][k], kinds[0], out=total[k])
            for vector, factor in zip(vectors[1:], kinds[1:], strict=True):
                piece += factor * vector[k]

    for _ in threads.in_order(share, range(0, len(total), SHARE)) if len(total) > PIECE else map(share, (0,)):
        pass
    return total


def add(q: Vector, factor: float, y: Vector) -> None:
    """q += factor y, in place."""
    k = q.dtype.type(factor)
    if len(q) <= PIECE:
        q += k * y
        return

    def share(i: int) -> None:
        for j in range(i, min(i + SHARE, len(q)), PIECE):
            end = min(j + PIECE, i + SHARE)
            q[j:end] += k * y[j:end]

    for _ in threads.in_order(share, range(0, len(q), SHARE)):
        pass
