"""The zoo: every loss of the family with its options, scores, targets, features of every type; the truth about them.

Truth is computed by the textbook formula in as many digits as the row's margin eats, and kept as pairs (hi, lo) of
float64 whose sum is the exact value to about 32 digits: errors of 1e-17 in relative terms are seen.
"""

from functools import lru_cache

import mpmath
import numpy as np
import scipy.sparse

from softgrad.losses import cross_entropy
from softgrad.losses.loss import probabilities, schedules

FLOATS = [np.float32, np.float64]
FARTHEST = {np.float32: 85.0, np.float64: 700.0}  # margins up to which exp of them is a normal number
CLASSES = [1, 2, 3, 10, 33, 1000]

# name -> options of cross_entropy; weights "yes" stands for `class_weights(C)`
OPTIONS = {
    "plain": {},
    "smoothed": {"label_smoothing": 0.1},
    "uniform": {"label_smoothing": 1.0},
    "hot": {"temperature": 2.7},
    "cold": {"temperature": 0.5},
    "weighted": {"class_weight": "yes"},
    "ignoring": {"ignore_index": -100},
    "ignoring a class": {"ignore_index": 0},
    "all at once": {"label_smoothing": 0.1, "temperature": 1.3, "class_weight": "yes", "ignore_index": -1},
}
KINDS = ["labels", "distributions"]


def class_weights(C):
    """Weights of very different size; from three classes on, one of them is 0."""
    w = np.random.default_rng([77, C]).uniform(0.1, 3, C)
    w[1 : 2 * (C > 2)] = 0
    return w


def loss(name, C):
    options = dict(OPTIONS[name])
    if "class_weight" in options:
        options["class_weight"] = class_weights(C)
    return cross_entropy(**options)


def temperature(name):
    return OPTIONS[name].get("temperature", 1.0)


def score_rows(dtype, C, T=1.0):
    """Rows of C scores by name; margins / T stay within what the type's exp can hold, so that no exact gradient is below its range."""
    rng, far = np.random.default_rng([C, dtype().itemsize]), FARTHEST[dtype] * min(T, 1.0)
    rows = {"random": rng.normal(size=C), "wide": 0.1 * far * rng.normal(size=C), "all equal": np.full(C, -1234.567)}
    for margin in (3.3, 17.7, 40.3, 0.73 * far, 0.999 * far):
        z = -rng.uniform(0.8, 1.0, C) * min(margin, far)
        z[rng.integers(C)] = 0
        rows[f"margin {margin:.0f}"] = z
        if margin in (3.3, 40.3):
            rows[f"margin {margin:.0f} moved by 1e6"] = z + 1e6
            rows[f"margin {margin:.0f} moved by a little"] = z + 0.7364
    if C > 1:
        tied = rng.normal(size=C)
        tied[[0, C - 1]] = tied.max() + 1.5
        rows["two largest"] = tied
    if C > 2:
        rows["one impossible"] = np.where(np.arange(C) == 1, -np.inf, rng.normal(size=C))
    return list(rows), np.stack(list(rows.values())).astype(dtype)


