"""A gradient held against finite differences, and the likely mistake where they differ: what `softgrad.check_gradient` returns.

    A: the gradient that the loss gives,  G: five-point differences of its value;   error = max |A - G| / largest entry of its row

Differences are known up to noise = eps |value| / h; what lies below that is not judged. At a kink any number between the slopes on
both sides is right.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from softgrad import arrays, differences
from softgrad.causes import Cause, Seen, likely

Floats = NDArray[np.float64]
Called: TypeAlias = Callable[[Floats], tuple[NDArray[Any], NDArray[Any]]]


class Entry(NamedTuple):
    """One entry: its row and class, what the loss says and what the differences of its value say."""

    row: int
    column: int
    analytic: float
    numeric: float


@dataclass(frozen=True, eq=False)
class GradientCheck:
    """Whether a gradient is that of its value; true where it is, and so is the Hessian product if there is one.

    ok; error, relative to the largest entry of its row, and the tolerance that it has; worst, the entry that is farthest off; cause, the
    likely mistake by name and in words, None where ok; analytic and numeric, the entries looked at, of these rows and columns; kinks, how
    many of them lie at a kink of the value; hessian, the same check of `hessian_product` against the gradient along random directions,
    None where the loss has none or its gradient is wrong.
    """

    ok: bool
    error: float
    tolerance: float
    cause: Cause | None = None
    worst: Entry | None = None
    analytic: Floats | None = None
    numeric: Floats | None = None
    rows: NDArray[np.intp] | None = None
    columns: NDArray[np.intp] | None = None
    kinks: int = 0
    hessian: GradientCheck | None = None

    def __bool__(self) -> bool:
        return self.ok and (self.hessian is None or self.hessian.ok)

    def __str__(self) -> str:
        return "\n".join(_told(self, "gradient") + ([] if self.hessian is None else _told(self.hessian, "Hessian product")))


def _told(check: GradientCheck, what: str) -> list[str]:
    told = [f"{what}: {'right' if check.ok else 'WRONG'}, relative error {check.error:.1e} (allowed: {check.tolerance:.1e})"]
    if check.kinks:
        told.append(f"  {check.kinks} entries lie at a kink of the value")
    if check.worst is not None and not check.ok:
        told.append(f"  worst entry: row {check.worst.row}, class {check.worst.column}")
        told += [f"    it says                {check.worst.analytic: .10g}", f"    finite differences say {check.worst.numeric: .10g}"]
    return told if check.cause is None else [*told, f"  likely cause: {check.cause.words}"]


def check_gradient(
    loss: Any, scores: ArrayLike, targets: ArrayLike, *, tolerance: float | None = None, most: int = 2000, seed: int = 0, **options: Any
) -> GradientCheck:
    """Hold the gradient of any loss against finite differences of its value, and name the likely mistake where they differ.

    G_ij = (L(z - 2h) - 8 L(z - h) + 8 L(z + h) - L(z + 2h)) / 12 h by z_ij;   H v likewise from the gradient along random v

    Parameters: loss, anything with `value_and_grad(scores, targets)` (and `hessian_product(scores, targets, vectors)`, which is checked
    too), or a function (scores, targets) -> (value, gradient), where value is a number, or one for each row; scores (N, C), handed on in
    float64; targets, whatever the loss reads. tolerance of the error (default: 10 sqrt(eps) of the type of value and gradient: 1.5e-7 in
    float64, 3.5e-3 in float32). most: entries looked at, in whole rows; where there are more, rows drawn by seed. options are handed to
    the loss: sample_weight, reduction. Weights that move with the scores and are held fixed in the gradient (mining) are told as wrong.
    Returns a `GradientCheck`: true where all is right; print it. `softgrad.causes` lists the mistakes it knows. Raises SoftgradError for
    scores that are no matrix of numbers, and for a loss that is none; errors of the loss itself pass.

    >>> import numpy as np, softgrad
    >>> def mine(z, y):
    ...     p = np.exp(z) / np.exp(z).sum(axis=1, keepdims=True)
    ...     return -np.log(p[np.arange(len(y)), y]).mean(), p - np.eye(z.shape[1])[y]
    >>> print(softgrad.check_gradient(mine, [[1.0, 2.0, 3.0], [0.0, -1.0, 0.5]], [1, 0]))
    gradient: WRONG, relative error 5.0e-01 (allowed: 1.5e-07)
      worst entry: row 0, class 1
        it says                -0.7552715289
        finite differences say -0.3776357645
      likely cause: the gradient is N = 2 times too large: it is the sum's, the value is a mean
    """
    z = arrays.scores("check_gradient(scores)", scores).astype(np.float64)
    if not (z < np.inf).all():
        arrays.refuse("check_gradient(scores)", "must be finite, or -inf", "NaN or inf", "repair these rows")
    most, call = arrays.whole("check_gradient(most)", most, 1), _called(loss, targets, options)
    value, A = call(z)
    eps = max([2.0**-52, *(float(np.finfo(x.dtype).eps) for x in (value, A) if x.dtype.kind == "f")])
    allowed = 10 * eps**0.5 if tolerance is None else arrays.number("check_gradient(tolerance)", tolerance, 0, open_low=True)
    wrong = _at_once(call, z, value, A) or _two_values(loss, z, targets, options, value)
    if wrong is not None:
        return GradientCheck(False, np.inf, allowed, wrong)
    rng = np.random.default_rng(seed)
    rows, columns = _drawn(len(z), max(1, most // z.shape[1]), rng), _drawn(z.shape[1], most, rng)
    h = differences.step_for(eps)
    total = lambda x: float(call(x)[0].astype(np.float64).sum())  # noqa: E731 - of a value for each row, each row's own slope is left
    places = np.ix_(rows, columns)
    G = differences.slopes(total, z, h, [(i, k) for i in rows for k in columns])[places]
    noise = eps * float(np.abs(value).sum()) / h
    turned = A.T[places].astype(np.float64) if A.shape[0] == A.shape[1] else None
    labels = _labels(targets, len(z), rows, columns)
    seen = Seen(A[places].astype(np.float64), G, labels, z.shape, turned, allowed, noise)
    check = _judged(seen, rows, columns, lambda i, k: _both_sides(total, z, (rows[i], columns[k]), h))
    H = getattr(loss, "hessian_product", None)
    if H is None or not check.ok:
        return check
    product = lambda v: H(z.copy(), targets, v, **options)  # noqa: E731
    return replace(check, hessian=_of_hessian(product, lambda x: call(x)[1], z, h, rng, seen))


def _called(loss: Any, targets: ArrayLike, options: dict[str, Any]) -> Called:
    """The loss as a function of scores, of which it gets a copy."""
    f = getattr(loss, "value_and_grad", loss)
    if not callable(f):
        rule = "must have value_and_grad, or be a function (scores, targets) -> (value, gradient)"
        arrays.refuse("check_gradient(loss)", rule, arrays.shown(loss), "pass one")

    def call(z: Floats) -> tuple[NDArray[Any], NDArray[Any]]:
        came = f(z.copy(), targets, **options)
        if not isinstance(came, tuple | list) or len(came) != 2:
            arrays.refuse("check_gradient(loss)", "must give (value, gradient)", type(came).__name__, "return both")
        return np.asarray(came[0]), np.asarray(came[1])

    return call


def _at_once(call: Called, z: Floats, value: NDArray[Any], A: NDArray[Any]) -> Cause | None:
    """What is wrong already without differences."""
    if not np.isfinite(value).all():
        return Cause("value not finite", "the value is inf or NaN: log of 0, or exp of a large score; subtract the largest score first")
    if A.shape == z.T.shape != z.shape:
        return Cause("transposed", "the gradient is transposed: classes by rows")
    if A.shape != z.shape:
        return Cause("shape", f"the gradient has shape {A.shape}, the scores have {z.shape}")
    if not np.isfinite(A).all():
        i, k = np.argwhere(~np.isfinite(A))[0]
        return Cause("gradient not finite", f"the gradient is {A[i, k]} in row {i}, class {k}: exp of a large score, or 0 times infinity")
    if not np.array_equal(value, call(z)[0]):
        return Cause("value changes", "two calls with the same scores give different values: noise inside, or a state that is kept")
    return None


def _two_values(loss: Any, z: Floats, targets: ArrayLike, options: dict[str, Any], value: NDArray[Any]) -> Cause | None:
    """Whether a loss that can be called by itself gives the value that comes with its gradient."""
    if not (hasattr(loss, "value_and_grad") and callable(loss)):
        return None
    alone = np.asarray(loss(z.copy(), targets, **options))
    if alone.shape == value.shape and np.allclose(alone, value, rtol=1e-6):
        return None
    return Cause("value not matching", f"calling the loss gives {arrays.shown(alone[()])}, its value_and_grad {arrays.shown(value[()])}")


def _drawn(n: int, most: int, rng: np.random.Generator) -> NDArray[np.intp]:
    return np.arange(n) if n <= most else np.sort(rng.permutation(n)[:most])


def _labels(targets: ArrayLike, n: int, rows: NDArray[np.intp], columns: NDArray[np.intp]) -> NDArray[np.intp] | None:
    """Labels as places among the columns looked at, or None for targets of other kinds."""
    y = np.asarray(targets)
    if y.shape != (n,) or y.dtype.kind not in "iu":
        return None
    place = np.searchsorted(columns, y[rows]).clip(max=len(columns) - 1)
    return np.where(columns[place] == y[rows], place, -1)


def _judged(
    seen: Seen, rows: NDArray[np.intp], columns: NDArray[np.intp], both_sides: Callable[[int, int], tuple[float, float]]
) -> GradientCheck:
    """The errors of the entries, kinks looked at from both sides, and what the rest looks like."""
    errors, kinks, at = seen.errors(seen.A), 0, None
    for i, k in np.argwhere(errors > seen.allowed)[:200]:  # a kink is looked for where something is wrong
        slopes = both_sides(i, k)
        size = max(np.abs(seen.A[i]).max(), np.abs(seen.G[i]).max())
        if max(abs(slopes[1] - slopes[0]), abs(slopes[0] - seen.G[i, k])) > 1e-3 * size:
            kinks += 1
            if min(slopes) - 1e-3 * size <= seen.A[i, k] <= max(slopes) + 1e-3 * size:
                errors[i, k] = 0.0
            else:
                at = slopes
    if not errors.size:
        return GradientCheck(True, 0.0, seen.allowed)
    i, k = np.unravel_index(int(errors.argmax()), errors.shape)
    ok, cause = bool(errors[i, k] <= seen.allowed), None
    if not ok:
        cause = likely(seen)
        if cause.name == "unknown" and at is not None:
            cause = Cause("kink", f"the value has a kink, slopes {at[0]:.4g} and {at[1]:.4g} on its sides; the gradient is none between")
    worst = Entry(int(rows[i]), int(columns[k]), float(seen.A[i, k]), float(seen.G[i, k]))
    return GradientCheck(ok, float(errors[i, k]), seen.allowed, cause, worst, seen.A, seen.G, rows, columns, kinks)


def _both_sides(total: Callable[[Floats], float], z: Floats, place: tuple[int, int], h: float) -> tuple[float, float]:
    """Slopes of the value to the left and to the right, close by."""
    middle, near = total(z), h / 100
    step = np.zeros_like(z)
    step[place] = near
    return (middle - total(z - step)) / near, (total(z + step) - middle) / near


def _of_hessian(
    product: Callable[[Floats], Any], gradient: Callable[[Floats], NDArray[Any]], z: Floats, h: float, rng: np.random.Generator, seen: Seen
) -> GradientCheck:
    """The Hessian product along random directions against differences of the gradient."""
    v = np.where(np.isfinite(z), rng.normal(size=z.shape), 0.0)
    Hv = np.asarray(product(v), np.float64)
    if Hv.shape != z.shape:
        return GradientCheck(False, np.inf, seen.allowed, Cause("shape", f"the product has shape {Hv.shape}, the scores have {z.shape}"))
    numeric = differences.along(lambda x: gradient(x).astype(np.float64), z, v, h)
    found = replace(seen, A=Hv, G=numeric, labels=None, turned=None)  # the noise of a gradient is not above that of its value
    return _judged(found, np.arange(len(z)), np.arange(z.shape[1]), lambda i, k: (numeric[i, k], numeric[i, k]))
