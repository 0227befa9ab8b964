"""Gram matrices, Cholesky factors and solves in tiles, on our own threads: the same bits for every number of them.

    G = S'S,   A = L L',   L_kk = chol(A_kk),  L_ik = A_ik L_kk^-T,  A_ij -= L_ik L_jk'   (right-looking, tiles of WIDTH)

A BLAS on many threads was tried first: its factor's last bits depend on the number of threads, and its threads spin on the processors
that the next pass over the data needs (small products took a hundred times as long on a busy machine).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from softgrad import threads

SMALL = 64  # a triangle that is inverted at once
COLUMNS = 64  # right-hand sides that one thread takes at a time
WIDTH = 512  # a tile of 1 MB in float32: products near the peak, and enough of them for every thread


def panels(n: int) -> list[slice]:
    """0..n cut into slices of WIDTH, the last one shorter."""
    return [slice(i, min(i + WIDTH, n)) for i in range(0, n, WIDTH)]


def gram(S: NDArray[Any]) -> NDArray[Any]:
    """S'S (D, D) for S (n, D)."""
    D = S.shape[1]
    G, cuts = np.empty((D, D), S.dtype), panels(D)

    def tile(ij: tuple[slice, slice]) -> None:
        i, j = ij
        G[i, j] = S[:, i].T @ S[:, j]
        G[j, i] = G[i, j].T

    _each(tile, ((cuts[i], cuts[j]) for i in range(len(cuts)) for j in range(i + 1)))
    return G


def _each(part: Any, items: Iterator[Any]) -> None:
    with threads.blas(1):
        for _ in threads.in_order(part, items):
            pass


@dataclass(frozen=True)
class Cholesky:
    """A = L L': the lower triangle of `L` holds the factor, `inverses` those of its diagonal tiles."""

    L: NDArray[Any]
    inverses: list[NDArray[Any]]

    def solve(self, b: NDArray[Any]) -> NDArray[Any]:
        """A^-1 b for b (n,) or (n, k)."""
        if b.ndim == 1 or b.shape[1] <= COLUMNS:
            return self._solve(b)
        cuts = (slice(i, i + COLUMNS) for i in range(0, b.shape[1], COLUMNS))
        with threads.blas(1):
            return np.hstack(list(threads.in_order(lambda k: self._solve(b[:, k]), cuts)))

    def _solve(self, b: NDArray[Any]) -> NDArray[Any]:
        x, cuts = b.astype(self.L.dtype), panels(len(b))
        for k, inverse in zip(cuts, self.inverses, strict=True):
            x[k] = inverse @ (x[k] - self.L[k, : k.start] @ x[: k.start])
        for k, inverse in zip(reversed(cuts), reversed(self.inverses), strict=True):
            x[k] = inverse.T @ (x[k] - self.L[k.stop :, k].T @ x[k.stop :])
        return x


def factorise(A: NDArray[Any]) -> Cholesky:
    """Factor of A, which is overwritten below the diagonal; a ridge of rounding size grows until A is positive definite.

    A matrix that overflowed gives the factor of the identity: the solver's status tells what came of it.
    """
    diagonal = A.diagonal().copy()
    ridge = 8 * np.finfo(A.dtype).eps * max(float(diagonal.mean()), float(np.finfo(A.dtype).tiny))
    while np.isfinite(ridge) and np.isfinite(diagonal).all():
        np.fill_diagonal(A, diagonal + A.dtype.type(ridge))
        try:
            return Cholesky(A, _factorised(A))
        except np.linalg.LinAlgError:
            _restore(A)
            ridge *= 32
    A[...] = np.eye(len(A))
    return Cholesky(A, _factorised(A))


def _restore(A: NDArray[Any]) -> None:
    """Below the diagonal what stands above it, which was not touched."""
    for i in (cuts := panels(len(A))):
        A[i, i] = np.triu(A[i, i]) + np.triu(A[i, i], 1).T
        for j in cuts[: i.start // WIDTH]:
            A[i, j] = A[j, i].T


def lower_inverse(L: NDArray[Any]) -> NDArray[Any]:
    """L^-1 of a lower triangle by halves: ((A, 0), (B, C))^-1 = ((A^-1, 0), (-C^-1 B A^-1, C^-1)), products for the most part."""
    n, h = len(L), len(L) // 2
    if n <= SMALL:
        return np.tril(np.linalg.solve(L, np.eye(n, dtype=L.dtype)))
    A, C, inverse = lower_inverse(L[:h, :h]), lower_inverse(L[h:, h:]), np.zeros_like(L)
    inverse[:h, :h], inverse[h:, h:], inverse[h:, :h] = A, C, -(C @ L[h:, :h] @ A)
    return inverse


def _factorised(A: NDArray[Any]) -> list[NDArray[Any]]:
    inverses, cuts = [], panels(len(A))
    for n, k in enumerate(cuts):
        L = np.linalg.cholesky(A[k, k])
        inverses.append(lower_inverse(L))
        below = cuts[n + 1 :]

        def column(i: slice, k: slice = k, inverse: NDArray[Any] = inverses[-1]) -> None:
            A[i, k] = A[i, k] @ inverse.T

        def update(ij: tuple[slice, slice], k: slice = k) -> None:
            i, j = ij
            product = A[i, k] @ A[j, k].T
            A[i, j] -= np.tril(product) if i == j else product

        _each(column, iter(below))
        _each(update, ((below[i], below[j]) for i in range(len(below)) for j in range(i + 1)))
    return inverses
