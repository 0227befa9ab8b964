"""Linear heads in one array, and one stochastic step of all of them: a mini-batch is read once, in one product with all coefficients.

    z = X~ W' / T,    G = scale dL/dz' X~ / T + l2 (W, 0),    W <- W - rate rule(G)

With few classes a product for each head would run at half the speed or less. Measured, 200 rows of 3072 features and 24 heads of 10
classes, one thread: 7.0 ms in one product, 15 ms in 24, 16 ms in 24 passes of the compiled kernel that reads rows once.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from softgrad import threads
from softgrad.blocks.minibatches import MiniBatch
from softgrad.losses.loss import Loss, Rows, schedule_for
from softgrad.solvers.rules import AbstractRule

WORK = 4e6  # multiplications of a piece of a product: about 0.1 ms, several times what handing it to a thread costs
WIDE = 120  # rows of W: BLAS packs X~ anew for every product, which costs narrower ones a tenth (60 rows) to a half (10)
SCORES = 1 << 15  # of a piece of the row formula

Array = NDArray[Any]
Numbers = NDArray[Any]  # one for each head


def pieces(n_rows: int, coefficients: tuple[int, int]) -> int:
    """How many threads a product of n_rows rows with (rows, D + 1) coefficients is worth; never how many there are."""
    rows, D = coefficients
    return max(1, int(min(n_rows * D * rows / WORK, rows / WIDE)))


class Heads:
    """P heads of C classes: row p C + c of W (P C, D + 1) is class c of head p. Nothing of a head acts on another one's rows.

    points are their numbers in the grid; l2, T and rate (P,) theirs. `alone`: no other heads are being worked on, and a step may use all
    threads; else it stays on one.
    """

    def __init__(
        self, loss: Loss, rule: AbstractRule, W: Array, points: Numbers, l2: Numbers, T: Numbers, rate: Numbers, *, averaged: bool
    ):
        self.loss, self.rule, self.points, self.l2, self.T, self.rate = loss, rule, points, l2, T, rate
        self.W, self.G, self.C, self.alone = W, np.zeros_like(W), len(W) // len(points), False
        self.memory = [np.zeros_like(W) for _ in range(rule.slots)]
        self.mean = np.zeros_like(W) if averaged else None
        self.in_mean = 0

    def keep(self, well: NDArray[np.bool_]) -> None:
        """Forget the other heads."""
        rows, order = np.repeat(well, self.C), "F" if self.W.flags.f_contiguous else "C"
        self.points, self.l2, self.T, self.rate = (a[well] for a in (self.points, self.l2, self.T, self.rate))
        self.W, self.G = (np.array(A[rows], order=order) for A in (self.W, self.G))
        self.memory = [np.array(A[rows], order=order) for A in self.memory]
        self.mean = None if self.mean is None else np.array(self.mean[rows], order=order)

    def of(self, A: Array) -> list[Array]:
        """Each head's rows in an array like W."""
        return [A[i : i + self.C] for i in range(0, len(A), self.C)]

    def loss_gradient(self, batch: MiniBatch, scale: float, heat: float, factor: float | None = None) -> Numbers:
        """Scaled loss of each head on a mini-batch (P,), NaN where scores are not finite; where none is NaN, G is its gradient.

        With a factor of the rate, G is that much of the gradient: what a plain step subtracts.
        """
        T, P, C = self.T * heat, len(self.points), self.C
        z = self._scores(batch, T)
        rows = Rows(z.reshape(-1, C), np.repeat(batch.y, P, axis=0), np.repeat(batch.r, P))
        bad, losses = -1, np.empty(len(rows.r))
        if self.loss.mining is not None:
            bad = self._formula(replace(rows, r=(rows.r > 0).astype(np.float64)), None, 0.0, losses)
            rows = rows if bad >= 0 else replace(rows, r=self._mined(rows, losses))
        if max(bad, self._formula(rows, rows.z, scale, losses)) >= 0:
            finite = np.isfinite(self._scores(batch, T)).reshape(-1, P, C).all(axis=(0, 2))
            return np.where(finite & ~finite.all(), 0.0, np.nan)
        if factor is None:
            self._cool(z, T)
        else:
            z *= self._rows(self.rate * factor / T)[:, 0]
        self._every(lambda k: batch.features.gradient(z[:, k], self.G[k]), self._cut(len(z)))
        return losses.reshape(-1, P).sum(axis=0) * scale

    def penalise(self) -> None:
        """Add the penalty's gradient, l2 (W, 0)."""
        l2 = self._rows(self.l2)

        def piece(k: slice) -> None:
            self.G[k, :-1] += l2[k] * self.W[k, :-1]

        self._every(piece, self._cut(2))

    def _formula(self, rows: Rows, out: Array | None, scale: float, losses: Array) -> int:
        """The row formula in pieces; at least 0 if some row has no softmax."""
        schedule, step = schedule_for(self.loss, rows.z.dtype), max(1, SCORES // self.C)

        def piece(i: int) -> int:
            k = slice(i, i + step)
            return schedule(self.loss, rows.part(k), None if out is None else out[k], scale, losses[k])

        return max(self._every(piece, range(0, len(losses), step)))

    def _mined(self, rows: Rows, losses: Array) -> Array:
        """Row weights by the loss's batch rule, each head's rows by themselves: those chosen stand for the whole mini-batch."""
        r, P = np.zeros(len(losses)), len(self.points)
        for p in range(P):
            own = rows.part(slice(p, None, P))
            chosen = replace(own, r=self.loss.mined(own.r, losses[p::P]))
            r[p::P] = chosen.r * (self.loss.total(own) * self.loss.weights.share(self.loss.total(chosen)))
        return r

    def norms(self) -> Numbers:
        """Euclidean norm of each head's gradient."""
        squares = np.einsum("kd,kd->k", self.G, self.G).astype(np.float64)
        return np.sqrt(squares.reshape(-1, self.C).sum(axis=1))

    def shorten(self, factor: Numbers) -> None:
        """Multiply each head's gradient by a factor."""
        self.G *= self._rows(factor)

    def move(self, k: int, factor: float, *, plain: bool, averaged: bool) -> None:
        """Step k = 1, 2, ... along the rule's direction, factor times the rate; G holds nothing of use afterwards.

        In a plain step the direction is the gradient, which nobody else looks at: G has the rate already, and the penalty, which it does
        not have, shrinks W. Two passes over memory instead of five.
        """
        rate, kept = self._rows(self.rate * factor), self._rows(1 - self.rate * factor * self.l2)
        self.in_mean += averaged

        def piece(c: slice) -> None:
            W, G = self.W[c], self.G[c]
            if plain:
                W[:, :-1] *= kept[c]
            else:
                self.rule.turn(G, tuple(A[c] for A in self.memory), k)
                G *= rate[c]
            W -= G
            if averaged and self.mean is not None:
                np.subtract(W, self.mean[c], out=G)
                G *= G.dtype.type(1 / self.in_mean)
                self.mean[c] += G

        self._every(piece, self._cut(len(self.memory) + 4))

    def settle(self) -> None:
        """W becomes what is handed out: the average, if it has begun; of all equal heads the one that sums to 0 over the classes."""
        self.W = self.mean if self.mean is not None and self.in_mean else self.W
        for W in self.of(self.W) if self.loss.shift_invariant else ():
            W[:] = self.loss.link.centred(W)

    def _scores(self, batch: MiniBatch, T: Numbers) -> Array:
        z = np.empty((len(batch.r), len(self.W)), self.W.dtype)
        self._every(lambda k: batch.features.scores(self.W[k], z[:, k]), self._cut(len(z)))
        self._cool(z, T)
        return z

    def _cool(self, z: Array, T: Numbers) -> None:
        if (T != 1).any():
            z *= self._rows(1 / T)[:, 0]

    def _rows(self, values: Numbers) -> Array:
        """A number of each head for each of its rows, (P C, 1) in W's type."""
        return np.repeat(values, self.C)[:, None].astype(self.W.dtype)

    def _cut(self, n_rows: int) -> list[slice]:
        """Rows of W in pieces; sparse products, whose W lies feature by feature, stay whole."""
        n, rows = pieces(n_rows, self.W.shape) if self.alone and self.W.flags.c_contiguous else 1, len(self.W)
        return [slice(i, j) for i, j in pairwise(rows * k // n for k in range(n + 1))]

    def _every(self, part: Callable[[Any], Any], items: Any) -> list[Any]:
        def quiet(item: Any) -> Any:
            with np.errstate(over="ignore", under="ignore", invalid="ignore"):  # who diverges is found by the scores
                return part(item)

        return threads.every(quiet, items) if self.alone else [quiet(item) for item in items]
