"""Heads of cosines fused with the loss: a tile of cosines at a time, and margins fused with the division by lengths.

    c_ij = w^_j.x^_i,   label's angle theta with phi(theta) in the place of its cosine,   h = dL/du, row formula of what follows
    dx |x|  = sum_{j != y} h_j (w^_j - c_j x^) - h_y phi_theta v / s         v = w^_y - c x^,  s = |v| = sin(theta)
    dw |w|  = sum_i h_i (x^_i - c_i w^)  over rows of other labels, - h_y phi_theta v' / s over its own,   v' = x^ - c w^_y

    features not normalised: u = |x| phi, and dx gets the length back: sum_{j != y} h_j w^_j + h_y (phi x^ - phi_theta v / s)

By the cosine, phi has the slope -phi_theta / s, without bound towards 0 and pi; v / s is a unit vector at every angle. Where the two
vectors are parallel but for rounding any tangent would do, and the gradient there is 0. v is the part across x^ of d = w^ - x^ (of the sum
beyond pi/2), which is small where v is, so that it keeps its digits; s = |d| sqrt(1 - |d|^2 / 4). Parts along x^ and w^ are taken out
once, of the whole sums. What a margin touches is n x D, and done in float64.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from softgrad.blocks.block import Block
from softgrad.kernels.fused import AbstractKernel, Sums, counted
from softgrad.losses.loss import Loss, Rows, schedule_for
from softgrad.losses.margins import AbstractMargin
from softgrad.losses.part import Floats
from softgrad.losses.scores import labels

CELLS = 1 << 19  # of a tile's cosines and of its features: 4 MB in float64
PARALLEL = 1e-15  # sines below are rounding


class CosineHead(AbstractKernel):
    """Two matrix products of unit vectors for each tile of rows, margins aside; CSR rows are made dense, tile by tile."""

    name = "cosine"
    writes_out = True

    def refuses(self, X: Any, n_classes: int, loss: Loss) -> str:
        return "takes heads of cosines" if loss.head.linear else ""

    def sums(self, block: Block, loss: Loss, coef: NDArray[Any], intercept: NDArray[Any], scale: float) -> Sums:
        lengths, vectors = np.ones((len(coef), 1)), coef.astype(np.float64)
        if loss.head.unit_classes:
            vectors, lengths = units(vectors)
        W, rest = vectors.astype(coef.dtype), without_margin(loss)
        value, dW, dintercept = 0.0, np.zeros(W.shape), np.zeros(len(W))
        step = max(16, CELLS // max(W.shape))
        for tile in (block.part(slice(i, i + step)) for i in range(0, block.X.shape[0], step)):
            rows = counted(tile)
            at = Directions(rows, loss, vectors, lengths)
            with np.errstate(invalid="ignore", over="ignore"):  # of inf and NaN; the row formula finds the row
                z = at.scores(W) + intercept
            losses = np.empty(len(rows.r))
            if schedule_for(rest, z.dtype)(rest, Rows(z, rows.y, rows.r), z, scale, losses) >= 0:
                return np.nan, dW, dintercept
            value += float(losses.sum())
            if not loss.head.unit_classes:
                dintercept += z.sum(axis=0, dtype=np.float64)
            at.take(z)
            at.to_classes(z, dW)
            if tile.out is not None:
                tile.write(at.to_features(z, W))
        return value, tangential(dW, vectors) * inverse(lengths) if loss.head.unit_classes else dW, dintercept


def row_losses(block: Block, loss: Loss, coef: NDArray[Any], intercept: NDArray[Any]) -> NDArray[np.float64]:
    """L_i of a block's rows (n,), 0 where r_i = 0, a tile of cosines at a time; NaN throughout where a counted row has no softmax."""
    lengths, vectors = np.ones((len(coef), 1)), coef.astype(np.float64)
    if loss.head.unit_classes:
        vectors, lengths = units(vectors)
    W, rest = vectors.astype(coef.dtype), without_margin(loss)
    losses, counts, step = np.zeros(len(block.r)), np.flatnonzero(block.r), max(16, CELLS // max(W.shape))
    for k in (counts[i : i + step] for i in range(0, len(counts), step)):
        tile, found = block.part(k), np.empty(len(k))
        with np.errstate(invalid="ignore", over="ignore"):
            z = Directions(tile, loss, vectors, lengths).scores(W) + intercept
        if schedule_for(rest, z.dtype)(rest, Rows(z, tile.y, np.ones(len(k))), None, 0.0, found) >= 0:
            return np.full(len(losses), np.nan)
        losses[k] = found
    return losses


def without_margin(loss: Loss) -> Loss:
    """What follows the margin, where there is one: it comes first."""
    return replace(loss, scores=loss.scores[1:]) if loss.scores and isinstance(loss.scores[0], AbstractMargin) else loss


class Directions:
    """A tile's rows as unit vectors, the angles to their labels where there is a margin, and the way from dL/du back to vectors."""

    def __init__(self, rows: Block, loss: Loss, vectors: Floats, lengths: Floats):
        X = rows.X.toarray() if hasattr(rows.X, "indptr") else rows.X
        self.unit, self.length = units(X.astype(np.float64))
        self.on_sphere = loss.head.features  # type: ignore[attr-defined] - of Cosine, the one head besides Linear
        self.row = np.ones_like(self.length) if self.on_sphere else self.length
        self.margin = None if without_margin(loss) is loss else loss.scores[0]
        if self.margin is not None:
            self.y = labels(rows.y)
            self._measure(vectors[self.y], lengths[self.y])

    def _measure(self, w: Floats, w_length: Floats) -> None:
        c = np.einsum("ij,ij->i", self.unit, w)[:, None]
        self.near = np.where(c >= 0, 1.0, -1.0)
        self.d = w - self.near * self.unit
        q = np.einsum("ij,ij->i", self.d, self.d)[:, None]
        s = np.where((self.length > 0) & (w_length > 0), np.sqrt(q * np.maximum(1 - q / 4, 0)), 1.0)
        self.phi, phi_theta, _ = self.margin.of_angle(c, s)  # type: ignore[union-attr]
        self.fall = -phi_theta * np.divide(1.0, s, out=np.zeros_like(s), where=s > PARALLEL)
        self.along = self.phi - self.fall * (c - self.near)  # phi x^ + fall v = along x^ + fall d

    def scores(self, W: NDArray[Any]) -> NDArray[Any]:
        """u (n, C): cosines, the margin done, times |x| where features are not normalised."""
        z = self.unit.astype(W.dtype) @ W.T
        if self.margin is not None:
            z[np.arange(len(z)), self.y] = self.phi[:, 0]
        return z if self.on_sphere else z * self.row.astype(W.dtype)

    def take(self, h: NDArray[Any]) -> None:
        """Take the labels' own out of dL/du."""
        if self.margin is not None:
            at = np.arange(len(h)), self.y
            self.own = h[at].astype(np.float64)[:, None]
            h[at] = 0

    def to_classes(self, h: NDArray[Any], dW: Floats) -> None:
        """Add dL/dw^, with parts along w^."""
        dW += h.T @ (self.row * self.unit).astype(h.dtype)
        if self.margin is not None:
            # here: at the top it would load all parts of losses with `import softgrad`
            from softgrad.losses.sampled import sums_by_class

            classes, sums = sums_by_class(self.y, (-self.near * self.row * self.own * self.fall) * self.d)
            dW[classes] += sums

    def to_features(self, h: NDArray[Any], W: NDArray[Any]) -> Floats:
        """dL/dx."""
        dX = (h @ W).astype(np.float64)
        if self.margin is not None:
            dX += self.own * self.fall * self.d
        if self.on_sphere:
            return tangential(dX, self.unit) * inverse(self.length)
        return dX if self.margin is None else dX + self.own * self.along * self.unit


def units(vectors: Floats) -> tuple[Floats, Floats]:
    """Vectors (n, D) at length 1 and their lengths (n, 1), without overflow; those of zeros stay."""
    largest = np.abs(vectors).max(axis=1, keepdims=True, initial=0.0)
    with np.errstate(invalid="ignore"):  # inf and NaN become NaN, which the row formula finds
        scaled = vectors * inverse(largest)
    length = np.sqrt(np.einsum("ij,ij->i", scaled, scaled))[:, None]
    return scaled * inverse(length), largest * length


def inverse(lengths: Floats) -> Floats:
    """1 / lengths, and 0 for vectors of zeros, which have no direction and get no gradient."""
    return np.divide(1.0, lengths, out=np.zeros_like(lengths), where=lengths > 0)


def tangential(G: Floats, directions: Floats) -> Floats:
    """G (n, D) without its part along the unit vectors."""
    return G - np.einsum("ij,ij->i", G, directions)[:, None] * directions
