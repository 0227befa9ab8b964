"""The link: softmax p = exp(u) / sum exp(u), its log, its sum and its derivatives, accurate also where one class has it all.

    d_j = u_j - u_am <= 0,  e_j = exp(d_j),  s = sum_{j != am} e_j          (am: the largest score, left OUT of the sum)
    p_am = 1 / (1 + s),  p_j = e_j / (1 + s);    1 - p_am = s / (1 + s),  1 - p_j = (1 + (s - e_j)) / (1 + s)
    log p_j = d_j - log1p(s);                    logsumexp = u_am + log1p(s)

Nothing is subtracted from 1 and no logsumexp is compared with a score, so that a loss of 1e-30 and a gradient of 1e-30 keep all their
digits (Blanchard, Higham, Higham 2021, doi 10.1093/imanum/draa038, for the sum). Scores are pairs (u, lo) whose exact value is
u + lo: at a margin of 700 the rounding of one subtraction alone would cost 256 eps in exp.
"""

from __future__ import annotations

import math
import operator
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from softgrad import arrays
from softgrad.losses.part import AbstractLink, Floats, Pair


def two_difference(a: Floats, b: Floats) -> Pair:
    """a - b as an unevaluated pair (hi, lo) with hi + lo = a - b exactly (Knuth's TwoSum); lo is 0 where hi is not finite."""
    with np.errstate(invalid="ignore", over="ignore"):
        hi = a - b
        bb = a - hi
        lo = (a - (hi + bb)) + (bb - b)
    return hi, np.where(np.isfinite(hi), lo, 0.0)


@dataclass(frozen=True)
class Exponentials:
    """exp of a row's scores relative to its largest, which itself is left out: e_am = 0, s = sum e."""

    am: NDArray[np.intp]
    d: Floats
    e: Floats
    s: Floats

    def probabilities(self) -> Floats:
        p = self.e / (1 + self.s)
        np.put_along_axis(p, self.am, 1 / (1 + self.s), axis=-1)
        return p

    def complements(self) -> Floats:
        """1 - p, each entry to full relative accuracy."""
        c = (1 + (self.s - self.e)) / (1 + self.s)
        np.put_along_axis(c, self.am, self.s / (1 + self.s), axis=-1)
        return c


def exponentials(u: Floats, lo: Floats | None = None) -> Exponentials:
    """`Exponentials` of scores u + lo (..., C), the exact differences to the largest in the exponent."""
    am = u.argmax(axis=-1, keepdims=True)
    d, rest = two_difference(u, np.take_along_axis(u, am, axis=-1))
    if lo is not None:
        rest = rest + (lo - np.take_along_axis(lo, am, axis=-1))
    e = np.exp(d)
    e += e * rest  # exp(d + rest): rest is below 1e-13, its square is nothing
    np.put_along_axis(e, am, 0.0, axis=-1)
    return Exponentials(am, d + rest, e, e.sum(axis=-1, keepdims=True))


@dataclass(frozen=True)
class Softmax(AbstractLink):
    """l = A lse(u) - a.u for targets a with A = sum a; dl/du = A p - a; Hessian A (diag(p) - p p').

    >>> from softgrad import losses
    >>> losses.compose(losses.Softmax()) == losses.cross_entropy()
    True
    """

    shift_invariant = True
    convex = True
    likelihood = True
    weighs_targets = True

    def value_gradient(self, u: Pair, a: Floats, rest: Floats) -> Pair:
        x = exponentials(*u)
        A = a.sum(axis=-1, keepdims=True)
        with np.errstate(invalid="ignore"):
            below = np.where(a > 0, a * -x.d, 0.0)  # a class that cannot be has d = -inf, and costs nothing where a = 0
        value = A[..., 0] * np.log1p(x.s[..., 0]) + below.sum(axis=-1)
        # A p - a with A = a_j + rest_j: no difference of nearly equal numbers where the row is confident
        return value, x.probabilities() * rest - a * x.complements()

    def hessian_product(self, u: Pair, a: Floats, rest: Floats, v: Floats) -> Floats:
        x = exponentials(*u)
        p = x.probabilities()
        A = a.sum(axis=-1, keepdims=True)
        w = v - np.take_along_axis(v, x.am, axis=-1)
        return A * p * (w - (p * w).sum(axis=-1, keepdims=True))

    def probabilities(self, u: Pair) -> Floats:
        return exponentials(*u).probabilities()

    def log_probabilities(self, u: Pair) -> Floats:
        x = exponentials(*u)
        return x.d - np.log1p(x.s)


