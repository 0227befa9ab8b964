"""The gate: users' arrays are checked here, once, and told plainly what is wrong with them.

Every message has four parts: the call and argument, the rule, what came, what to do. Inside the house nothing is checked again.

Conventions of the whole house: N rows, D features, C classes; scores (N, C), coef (C, D), intercept (C,); targets are class numbers (N,)
or distributions (N, C); row weights are float64 (N,), where 0 means that the row does not count and is never read.
"""

from __future__ import annotations

import math
import operator
import os
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from softgrad.row_source import AbstractRowSource

LEAST_WEIGHT = 1e-300  # rows that weigh less in all have no mean in float64
FLOATS = (np.dtype(np.float16), np.dtype(np.float32), np.dtype(np.float64))


class SoftgradError(ValueError):
    """Input that softgrad cannot work with: names the argument, the rule, what came and what to do."""


def refuse(argument: str, rule: str, came: str, do: str) -> NoReturn:
    """Raise the one typed error, in the one form that all messages have."""
    raise SoftgradError(f"{argument}: {rule}; got {came}; {do}.")


def shown(value: Any) -> str:
    """A value as an error message shows it: short, on one line, NumPy's scalars as plain ones."""
    text = " ".join(repr(value.item() if isinstance(value, np.generic) else value).split())
    return text if len(text) <= 60 else text[:57] + "..."


def number(argument: str, value: Any, low: float, high: float = math.inf, *, open_low: bool = False, open_high: bool = False) -> float:
    """A finite number between low and high (open ends where said)."""
    ends = f"{'(' if open_low else '['}{low:g}, {high:g}{')' if open_high or high == math.inf else ']'}"
    try:
        x = float(value)
    except (TypeError, ValueError, OverflowError):
        refuse(argument, f"must be a number in {ends}", shown(value), "pass a number")
    inside = (low < x if open_low else low <= x) and (x < high if open_high else x <= high)
    if not (inside and math.isfinite(x)):
        refuse(argument, f"must be a finite number in {ends}", shown(value), "choose a value inside")
    return x


def whole(argument: str, value: Any, low: int) -> int:
    """A whole number, at least low."""
    try:
        n = operator.index(value)
    except TypeError:
        refuse(argument, f"must be a whole number of at least {low}", shown(value), "pass an int")
    if n < low:
        refuse(argument, f"must be at least {low}", shown(value), "choose a larger one")
    return n


def path(argument: str, value: Any) -> str | os.PathLike[str]:
    """The name of a file."""
    if not isinstance(value, (str, os.PathLike)):
        refuse(argument, "must be a path", shown(value), "pass the name of a file")
    return value


def floats(argument: str, x: Any) -> NDArray[Any]:
    """x as float16, float32 or float64; integers and bools become float64. NaN is looked for later, where the values are read anyway."""
    try:
        a = np.asarray(x)
    except ValueError:
        refuse(argument, "must be an array of numbers", "rows of different lengths", "make all rows equally long")
    if a.dtype in FLOATS:
        return a
    if a.dtype.kind in "biu":
        return a.astype(np.float64)
    if a.dtype.kind == "f":  # longdouble, or a foreign byte order
        return a.astype(np.float64 if a.dtype.itemsize > 4 else a.dtype.newbyteorder("="))
    refuse(argument, "must hold real numbers", f"dtype {a.dtype}", "convert it to float32 or float64")


def matrix(argument: str, x: Any, what: str = "(N, C)") -> NDArray[Any]:
    """`floats` with two axes, rows contiguous in memory."""
    a = floats(argument, x)
    if a.ndim != 2:
        refuse(argument, f"must have two axes {what}", f"shape {a.shape}", "reshape it")
    return np.ascontiguousarray(a)


def scores(argument: str, x: Any) -> NDArray[Any]:
    """Scores (N, C) with at least one class."""
    z = matrix(argument, x)
    if z.shape[1] == 0:
        refuse(argument, "must have at least one class", f"shape {z.shape}", "pass scores of shape (N, C)")
    return z


def like_scores(argument: str, x: Any, shape: tuple[int, ...]) -> NDArray[Any]:
    """A float64 array of the same shape as the scores (directions of a Hessian product)."""
    v = floats(argument, x)
    if v.shape != shape:
        refuse(argument, f"must have the shape of scores {shape}", f"shape {v.shape}", "pass one value for each score")
    return v.astype(np.float64, copy=False)


