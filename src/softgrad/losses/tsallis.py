"""The link of sparse and of heavy-tailed probabilities: entmax, of which softmax is alpha = 1 and sparsemax alpha = 2.

    b = alpha - 1,   exp_b(x) = [1 + b x]_+^(1/b)   (exp(x) for b = 0)
    d_j = u_j - u_am <= 0,   p_j = exp_b(d_j - h)   (am: the largest score; h >= 0: how far above it the sum's logarithm lies)
    h solves   sum_{j != am} p_j - (1 - p_am) = 0;   call the left side r, and P = sum_j p_j = 1 + r
    g_j = p_j^(1 - b) = -dp_j/dh on the support, 0 elsewhere;   dp/du = diag(g) - g g' / sum g

r is a difference of two small numbers where one class has it all, not of P and 1, so that a probability or a loss of 1e-20 keeps its
digits. Newton is taken on P^b / b, which as a norm of 1 + b (d - h) is nearly straight and bends one way: its steps

    h <- h + P (1 - P^-b) / (b sum g)

from h = 0 never go over the root, and one is enough where all p are alike, or b = 0; on r itself there were more.
With w_j = 1 + b (d_j - h), which is p_j^b on the support, k_j = h - d_j and s_j = 1 - p_j the loss of a label y has positive terms:

    l_y = ((k_y - s_y) + b s_y k_y + sum_{j != y} p_j w_j) / alpha,   k - s = sum_{n >= 2} (1 - b) ... (n - 1 - b) / n! s^n

It equals H(p) + p.u - u_y, the Fenchel-Young loss of the entropy H(p) = (1 - sum p^alpha) / (alpha (alpha - 1)).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from softgrad import arrays
from softgrad.losses.part import AbstractLink, Floats, Pair
from softgrad.losses.softmax import minus_product, two_difference

STEPS = 100  # of Newton: 3 to 7 are taken
SHORT, TERMS = 0.125, 18  # below SHORT k - s is summed: 0.125^18 is lost beside the first term


class Tempered:
    """Rows of scores u (n, C) through exp_b: h (n, 1); p, w, k and complements s (n, C)."""

    def __init__(self, u: Pair, b: float):
        self.b = b
        self.am = u[0].argmax(axis=-1, keepdims=True)
        d, lo = two_difference(u[0], np.take_along_axis(u[0], self.am, axis=-1))
        lo = lo + (u[1] - np.take_along_axis(u[1], self.am, axis=-1))
        self.top = np.zeros(d.shape, bool)
        np.put_along_axis(self.top, self.am, True, axis=-1)
        self.d = d + lo
        with np.errstate(invalid="ignore", over="ignore"):
            exact = abs(math.frexp(b)[0]) == 0.5  # b is a power of 2, and b d is not rounded
            c = (1 + b * d if exact else minus_product(np.ones_like(d), -d, b)) + b * lo  # all its digits where it nearly vanishes
        self.c = np.where(np.isfinite(c), c, np.where(d < 0, np.sign(b) * -np.inf, 1.0) if b else 1.0)
        self.h = np.zeros((*d.shape[:-1], 1))
        self.q = np.ones_like(self.h)  # 1 - b h, what w is at the largest score
        for _ in range(STEPS):
            step = self._step()
            moves = step > 2e-16 * np.minimum(self.h, np.abs(self.q / b) if b else np.inf)
            if not moves.any():
                break
            self._move(np.where(moves, step, 0.0))  # each row by itself: its bits do not depend on its neighbours
        self._move(self._step())  # this one may go back: early steps, when q was near 1, were rounded as it was
        self._evaluate()

    def _step(self) -> Floats:
        self._evaluate()
        r = self.sum_below(self.p) - self._top_complement()
        log = np.log1p(r)
        rise = -np.expm1(-self.b * log) / self.b if self.b else log
        return (1 + r) * rise / self.slopes().sum(axis=-1, keepdims=True)

    def _move(self, step: Floats) -> None:
        self.h, self.q = self.h + step, self.q - self.b * step

    def _evaluate(self) -> None:
        b = self.b
        self.k = self.h - self.d
        self.w = self.c - b * self.h
        if b > 0:
            self.w = np.where(self.q < 0.5, self.q + b * self.d, self.w)  # whichever subtracts less
        with np.errstate(divide="ignore"):
            if b == 0:
                self.p = np.exp(-self.k)
            elif b >= 0.5:
                self.p = np.maximum(self.w, 0.0) ** (1 / b)
            else:  # a small b would magnify the rounding of w near 1
                near = self.w > 0.5
                log = np.where(near, np.log1p(np.where(near, -b * self.k, 0.0)), np.log(np.maximum(self.w, 0.0)))
                self.p = np.exp(log / b)

    def _top_complement(self) -> Floats:
        """1 - p_am from h."""
        return -np.expm1(-self.h if self.b == 0 else np.log1p(-self.b * self.h) / self.b)

    def slopes(self) -> Floats:
        """The g of dp/du = diag(g) - g g' / sum g."""
        return power(self.p, 1 - self.b)

    def sum_below(self, x: Floats) -> Floats:
        """sum_{j != am} x_j (n, 1)."""
        return np.where(self.top, 0.0, x).sum(axis=-1, keepdims=True)

    def sum_without(self, x: Floats) -> Floats:
        """sum_{k != j} x_k (n, C) for x >= 0 that is largest at am: no difference of nearly equal numbers."""
        below = self.sum_below(x)
        return np.where(self.top, below, np.take_along_axis(x, self.am, axis=-1) + (below - x))

    def complements(self) -> Floats:
        """s_j = 1 - p_j, each to full relative accuracy."""
        return self.sum_without(self.p)

    def logarithms(self) -> Floats:
        """log p, accurate near 0 too."""
        with np.errstate(divide="ignore"):
            return np.where(self.p > 0.5, np.log1p(-np.minimum(self.complements(), 0.5)), np.log(self.p))

    def jacobian_product(self, v: Floats) -> Floats:
        """dp/du v."""
        g = self.slopes()
        w = v - np.take_along_axis(v, self.am, axis=-1)
        return g * (w - (g * w).sum(axis=-1, keepdims=True) / g.sum(axis=-1, keepdims=True))


