"""Rows at random: mini-batches gathered and widened one at a time, so that X stays in its storage type.

    x~ = (x - mu, s)        features centred, and a constant feature s whose coefficient is the intercept (s = 0: there is none)

Dense rows are centred as they are widened. Sparse ones stay sparse:  x~ = (x, 0) + c,  c = (-mu, s), whose share of scores and gradients is
a product with c.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from softgrad.blocks.block import Block

Array = NDArray[Any]

STEP = 16  # rows gathered at a time


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

    def __init__(self, X: Array, picked: NDArray[np.intp], mu: Array, s: float):
        self.X = np.empty((len(picked), len(mu) + 1), mu.dtype)
        for i in range(0, len(picked), STEP):  # what is gathered stays in cache until it is widened
            np.subtract(X[picked[i : i + STEP]], mu, out=self.X[i : i + STEP, :-1])
        self.X[:, -1] = s

    def scores(self, W: Array, out: Array) -> None:
        np.matmul(self.X, W.T, out=out)

    def gradient(self, g: Array, out: Array) -> None:
        np.matmul(g.T, self.X, out=out)

    def lengths(self) -> tuple[Array, Array]:
        return np.einsum("ij,ij->i", self.X, self.X), np.abs(self.X).sum(axis=1)


class Sparse(AbstractFeatures):
    """CSR rows and the constant row c."""

    def __init__(self, X: Any, picked: NDArray[np.intp], mu: Array, s: float):
        self.X, self.c = X[picked].astype(mu.dtype), np.append(-mu, mu.dtype.type(s))

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
    """Mini-batches of `size` of the rows that count, which are all there are in `rows`."""

    rows: Block
    counted: NDArray[np.intp]
    mu: Array
    s: float

    def gather(self, picked: NDArray[np.intp]) -> MiniBatch:
        rows, features = self.rows, Sparse if hasattr(self.rows.X, "indptr") else Dense
        return MiniBatch(features(rows.X, picked, self.mu, self.s), rows.y[picked], rows.r[picked])

    def stream(self, size: int, steps: int, seed: int) -> Iterator[NDArray[np.intp]]:
        """Row numbers of each step: one shuffle of the rows after the other, cut into equal pieces without regard to where one ends."""
        rng = np.random.default_rng(seed)
        left = np.empty(0, np.intp)
        for _ in range(steps):
            while len(left) < size:
                left = np.concatenate([left, rng.permutation(self.counted)])
            yield left[:size]
            left = left[size:]
