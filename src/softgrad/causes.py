"""What a wrong gradient looks like: patterns by which A, the gradient given, differs from G, that of the value.

A = c G         a sign (c = -1), a mean for a sum (c = N, 1/N, C, 1/C), a temperature or a weight (any other c)
A = c_i G_i     sample weights, or the label's class weight, in one of the two only;   A = G o c_k: class weights on the scores' side
A = G'          transposed
A - G           only in the label's entries: p_y or y is missing; the same in all labels' and in all other entries: another target
A_ij = 0        off the label: the softmax's derivative is missing
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


class Cause(NamedTuple):
    """A likely mistake: its name, and what to look for."""

    name: str
    words: str


@dataclass(frozen=True, eq=False)
class Seen:
    """Entries of both gradients in the rows looked at (n, K), and what is known of the loss they belong to.

    A, G; labels (n,) as columns of A, -1 where that is not looked at, or None; shape (N, C) of all scores; turned: these entries of the
    transposed gradient, where it is square; allowed: relative error; noise: size of entries of which nothing is known.
    """

    A: Floats
    G: Floats
    labels: NDArray[np.intp] | None
    shape: tuple[int, int]
    turned: Floats | None
    allowed: float
    noise: float

    def errors(self, X: Floats) -> Floats:
        """Of X against G, relative to the largest entry of the row."""
        size = np.maximum(np.abs(X), np.abs(self.G)).max(axis=1, keepdims=True)
        return np.abs(X - self.G) / (size + self.noise / self.allowed)

    def fits(self, X: Floats, where: Any = True) -> bool:
        """Whether X is G, but for ten times the error allowed."""
        return bool(np.all(self.errors(X) <= 10 * self.allowed, where=where))

    @property
    def known(self) -> NDArray[np.bool_]:
        """Entries of which something is known."""
        return np.abs(self.G) > 10 * self.noise / self.allowed

    @property
    def of_label(self) -> NDArray[np.bool_]:
        """The label's entries."""
        return np.zeros(self.G.shape, bool) if self.labels is None else self.labels[:, None] == np.arange(self.G.shape[1])


def likely(seen: Seen) -> Cause:
    """The first pattern that fits."""
    for pattern in (_turned, _one_factor, _label_only, _label_entry, _other_target, _factor_of_row, _factor_of_class):
        found = pattern(seen)
        if found is not None:
            return found
    return Cause("unknown", "none that is known; compare the formula of the worst entry by hand")


def _turned(seen: Seen) -> Cause | None:
    if seen.turned is not None and seen.fits(seen.turned):
        return Cause("transposed", "the gradient is transposed: classes by rows")
    return None


def _one_factor(seen: Seen) -> Cause | None:
    c = float((seen.A * seen.G).sum() / max((seen.G**2).sum(), 1e-300))
    if abs(c) < seen.allowed or not seen.fits(seen.A / c):
        return None
    (N, C), size = seen.shape, abs(c)
    known = {"sign": 1, "sum instead of mean": N, "mean instead of sum": 1 / N, "divided by entries": 1 / C, "times the classes": C}
    name = next((name for name, factor in known.items() if abs(size / factor - 1) < 1e-3), "constant factor")
    words = {
        "sign": "it is y - p instead of p - y",
        "sum instead of mean": f"the gradient is N = {N} times too large: it is the sum's, the value is a mean",
        "mean instead of sum": f"the gradient is N = {N} times too small: it is the mean's, the value is a sum",
        "divided by entries": f"the gradient is C = {C} times too small: it is divided by the number of entries, not of rows",
        "times the classes": f"the gradient is C = {C} times too large: the value is divided by the number of entries, not of rows",
        "constant factor": f"it is {size:.6g} times that of the value: 1/T of u = z / T, T = {max(size, 1 / size):.6g}, or a weight",
    }[name]
    return Cause(name, f"{'the sign is flipped: ' if c < 0 else ''}{words}")


def _label_only(seen: Seen) -> Cause | None:
    others = ~seen.of_label
    if seen.labels is None or seen.A[others].any() or not (seen.known & others).any():
        return None
    words = "all entries but the label's are 0: every class has one, p_j for the others, so that rows sum to 0, not to -1"
    return Cause("only the label's entry", words)


def _label_entry(seen: Seen) -> Cause | None:
    at = seen.of_label
    if not at.any() or not seen.fits(seen.A, where=~at):
        return None
    A, off = seen.A[at], (seen.A - seen.G)[at]
    if _same(A) and (off < 0).all():
        return Cause("p of the label missing", "the label's entry is -1, not p_y - 1 (times the row's weight): rows must sum to 0")
    if _same(off) and (off > 0).all():
        return Cause("y missing", "the gradient is p, not p - y: 1 (times the row's weight) is missing in the label's entry")
    return Cause("label's entry", "only the label's entries are wrong: p_y - 1, times the row's weight, is right for cross-entropy")


def _other_target(seen: Seen) -> Cause | None:
    at, off = seen.of_label, seen.A - seen.G
    if seen.labels is None or len(seen.G) < 2 or not at.any() or not (_same(off[at]) and _same(off[~at])):
        return None
    words = "value and gradient have different targets: smoothing in one of them only, or eps in the place of eps / C"
    return Cause("another target", words)


def _factor_of_row(seen: Seen) -> Cause | None:
    c = _factors(seen, axis=1)
    if len(seen.G) < 2 or not seen.fits(np.divide(seen.A, c, out=seen.A.copy(), where=c != 0)):
        return None
    words = "each row is off by a factor of its own: sample weights, or the labels' class weights, are in one of value and gradient only"
    return Cause("factor of rows", words)


def _factor_of_class(seen: Seen) -> Cause | None:
    c = _factors(seen, axis=0)
    if len(seen.G) < 2 or not seen.fits(np.divide(seen.A, c, out=seen.A.copy(), where=c != 0)):
        return None
    words = "each class is off by a factor of its own: class weights multiply its column; they belong to the rows of its label"
    return Cause("factor of classes", words)


def _factors(seen: Seen, axis: int) -> Floats:
    """The best c of A = c G in each row or class."""
    below = (seen.G**2).sum(axis=axis, keepdims=True)
    return (seen.A * seen.G).sum(axis=axis, keepdims=True) / np.where(below > 0, below, 1)


def _same(x: Floats) -> bool:
    return bool(np.ptp(x) <= 1e-5 * np.abs(x).max()) if len(x) else False