def power(p: Floats, exponent: float) -> Floats:
    """p^exponent on the support, 0 elsewhere."""
    if exponent > 0.25:  # 0 stays 0
        return p**exponent
    return np.power(p, exponent, out=np.zeros_like(p), where=p > 0)


def label_losses(x: Tempered, k: Floats, b: float, asked: NDArray[np.bool_]) -> Floats:
    """l_y for every y that is asked for (n, C), 0 elsewhere; k_y = -log_b p_y continues below the support as it must."""
    s, k, found = x.complements()[asked], k[asked], np.zeros(asked.shape)
    short = s < SHORT
    t = np.where(short, s, 0.0)
    series = np.zeros_like(t)
    for n in range(TERMS + 1, 2, -1):  # Horner: the n-th coefficient is (n - 1 - b) / n times the one before
        series = (series + 1) * (t * ((n - 1 - b) / n))
    series = (series + 1) * t * t * ((1 - b) / 2)
    pw = x.p * x.p**b if b > 0 else power(x.p, 1 + b)  # p sqrt(p) is much quicker than p^1.5
    with np.errstate(over="ignore"):
        own = np.where(short, series + b * s * np.where(short, k, 0.0), k * (1 + b * s) - s)
        found[asked] = (own + x.sum_without(pw)[asked]) / (1 + b)
    return found


@dataclass(frozen=True)
class Entmax(AbstractLink):
    """l = sum_j a_j (H(p) + p.u - u_j), p the entmax of u: probabilities that are exactly 0 for all classes far enough below the best.

    p = [(alpha - 1) u - tau]_+^(1 / (alpha - 1)),   H(p) = (1 - sum_j p_j^alpha) / (alpha (alpha - 1))
    gradient A p - a;   Hessian product A (g o v - g (g.v) / sum g),   g = p^(2 - alpha) on the support

    Parameters: alpha in (0, 2], default 1.5; 2 is sparsemax, 1 softmax cross-entropy, below 1 tails are heavy and no probability is 0.
    The loss of a label is 0 from the margin 1 / (alpha - 1) on. Of soft targets it is the mean of the labels' losses, as cross-entropy
    has it: the Fenchel-Young loss is that less H(a), so that here the least value is H(a). Convex. Scores may be -inf.
    Raises SoftgradError for alpha out of range. Reference: Peters, Niculae, Martins 2019, arXiv 1905.05702; Martins, Astudillo 2016,
    arXiv 1602.02068; Blondel, Martins, Niculae 2020, arXiv 1901.02324.

    >>> from softgrad import losses
    >>> loss = losses.compose(losses.Entmax(2.0))
    >>> value, gradient = loss.value_and_grad([[-2.0, 0.0, 0.5]], [2])
    >>> print(value, gradient)
    0.0625 [[ 0.    0.25 -0.25]]
    """

    alpha: float = 1.5

    def __post_init__(self) -> None:
        arrays.number("Entmax(alpha)", self.alpha, 0, 2, open_low=True)

    shift_invariant = True
    convex = True
    likelihood = False  # -log p is infinite off the support; a curve would have to act on that
    weighs_targets = True

    def value_gradient(self, u: Pair, a: Floats, rest: Floats) -> Pair:
        x = self._through(u)
        with np.errstate(invalid="ignore"):  # an impossible class costs nothing where a = 0
            value = (a * label_losses(x, x.k, x.b, a > 0)).sum(axis=-1)
        return value, x.p * rest - a * x.complements()

    def hessian_product(self, u: Pair, a: Floats, rest: Floats, v: Floats) -> Floats:
        return a.sum(axis=-1, keepdims=True) * self._through(u).jacobian_product(v)

    def probabilities(self, u: Pair) -> Floats:
        return self._through(u).p

    def log_probabilities(self, u: Pair) -> Floats:
        return self._through(u).logarithms()

    def _through(self, u: Pair) -> Tempered:
        return Tempered(u, self.alpha - 1)