def row_weight(argument: str, w: Any, n: int) -> NDArray[np.float64] | None:
    """Finite weights >= 0, one for each row, in float64; None stays None."""
    if w is None:
        return None
    a = floats(argument, w).astype(np.float64, copy=False)
    if a.shape != (n,):
        refuse(argument, f"must have one weight for each of the {n} rows", f"shape {a.shape}", "pass shape (N,)")
    bad = ~(np.isfinite(a) & (a >= 0))
    if bad.any():
        i = int(bad.argmax())
        refuse(argument, "must be finite and at least 0", f"{a[i]} in row {i}", "repair or drop that row")
    largest = a.max(initial=0.0)
    if largest > 0 and not LEAST_WEIGHT < largest < 1 / LEAST_WEIGHT / n:
        rule = f"the largest must be above {LEAST_WEIGHT:.0e}, and N times it below {1 / LEAST_WEIGHT:.0e}"
        refuse(argument, rule, f"{largest}", "multiply all of them by one number: a mean stays as it is")
    return np.ascontiguousarray(a)


def class_weight(argument: str, w: Any, n_classes: int | None = None) -> tuple[float, ...] | None:
    """Finite weights >= 0, one for each class; None stays None."""
    if w is None:
        return None
    a = floats(argument, w).astype(np.float64, copy=False)
    if a.ndim != 1 or (n_classes is not None and len(a) != n_classes):
        expected = "(C,)" if n_classes is None else f"({n_classes},)"
        refuse(argument, f"must have one weight for each class, shape {expected}", f"shape {a.shape}", "pass one number for each class")
    if not (np.isfinite(a).all() and (a >= 0).all()):
        c = int((~(np.isfinite(a) & (a >= 0))).argmax())
        refuse(argument, "must be finite and at least 0", f"{a[c]} for class number {c}", "repair that class")
    return tuple(a.tolist())


def positive(argument: str, w: Any) -> tuple[float, ...]:
    """Finite numbers above 0, one for each class (counts, priors)."""
    a = class_weight(argument, w)
    if a is None or len(a) == 0 or min(a) <= 0:
        came = "a class with 0" if a else shown(w)
        refuse(argument, "must have a number above 0 for each class", came, "leave out classes that never occur")
    return a


def targets(argument: str, y: Any, n: int, n_classes: int, ignore_index: int | None = None) -> NDArray[Any]:
    """Class numbers (N,) as int64, ignored rows -1; or distributions (N, C), float64 or float32, rows at least 0 and summing to 1."""
    try:
        t = np.asarray(y)
    except ValueError:
        refuse(argument, "must be an array of class numbers or distributions", "rows of different lengths", "make all rows equally long")
    if t.ndim == 1 and len(t) == n and (t.dtype.kind in "iu" or t.size == 0):
        return _labels(argument, t, n_classes, ignore_index)
    if t.shape == (n, n_classes) and t.dtype.kind in "fiub":
        return _distributions(argument, t)
    refuse(
        argument,
        f"must be class numbers, ints of shape ({n},), or distributions of shape ({n}, {n_classes})",
        f"dtype {t.dtype}, shape {t.shape}",
        "pass as many rows as there are scores; float class numbers need astype(int)",
    )


def many_labels(argument: str, y: Any, n: int, n_classes: int) -> NDArray[np.float64] | None:
    """Yes or no for each class, (N, C) values in [0, 1], as float64; None for anything that is not (N, C)."""
    t = np.asarray(y)
    if t.shape != (n, n_classes) or t.dtype.kind not in "fiub":
        return None
    q = np.ascontiguousarray(t, np.float64)
    bad = ~((q >= 0) & (q <= 1)).all(axis=1)
    if bad.any():
        i = int(bad.argmax())
        refuse(argument, "yes or no for each class must be between 0 and 1", f"{shown(t[i].tolist())} in row {i}", "repair that row")
    return q


def classes(argument: str, y: NDArray[Any]) -> tuple[NDArray[Any], NDArray[np.int64]]:
    """The classes among labels y (N,) of any type, two at least, and each label's number among them."""
    found, numbers = np.unique(y, return_inverse=True)
    if len(found) < 2:
        came = f"one class only, {shown(found[0])}" if len(found) else "no labels"
        refuse(argument, "must hold at least two classes", came, "add rows of another class")
    return found, numbers.astype(np.int64)


def label_in_each_row(argument: str, y: Any) -> None:
    """Raise for the first row of y (N,) whose label is missing or no class: NaN, inf, None, or what pandas calls so."""
    for row, label in enumerate(y if np.ndim(y) == 1 else ()):
        if not isinstance(label, str) and str(label) in ("nan", "inf", "-inf", "None", "<NA>", "NaT"):
            refuse(argument, "must have a class in every row", f"{label} in row {row}", "fill it in or drop the row")