Axes: TypeAlias = tuple[int, ...]


def _rows(call: str, scores: ArrayLike, axis: int | Axes | None) -> tuple[Floats, np.dtype[Any], Axes, Axes]:
    """Scores in float64 with the axes in question flattened into the last one; the type to return; kept and flattened axes."""
    z = arrays.floats(f"{call}(scores)", scores)
    if z.ndim == 0 and axis is not None:
        arrays.refuse(f"{call}(scores)", "must have an axis of classes", "a single number", "pass a list or an array")
    try:
        axes = tuple(range(z.ndim)) if axis is None else tuple(map(operator.index, np.atleast_1d(np.asarray(axis)).tolist()))
    except TypeError:
        axes = (z.ndim,)
    if not all(-z.ndim <= k < z.ndim for k in axes) or len({k % z.ndim for k in axes}) != len(axes):
        arrays.refuse(f"{call}(axis)", f"must name axes of scores, each once, of its {z.ndim}", repr(axis), "choose another")
    axes = tuple(k % z.ndim for k in axes)
    kept = tuple(k for k in range(z.ndim) if k not in axes)
    flat = z.transpose(kept + axes).reshape(*(z.shape[k] for k in kept), math.prod(z.shape[k] for k in axes))
    if flat.shape[-1] == 0:
        arrays.refuse(f"{call}(scores)", "must hold at least one score along axis", f"shape {z.shape}", "pass some scores")
    if np.isnan(np.max(flat, axis=-1, initial=-np.inf)).any():
        arrays.refuse(f"{call}(scores)", "must hold no NaN", "a NaN", "repair or drop it")
    return flat.astype(np.float64, copy=False), z.dtype, kept, axes


def _restore(flat: Floats, like: ArrayLike, dtype: np.dtype[Any], kept: Axes, axes: Axes) -> NDArray[Any]:
    shape = np.shape(like)
    out = flat.reshape([shape[k] for k in kept + axes]).transpose(np.argsort(kept + axes))
    with np.errstate(under="ignore", over="ignore"):
        return np.asarray(out.astype(dtype, copy=False), order="C")


def _tempered(call: str, z: Floats, temperature: float) -> Pair:
    T = arrays.number(f"{call}(temperature)", temperature, 0, open_low=True)
    largest = z.max(axis=-1)
    if not np.isfinite(largest).all():
        rule = "a row of scores must hold no NaN and no +inf, and at least one finite score"
        arrays.refuse(f"{call}(scores)", rule, f"row {int((~np.isfinite(largest)).argmax())}", "repair or drop that row")
    return divided(two_difference(z, largest[..., None]), T)


def divided(z: Pair, T: float) -> Pair:
    """z / T as a pair; the remainder of the division is exact (Dekker's product)."""
    u, lo = z
    if T == 1:
        return z
    with np.errstate(invalid="ignore", over="ignore"):
        hi = u / T
        remainder = minus_product(u, hi, T)
        return hi, np.where(np.isfinite(hi) & np.isfinite(remainder), (remainder + lo) / T, 0.0)


def multiplied(z: Pair, s: float) -> Pair:
    """z s as a pair; the rounding of the product is exact (Dekker)."""
    u, lo = z
    with np.errstate(invalid="ignore", over="ignore"):
        hi = u * s
        rounding = -minus_product(hi, u, s)
        return hi, np.where(np.isfinite(hi) & np.isfinite(rounding), rounding + lo * s, 0.0)


def minus_product(u: Floats, hi: Floats, T: float) -> Floats:
    """u - hi T without rounding of the product: both factors split in halves of 26 bits (Veltkamp)."""
    split = 134217729.0  # 2**27 + 1
    h1 = split * hi - (split * hi - hi)
    t1 = split * T - (split * T - T)
    h2, t2 = hi - h1, T - t1
    product = hi * T
    error = ((h1 * t1 - product) + h1 * t2 + h2 * t1) + h2 * t2
    return (u - product) - error