def entmax_probabilities(scores: ArrayLike, alpha: float = 1.5) -> NDArray[np.float64]:
    """Probabilities of scores, exactly 0 for those far enough below the largest.

    p = [(alpha - 1) z - tau]_+^(1 / (alpha - 1)),   tau such that sum_j p_j = 1

    Parameters: scores (..., C), -inf for classes that cannot be; alpha in (0, 2], as in `Entmax`. Returns float64, the shape of scores.
    Raises SoftgradError for NaN, +inf, rows without a finite score, alpha out of range. Reference: Peters et al. 2019, arXiv 1905.05702.

    >>> from softgrad import losses
    >>> losses.entmax_probabilities([-2.0, 0.0, 0.5], alpha=2)
    array([0.  , 0.25, 0.75])
    """
    link = Entmax(alpha)
    z = _checked("entmax_probabilities", scores)
    return link.probabilities((z, np.zeros_like(z)))


def entmax_alpha_slopes(scores: ArrayLike, alpha: float = 1.5) -> NDArray[np.float64]:
    """Derivatives of every probability by alpha: what a learnable alpha needs.

    dp/dalpha = c - g sum c / sum g,   c_j = p_j ((w_j - 1) / w_j - log w_j) / b^2,   w = p^b,  b = alpha - 1,  g = p^(1 - b)

    Parameters, returns and errors as for `entmax_probabilities`; for alpha = 1 the limit c_j = -p_j log(p_j)^2 / 2. Sums to 0 along
    the classes. Reference: Correia, Niculae, Martins 2019, arXiv 1909.00015.

    >>> from softgrad import losses
    >>> losses.entmax_alpha_slopes([-1.0, 0.0, 0.5], alpha=1.33).round(4)
    array([-0.2562, -0.0114,  0.2676])
    """
    z = _checked("entmax_alpha_slopes", scores)
    x, b = Tempered((z, np.zeros_like(z)), Entmax(alpha).alpha - 1), alpha - 1
    with np.errstate(divide="ignore", invalid="ignore"):
        log = x.logarithms()
        e = b * log  # log w; 1 - exp(-e) - e = -e^2 (1/2 - e/6 + e^2/24 - ...)
        c = np.where(np.abs(e) < 1e-3, -(log**2) * (1 / 2 - e / 6 + e**2 / 24), (-np.expm1(-e) - e) / (b * b if b else 1.0))
    c = np.where(x.p > 0, x.p * c, 0.0)
    g = x.slopes()
    return c - g * (c.sum(axis=-1, keepdims=True) / g.sum(axis=-1, keepdims=True))


def _checked(call: str, scores: ArrayLike) -> Floats:
    """Scores (..., C) in float64, each row with a finite largest."""
    z = arrays.floats(f"{call}(scores)", scores).astype(np.float64)
    if z.ndim == 0 or z.shape[-1] == 0:
        arrays.refuse(f"{call}(scores)", "must have at least one class on the last axis", f"shape {z.shape}", "pass some scores")
    broken = ~np.isfinite(z.max(axis=-1)).ravel()
    if broken.any():
        arrays.bad_scores(f"{call}(scores)", int(broken.argmax()))
    return z
