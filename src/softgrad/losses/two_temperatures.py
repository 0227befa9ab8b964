"""The link of two temperatures: one that bounds the loss, one that makes the tails of the probabilities heavy."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from softgrad import arrays
from softgrad.losses.part import AbstractLink, Floats, Pair
from softgrad.losses.tsallis import Tempered, label_losses, power


@dataclass(frozen=True)
class BiTempered(AbstractLink):
    """l = sum_j q_j (log_t1 q_j - log_t1 p_j) - (q_j^(2 - t1) - p_j^(2 - t1)) / (2 - t1),  p_j = exp_t2(u_j - lambda).

    log_t x = (x^(1 - t) - 1) / (1 - t),   exp_t its inverse, 0 where there is none;   lambda such that sum_j p_j = 1
    g = p^t2,  d = (p - q) o p^(t2 - t1),   gradient d - g D / G,   D = sum d,  G = sum g
    Hessian product d' - g' D / G - g (D' - G' D / G) / G with D' = sum d', G' = sum g', w = v - g.v / G on the support,
                    g' = t2 p^(2 t2 - 1) o w,  d' = p^(2 t2 - t1 - 1) o (p + (t2 - t1) (p - q)) o w

    Parameters: t1 in [0, 2), t2 in [t1, 4], defaults 0.8 and 1.2; below 1 t1 bounds the loss, so that wrong labels cannot draw without
    limit; above 1 t2 keeps all probabilities above 0, below 1 it makes those of far classes exactly 0. t1 > t2 has an infinite
    gradient there and is refused. Targets q: class numbers or distributions (N, C); the loss is 0 where p = q; class weights multiply it.
    For t1 = t2 it is, with its tangents below the support, the Fenchel-Young loss of entmax with alpha = 2 - t1, and convex; for 1 that is
    softmax cross-entropy less the entropy of q. lambda is solved to the last digits. Raises SoftgradError out of range.
    Reference: Amid et al. 2019, arXiv 1906.03361.

    >>> from softgrad import losses
    >>> loss = losses.compose(losses.BiTempered(0.8, 1.2))
    >>> value, gradient = loss.value_and_grad([[1.0, 2.0, 3.0]], [1])
    >>> print(round(value, 4), gradient.round(4))
    1.0333 [[ 0.0446 -0.4614  0.4168]]
    """

    t1: float = 0.8
    t2: float = 1.2

    def __post_init__(self) -> None:
        t1 = arrays.number("BiTempered(t1)", self.t1, 0, 2, open_high=True)
        arrays.number("BiTempered(t2)", self.t2, t1, 4)

    shift_invariant = True
    likelihood = False
    weighs_targets = False

    @property
    def convex(self) -> bool:  # type: ignore[override] - of each object, not of the class
        return self.t1 == self.t2

    def value_gradient(self, u: Pair, a: Floats, rest: Floats) -> Pair:
        x, b = self._through(u), 1 - self.t1
        k = x.k if self.convex else cost(x.logarithms(), b)
        with np.errstate(invalid="ignore", divide="ignore"):  # an impossible class costs nothing where a = 0
            least = np.where(a > 0, a * cost(np.log(a), b), 0.0).sum(axis=1) / (1 + b)
            value = (a * label_losses(x, k, b, a > 0)).sum(axis=1) - least
        g, d = x.slopes(), self._pulls(x, a, rest)
        return value, d - g * _share(d, g)

    def hessian_product(self, u: Pair, a: Floats, rest: Floats, v: Floats) -> Floats:
        x, t1, t2 = self._through(u), self.t1, self.t2
        g, d = x.slopes(), self._pulls(x, a, rest)
        w = v - np.take_along_axis(v, x.am, axis=1)
        w = w - _share(g * w, g)
        g1 = t2 * power(x.p, 2 * t2 - 1) * w
        d1 = (power(x.p, 2 * t2 - t1) + (t2 - t1) * power(x.p, t2 - 1) * d) * w
        return d1 - g1 * _share(d, g) - g * (_share(d1, g) - _share(g1, g) * _share(d, g))

    def probabilities(self, u: Pair) -> Floats:
        return self._through(u).p

    def log_probabilities(self, u: Pair) -> Floats:
        return self._through(u).logarithms()

    def _through(self, u: Pair) -> Tempered:
        return Tempered(u, 1 - self.t2)

    def _pulls(self, x: Tempered, a: Floats, rest: Floats) -> Floats:
        """The d of the formula; (p - q) as in cross-entropy, not as a difference."""
        return (x.p * rest - a * x.complements()) * x.p ** (self.t2 - self.t1)


def cost(log: Floats, b: float) -> Floats:
    """-log_b x = (1 - x^b) / b of log x."""
    return -np.expm1(b * log) / b if b else -log


def _share(x: Floats, g: Floats) -> Floats:
    """sum x / sum g (n, 1)."""
    return x.sum(axis=1, keepdims=True) / g.sum(axis=1, keepdims=True)