def softmax(scores: ArrayLike, *, temperature: float = 1.0, axis: int | tuple[int, ...] | None = -1) -> NDArray[Any]:
    """Probabilities of scores, each to a few units in the last place.

    p_j = exp(z_j / T) / sum_k exp(z_k / T)

    Parameters: scores, any shape, float16/32/64 (other numbers become float64; float16 and float32 are computed wider); -inf means "not
    possible". temperature T > 0; T -> 0 tends to argmax, T -> inf to uniform. axis: int, tuple or None (all).
    Returns: probabilities, same shape and type as scores.
    Raises SoftgradError for NaN, +inf, rows without a finite score, T <= 0, an axis that is not there.
    Reference: Bridle 1990; Blanchard, Higham, Higham 2021, doi 10.1093/imanum/draa038.

    >>> import softgrad
    >>> softgrad.softmax([1.0, 2.0, 3.0]).round(4)
    array([0.09  , 0.2447, 0.6652])
    >>> softgrad.softmax([1.0, 2.0, 3.0], temperature=2).round(4)
    array([0.1863, 0.3072, 0.5065])
    """
    flat, dtype, kept, axes = _rows("softmax", scores, axis)
    p = exponentials(*_tempered("softmax", flat, temperature)).probabilities()
    return _restore(p, scores, dtype, kept, axes)


def log_softmax(scores: ArrayLike, *, temperature: float = 1.0, axis: int | tuple[int, ...] | None = -1) -> NDArray[Any]:
    """Log-probabilities of scores, accurate in relative terms also for the largest class, where they are nearly 0.

    log p_j = (z_j - max z) / T - log1p(sum of the others' exp)

    Parameters, errors and reference: as `softmax`. Returns the same shape and type as scores.

    >>> import softgrad
    >>> softgrad.log_softmax([40.0, 0.0])
    array([-4.24835426e-18, -4.00000000e+01])
    """
    flat, dtype, kept, axes = _rows("log_softmax", scores, axis)
    x = exponentials(*_tempered("log_softmax", flat, temperature))
    return _restore(x.d - np.log1p(x.s), scores, dtype, kept, axes)


def logsumexp(scores: ArrayLike, *, axis: int | tuple[int, ...] | None = -1) -> Any:
    """Logarithm of the sum of exponentials, without overflow, the largest left out of the sum.

    lse = max z + log1p(sum_{j != argmax} exp(z_j - max z))

    Parameters: scores, any shape; axis as in `softmax`. +inf gives +inf, all -inf gives -inf.
    Returns: scores' shape without the axis, scores' type. Raises SoftgradError for NaN or an axis that is not there.
    Reference: Blanchard, Higham, Higham 2021, doi 10.1093/imanum/draa038.

    >>> import softgrad
    >>> print(softgrad.logsumexp([1000.0, 1000.0]) - 1000)
    0.69314718...
    """
    flat, dtype, _, _ = _rows("logsumexp", scores, axis)
    largest = flat.max(axis=-1)
    finite = np.isfinite(largest)
    x = exponentials(np.where(finite[..., None], flat, 0.0))
    with np.errstate(over="ignore"):
        return np.where(finite, largest + np.log1p(x.s[..., 0]), largest).astype(dtype)[()]


def softmax_jacobian(scores: ArrayLike, *, temperature: float = 1.0) -> NDArray[Any]:
    """Derivatives of every probability by every score.

    J_jk = dp_j/dz_k = (p_j [j = k] - p_j p_k) / T

    Parameters: scores (..., C), temperature T > 0 as in `softmax`. Returns (..., C, C), symmetric; rows sum to 0.
    Raises SoftgradError as `softmax` does. Reference: Bridle 1990.

    >>> import softgrad
    >>> softgrad.softmax_jacobian([1.0, 2.0, 3.0]).round(4)
    array([[ 0.0819, -0.022 , -0.0599],
           [-0.022 ,  0.1848, -0.1628],
           [-0.0599, -0.1628,  0.2227]])
    """
    flat, dtype, _, _ = _rows("softmax_jacobian", scores, -1)
    x = exponentials(*_tempered("softmax_jacobian", flat, temperature))
    p = x.probabilities()
    J = -p[..., :, None] * p[..., None, :]
    diagonal = np.arange(p.shape[-1])
    J[..., diagonal, diagonal] = p * x.complements()
    with np.errstate(under="ignore"):
        return (J / float(temperature)).astype(dtype, copy=False)