def _labels(argument: str, t: NDArray[Any], n_classes: int, ignore_index: int | None) -> NDArray[np.int64]:
    wide = t.astype(np.int64, copy=False)  # uint64 above 2**63 turns negative here and is refused below
    if wide.size and ignore_index is None and wide.view(np.uint64).max() < n_classes:
        return np.ascontiguousarray(wide)  # the common case, in one quick sweep: without its sign a negative number is a huge one
    counted = np.ones(len(t), bool) if ignore_index is None else t != ignore_index
    bad = counted & ((wide < 0) | (wide >= n_classes))
    if bad.any():
        i = int(bad.argmax())
        ignored = "" if ignore_index is None else f" or ignore_index={ignore_index}"
        refuse(argument, f"class numbers must be 0..{n_classes - 1}{ignored}", f"{t[i]} in row {i}", "renumber the classes")
    return np.where(counted, wide, -1)


def _distributions(argument: str, t: NDArray[Any]) -> NDArray[Any]:
    q = t.astype(np.float64) if t.dtype not in FLOATS[1:] else t
    total = q.sum(axis=1, dtype=np.float64)
    # A float32 or float16 softmax sums to 1 within its own rounding only.
    slack = 1e-3 if t.dtype == np.float16 else 1e-4 if t.dtype == np.float32 else 1e-6
    bad = ~(np.abs(total - 1) <= slack) | ~(q >= 0).all(axis=1)
    if bad.any():
        i = int(bad.argmax())
        came = f"row {i} with sum {total[i]:g}, its least {q[i].min():g}"
        refuse(argument, "rows of a distribution must be at least 0 and sum to 1", came, "normalise that row")
    return np.ascontiguousarray(q)


def bad_scores(argument: str, row: int, rule: str = "no NaN and no +inf, and at least one finite score") -> NoReturn:
    """A counted row of scores was found to have no loss."""
    refuse(
        argument,
        f"a row of scores must hold {rule}",
        f"row {row}",
        "repair the row, give it weight 0, or mark it as ignored",
    )


def finite_features(argument: str, X: Any, weight: NDArray[Any] | None = None, first: int = 0) -> None:
    """Raise for the first counted row of X (dense, or CSR) that holds NaN or inf; called where a result was not finite, or before a fit."""
    if isinstance(X, AbstractRowSource):
        _finite_source(argument, X, weight)
        return
    if hasattr(X, "indptr"):
        bad_values = np.flatnonzero(~np.isfinite(X.data))
        rows = np.searchsorted(X.indptr, bad_values, side="right") - 1
        columns = X.indices[bad_values]
    else:
        rows, columns = _bad_cells(X)
    if weight is not None:
        keep = weight[rows] > 0
        rows, columns = rows[keep], columns[keep]
    if len(rows):
        refuse(argument, "must hold no NaN and no inf", f"one in row {first + rows[0]}, column {columns[0]}", "impute or drop it")


def _finite_source(argument: str, X: AbstractRowSource, weight: NDArray[Any] | None) -> None:
    step = max(1, X.shape[0] * (X.memory_limit // 16) // max(1, X.nbytes(0, X.shape[0])))
    for i in range(0, X.shape[0], step):
        finite_features(argument, X[i : i + step], None if weight is None else weight[i : i + step], i)


def _bad_cells(X: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
    if X.dtype.kind != "f":
        return np.empty(0, int), np.empty(0, int)
    step = max(1, (1 << 22) // max(1, X.shape[1]))  # a few MB of temporary at a time
    found = []
    for i in range(0, len(X), step):
        block = X[i : i + step]
        with np.errstate(over="ignore", invalid="ignore"):
            total = np.sum(block, dtype=np.float64)
        if not np.isfinite(total):  # one cheap pass where all is well
            rows, columns = np.nonzero(~np.isfinite(block))
            found.append((rows + i, columns))
    if not found:
        return np.empty(0, int), np.empty(0, int)
    return np.concatenate([f[0] for f in found]), np.concatenate([f[1] for f in found])


def features(argument: str, X: Any) -> Any:
    """X (N, D) as the kernels read it: float16/32/64 or uint8 rows, contiguous and not copied, CSR, rows on disk; else float64."""
    if isinstance(X, AbstractRowSource):
        return X
    if hasattr(X, "tocsr"):
        S = X.tocsr()
        return S if S.dtype in FLOATS[1:] else S.astype(np.float64)
    a = np.asarray(X)
    if a.dtype != np.uint8:
        a = floats(argument, a)
    if a.ndim != 2:
        refuse(argument, "must have two axes (N, D)", f"shape {a.shape}", "flatten images to rows: X.reshape(len(X), -1)")
    return np.ascontiguousarray(a)