def targets(kind, z, seed=0):
    """Targets for rows of scores: the largest class in one half, any possible class in the other; or distributions with zeros in them."""
    rng, (N, C) = np.random.default_rng([seed, *z.shape]), z.shape
    possible = np.isfinite(z)
    if kind == "labels":
        y = np.where(possible, rng.uniform(size=z.shape), -1).argmax(axis=1)
        y[: N // 2] = z[: N // 2].argmax(axis=1)
        return y
    q = rng.uniform(size=(N, C)) ** 3 * possible * (rng.uniform(size=(N, C)) < 0.8)
    q[np.arange(N), z.argmax(axis=1)] += 0.01
    q /= q.sum(axis=1, keepdims=True)
    return q.astype(z.dtype)


def distributions(y, C):
    """Labels as one-hot rows; distributions stay."""
    return np.eye(C)[y] if y.ndim == 1 else y.astype(np.float64)


# ---- truth in many digits -------------------------------------------------------------------------------------------


def digits(z, T):
    """Enough that 1 - p keeps 40 digits for the most confident class."""
    finite = z[np.isfinite(z)].astype(float)
    return 45 + int(np.ptp(finite) / T / 2.3)


def pairs(values):
    """mpmath numbers as (hi, lo) float64 arrays."""
    hi = np.array([float(v) for v in values])
    return hi, np.array([float(v - h) if np.isfinite(h) else 0.0 for v, h in zip(values, hi.tolist(), strict=True)])


def error(value, exact):
    """|value - (hi + lo)|, exactly enough; 0 where both are the same infinity."""
    value, (hi, lo) = np.asarray(value, np.float64), exact
    with np.errstate(invalid="ignore"):
        return np.where(value == hi, np.abs(lo), np.abs((value - hi) - lo))


@lru_cache(maxsize=4096)
def _exponentials(z, T):
    top = max(z)
    e = [mpmath.exp((mpmath.mpf(v) - mpmath.mpf(top)) / mpmath.mpf(T)) if v > -np.inf else mpmath.mpf(0) for v in z]
    return e, mpmath.fsum(e), top


def exact_softmax(z, T):
    """p, log p, 1 - p and logsumexp of one row's z / T as lists of mpmath numbers; call it inside workdps(digits(z, T))."""
    e, total, top = _exponentials(tuple(z.astype(float).tolist()), float(T))
    log_p = [(mpmath.mpf(v) - mpmath.mpf(top)) / mpmath.mpf(float(T)) - mpmath.log(total) for v in z.astype(float).tolist()]
    return (
        [x / total for x in e],
        log_p,
        [(total - x) / total for x in e],
        mpmath.mpf(top) / mpmath.mpf(float(T)) + mpmath.log(total),
    )


def exact_row(z, q, omega, r, T, eps):
    """Loss and gradient of one row as pairs, and the size of the gradient's two terms, which may cancel."""
    with mpmath.workdps(digits(z, T)):
        p, log_p, _, _ = exact_softmax(z, T)
        smooth, r = mpmath.mpf(eps), mpmath.mpf(float(r))
        a = [mpmath.mpf(float(w)) * ((1 - smooth) * mpmath.mpf(float(x)) + smooth / len(z)) for w, x in zip(omega, q, strict=True)]
        A, step = mpmath.fsum(a), r / mpmath.mpf(T)
        ell = mpmath.fsum(-x * lp for x, lp in zip(a, log_p, strict=True) if x > 0)
        pull = [step * pj * (A - aj) for pj, aj in zip(p, a, strict=True)]
        push = [step * aj * (1 - pj) for pj, aj in zip(p, a, strict=True)]
        gradient = pairs([x - y for x, y in zip(pull, push, strict=True)])
        return pairs([r * ell]), gradient, np.array([float(x + y) for x, y in zip(pull, push, strict=True)])


# ---- derivatives ----------------------------------------------------------------------------------------------------


def slope(f, x, v, h=1e-3):
    """Derivative of f along v at x by five points: truncation h^4 and rounding eps / h, both near 1e-12 for smooth f of size 1."""
    return (8 * (f(x + h * v) - f(x - h * v)) - (f(x + 2 * h * v) - f(x - 2 * h * v))) / (12 * h)


def gradient(f, x, h=1e-3):
    """Every partial derivative of a number f at x."""
    g = np.empty(x.shape)
    for k in np.ndindex(x.shape):
        unit = np.zeros(x.shape)
        unit[k] = 1
        g[k] = slope(f, x, unit, h)
    return g


# ---- linear heads ---------------------------------------------------------------------------------------------------

FEATURES = ["float64", "float32", "float16", "uint8", "csr float64", "csr float32"]


def features(kind, n, d, rng):
    """X (n, d) of a storage type; sparse rows are one fifth full and one of them is empty."""
    if kind == "uint8":
        return rng.integers(256, size=(n, d), dtype=np.uint8)
    X = rng.normal(size=(n, d))
    if not kind.startswith("csr"):
        return X.astype(kind)
    X *= rng.uniform(size=(n, d)) < 0.2
    X[0] = 0
    return scipy.sparse.csr_array(X.astype(kind.split()[1]))


def dense(X):
    """X as float64 numbers."""
    return np.asarray(X.toarray() if hasattr(X, "indptr") else X, np.float64)


def head(kind, C, n, d, targets_kind="labels", ignored=None, seed=0):
    """X, y, coef, intercept with scores of a few units."""
    rng = np.random.default_rng([seed, C, n, d])
    X = features(kind, n, d, rng)
    coef = rng.normal(size=(C, d)) / np.sqrt(d) / (100 if kind == "uint8" else 1)
    y = rng.integers(C, size=n) if targets_kind == "labels" else rng.dirichlet(np.ones(C), n)
    if targets_kind == "labels" and ignored is not None and n > 2:
        y[rng.uniform(size=n) < 0.2] = ignored
    return X, y, coef, rng.normal(size=C)


def head_sizes(loss, block, coef, intercept, scale):
    """Sizes of the sums that a linear head's value and gradients are made of: rounding errors are measured in them.

    A rounding error of eps in a score moves p by eps x reach, reach the largest sum of |coef| |x|.
    """
    counted = block.r > 0
    X, y, r, C = dense(block.X)[counted], block.y[counted], block.r[counted], len(coef)
    T = loss.scores[0].T if loss.scores else 1.0
    reach = 1 + (np.abs(X) @ np.abs(coef).T + np.abs(intercept)).max(axis=1, keepdims=True, initial=0) / T
    a, _ = loss.targets.rows(y, C, loss.weights.omega(C))
    A = a.sum(axis=1, keepdims=True)
    g = r[:, None] * scale / T * (probabilities(loss, X @ coef.T + intercept) * A + a) * reach
    return float((r[:, None] * A * reach).sum()) * (1 + np.log(C)), g.T @ np.abs(X), g.sum(axis=0)


def paths():
    """How rows of scores are worked on: by the plain formula, and by every compiled schedule that was offered."""
    return {"plain": [], **({"compiled": list(schedules)} if schedules else {})}
