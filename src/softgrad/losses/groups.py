"""Cross-entropies over groups of scores, added up: a room's worth of arithmetic that the hierarchical links share.

    l = sum_g (B_g lse(u_g) - b_g.u_g),   B_g = sum b_g;    dl/du_g = B_g p_g - b_g;    Hessian sum_g B_g (diag(p_g) - p_g p_g')

Groups may overlap. Only those that a row asks of (b_g > 0) are worked on: with labels, those on one path through a tree. As in `softmax`,
the largest score of a group is left out of its sum and nothing is subtracted from 1: a gradient of 1e-30 keeps its digits.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from softgrad.losses.part import Floats, Pair
from softgrad.losses.softmax import two_difference

Numbers = NDArray[np.intp]


class Asked(NamedTuple):
    """Groups that rows ask of, entry by entry: row, entry, b; `starts` of the groups among them, `segment` the group of each."""

    row: Numbers
    entry: Numbers
    b: Floats
    starts: Numbers
    segment: Numbers


@dataclass(frozen=True, eq=False)
class Groups:
    """Groups of scores: entry e is the score columns[e]; group g has entries starts[g] to starts[g + 1]; class y asks b += s of entries."""

    n_scores: int
    columns: Numbers  # (E,)
    starts: Numbers  # (G + 1,)
    entries: Numbers  # (C, L)
    shares: Floats  # (C, L), 0 where a class asks less often than L times

    def asked(self, a: Floats) -> Asked:
        """What targets a (n, C) ask."""
        n, E, G = len(a), len(self.columns), len(self.starts) - 1
        row, label = np.nonzero(a)
        s = a[row, label][:, None] * self.shares[label]
        on = s > 0
        entry, where = self.entries[label][on], np.broadcast_to(row[:, None], s.shape)[on]
        b = added(where * E + entry, s[on], n * E)
        group = np.zeros((n, G), bool)
        group[where, np.searchsorted(self.starts, entry, side="right") - 1] = True
        found = self._flat(*np.nonzero(group))
        return found._replace(b=b[found.row * E + found.entry])

    def all(self, n: int) -> Asked:
        """All groups of n rows, asked for nothing."""
        row, group = np.divmod(np.arange(n * (len(self.starts) - 1)), len(self.starts) - 1)
        return self._flat(row, group)

    def _flat(self, row: Numbers, group: Numbers) -> Asked:
        sizes = np.diff(self.starts)[group]
        ends = np.cumsum(sizes)
        entry = np.arange(sizes.sum()) + np.repeat(self.starts[group] - (ends - sizes), sizes)
        return Asked(np.repeat(row, sizes), entry, np.zeros(len(entry)), ends - sizes, np.repeat(np.arange(len(group)), sizes))

    def value_gradient(self, u: Pair, a: Floats) -> Pair:
        asked = self.asked(a)
        x = Segments(self, u, asked)
        B, rest = others(asked)
        with np.errstate(invalid="ignore"):
            below = np.where(asked.b > 0, asked.b * -x.d, 0.0)
        value = B * np.log1p(x.s) + np.add.reduceat(below, asked.starts)
        ell = added(asked.row[asked.starts], value, len(a))
        return ell, self._scores(asked, x.probabilities() * rest - asked.b * x.complements(), len(a))

    def hessian_product(self, u: Pair, a: Floats, v: Floats) -> Floats:
        asked = self.asked(a)
        x, w = Segments(self, u, asked), v[asked.row, self.columns[asked.entry]]
        p, w = x.probabilities(), w - w[x.am][asked.segment]
        mean = np.add.reduceat(p * w, asked.starts)
        return self._scores(asked, others(asked)[0][asked.segment] * p * (w - mean[asked.segment]), len(a))

    def spread(self, shares: Floats) -> Floats:
        """sum_g B_g q (1 - q) of every score (n_scores,), q = b_g / B_g where the classes have these shares."""
        asked = self.asked(shares[None])
        B, rest = others(asked)
        return self._scores(asked, asked.b * rest / B[asked.segment], 1)[0]

    def _scores(self, asked: Asked, values: Floats, n: int) -> Floats:
        """Sums of entries by score (n, n_scores)."""
        at = asked.row * self.n_scores + self.columns[asked.entry]
        return added(at, values, n * self.n_scores).reshape(n, self.n_scores)


class Segments:
    """`softmax.Exponentials` of every group: d to the largest, e with the largest left out, s their sum."""

    def __init__(self, groups: Groups, u: Pair, asked: Asked):
        at = asked.row, groups.columns[asked.entry]
        hi, lo = u[0][at], u[1][at]
        self.segment, self.am = asked.segment, first_largest(hi, asked)
        d, rest = two_difference(hi, hi[self.am][asked.segment])
        rest = rest + (lo - lo[self.am][asked.segment])
        self.e = np.exp(d)
        self.e += self.e * rest
        self.e[self.am] = 0
        self.d, self.s = d + rest, np.add.reduceat(self.e, asked.starts)

    def probabilities(self) -> Floats:
        p = self.e / (1 + self.s)[self.segment]
        p[self.am] = 1 / (1 + self.s)
        return p

    def complements(self) -> Floats:
        s = self.s[self.segment]
        c = (1 + (s - self.e)) / (1 + s)
        c[self.am] = self.s / (1 + self.s)
        return c


def added(at: Numbers, values: Floats, n: int) -> Floats:
    """Sums of the values that have each number 0..n-1."""
    return np.bincount(at, values, n).astype(np.float64, copy=False)  # ints where there is no value at all


def first_largest(x: Floats, asked: Asked) -> Numbers:
    """Where each group has its largest entry."""
    largest = np.maximum.reduceat(x, asked.starts)[asked.segment]
    return np.minimum.reduceat(np.where(x == largest, np.arange(len(x)), len(x)), asked.starts)


def others(asked: Asked) -> Pair:
    """B of each group, and B - b of each entry, the largest's as a sum of the others."""
    b, am = asked.b.copy(), first_largest(asked.b, asked)
    B = np.add.reduceat(b, asked.starts)
    rest = B[asked.segment] - b
    b[am] = 0
    rest[am] = np.add.reduceat(b, asked.starts)
    return B, rest
