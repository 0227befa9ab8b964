"""Sampled softmax: the loss of a linear head over very many classes, from the label and a few sampled others; the rest is not touched.

    S_i = {y_i} + k classes drawn from Q,   u_j = z_j - log(expected times that j is in S_i):  0 for the label, log(k Q_j) for the others
    L_i = lse_{j in S_i} u_j - z_{y_i}      draws that hit the label count as impossible, a class drawn m times counts m times

The sum under the logarithm has exactly the expectation sum_j exp(z_j); L and its gradients have theirs up to 1/k.
"""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from softgrad import arrays, threads
from softgrad.losses.composed import compose
from softgrad.losses.loss import Rows, schedule_for
from softgrad.losses.part import Floats

CELLS = 1 << 19  # scores of a tile of rows


class SampledGradient(NamedTuple):
    """Value, and gradients by the rows of coef and intercept that were touched: those of `classes` (K,), all others are 0."""

    value: float
    classes: NDArray[np.intp]
    coef: NDArray[Any]
    intercept: NDArray[Any]
    X: NDArray[Any] | None

    def dense(self, n_classes: int) -> tuple[NDArray[Any], NDArray[Any]]:
        """Gradients by all of coef (C, D) and intercept (C,)."""
        G, g = np.zeros((n_classes, self.coef.shape[1]), self.coef.dtype), np.zeros(n_classes, self.intercept.dtype)
        G[self.classes], g[self.classes] = self.coef, self.intercept
        return G, g


def sampled_softmax(
    X: ArrayLike,
    y: ArrayLike,
    coef: ArrayLike,
    intercept: ArrayLike | None = None,
    *,
    n_sampled: int,
    distribution: Literal["log-uniform", "uniform"] | ArrayLike = "log-uniform",
    sample_weight: ArrayLike | None = None,
    random_state: int = 0,
    wrt_X: bool = False,
) -> SampledGradient:
    """Cross-entropy of a linear head over many classes from k sampled ones, the same for all rows, and its gradients.

    value = 1/S sum_i r_i (log(exp(z_y) + sum_{j sampled, j != y} exp(z_j) / (k Q_j)) - z_y),   z = coef x_i + intercept,   S = sum_i r_i

    Parameters: X (N, D) dense; y (N,) class numbers; coef (C, D); intercept (C,) or None; n_sampled k >= 1; distribution Q: "log-uniform"
    (classes in the order of their frequency, Q_j = log((j + 2) / (j + 1)) / log(C + 1)), "uniform" (k different classes, k <= C; all of
    them give the full softmax), or numbers (C,) above 0, of which the shares are taken; sample_weight (N,); random_state, a seed;
    wrt_X, whether the gradient by X is wanted. Costs N k D, whatever C; float64 rows in float64, others in float32.
    Returns a `SampledGradient` (value, classes, coef, intercept, X). Convex. Same bits for any number of threads.
    Raises SoftgradError for shapes that do not fit, labels out of range, NaN or inf in a row that counts.
    Reference: Bengio & Senecal 2008, doi 10.1109/TNN.2007.912312; Jean et al. 2015, arXiv 1412.2007.

    >>> import numpy as np
    >>> from softgrad import losses
    >>> found = losses.sampled_softmax(np.ones((2, 3)), [0, 4], np.zeros((1000, 3)), n_sampled=5, distribution="uniform")
    >>> print(round(found.value, 3), len(found.classes), found.dense(1000)[0].shape)
    6.909 7 (1000, 3)
    """
    call = "sampled_softmax"
    rows, W, b = _entered(call, X, y, coef, intercept, sample_weight)
    drawn, log_times = _draw(call, distribution, len(W), arrays.whole(f"{call}(n_sampled)", n_sampled, 1), random_state)
    counted = np.flatnonzero(rows.r)
    total = float(rows.r.sum())
    head = _Sampled(W, b, drawn, log_times, 1 / total if total > 0 else 0.0)
    classes = np.union1d(drawn, rows.y[counted])
    value, G, g = 0.0, np.zeros((len(classes), W.shape[1])), np.zeros(len(classes))
    dX = np.zeros(rows.z.shape, W.dtype) if wrt_X else None
    step = max(64, CELLS // (len(drawn) + 1))
    tiles = [counted[i : i + step] for i in range(0, len(counted), step)]
    with threads.blas(1):
        for k, one in zip(tiles, threads.in_order(lambda k: head.sums(rows.part(k), wrt_X=wrt_X), tiles), strict=True):
            value += one.value
            for touched, by_coef, by_intercept in one.gradients:
                at = np.searchsorted(classes, touched)
                G[at] += by_coef
                g[at] += by_intercept
            if dX is not None:
                dX[k] = one.X
    if not np.isfinite(value):
        arrays.refuse(f"{call}(coef)", "scores must be finite", "NaN or inf among them", "repair coef or intercept, or scale them down")
    return SampledGradient(value * head.scale, classes, G.astype(W.dtype), g.astype(W.dtype), dX)


class _Sums(NamedTuple):
    value: float
    gradients: list[tuple[NDArray[np.intp], Floats, Floats]]  # classes, by coef, by intercept: of the drawn ones, of the labels
    X: NDArray[Any] | None


class _Sampled(NamedTuple):
    """The head as a pass sees it: coef, intercept, drawn classes and log(m_j / (k Q_j)) of each."""

    W: NDArray[Any]
    b: NDArray[Any]
    drawn: NDArray[np.intp]
    log_times: Floats
    scale: float

    def sums(self, rows: Rows, *, wrt_X: bool) -> _Sums:
        """Sum of the losses of some rows, and its gradients times scale; rows.z are features."""
        x, own, few = rows.z.astype(self.W.dtype, copy=False), self.W[rows.y], self.W[self.drawn]
        u = np.empty((len(x), len(few) + 1), x.dtype)
        with np.errstate(invalid="ignore", over="ignore"):
            u[:, 0] = np.einsum("ij,ij->i", x, own) + self.b[rows.y]
            u[:, 1:] = x @ few.T + (self.b[self.drawn] + self.log_times).astype(x.dtype)
        u[:, 1:][self.drawn == rows.y[:, None]] = -np.inf
        losses, loss = np.empty(len(x)), compose()
        if schedule_for(loss, u.dtype)(loss, Rows(u, np.zeros_like(rows.y), rows.r), u, self.scale, losses) >= 0:
            return _Sums(np.nan, [], None)
        h, g = u[:, :1], u[:, 1:]
        labels, by_own = sums_by_class(rows.y, np.hstack([h * x, h]))
        by_few = g.T @ x, g.sum(axis=0, dtype=np.float64)
        dX = g @ few + h * own if wrt_X else None
        return _Sums(float(losses.sum()), [(self.drawn, *by_few), (labels, by_own[:, :-1], by_own[:, -1])], dX)


def sums_by_class(y: NDArray[Any], rows: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
    """Classes that occur in y (n,), ascending, and the sum of each one's rows (n, D), in their order."""
    order = np.argsort(y, kind="stable")
    classes, first = np.unique(y[order], return_index=True)
    return classes, np.add.reduceat(rows[order], first, axis=0) if len(classes) else rows


def _draw(call: str, distribution: Any, C: int, k: int, random_state: int) -> tuple[NDArray[np.intp], Floats]:
    """Classes drawn, each once and ascending, and log(m_j / (k Q_j)), m_j the times it was drawn."""
    rng = np.random.default_rng(arrays.whole(f"{call}(random_state)", random_state, 0))
    if isinstance(distribution, str) and distribution == "uniform":
        if k > C:
            arrays.refuse(f"{call}(n_sampled)", f"there are {C} different classes", f"{k}", "draw fewer, or from numbers of your own")
        return np.sort(rng.choice(C, k, replace=False)), np.full(k, np.log(C / k))
    if isinstance(distribution, str) and distribution == "log-uniform":
        drawn, m = np.unique(np.minimum(np.expm1(rng.uniform(size=k) * np.log1p(C)).astype(np.intp), C - 1), return_counts=True)
        Q = np.log1p(1 / (drawn + 1)) / np.log1p(C)
    elif isinstance(distribution, str):
        do = "choose one, or pass numbers (C,)"
        arrays.refuse(f"{call}(distribution)", "must be 'log-uniform' or 'uniform'", repr(distribution), do)
    else:
        shares = np.array(arrays.positive(f"{call}(distribution)", distribution))
        if len(shares) != C:
            arrays.refuse(f"{call}(distribution)", f"must have a number for each of the {C} classes", f"{len(shares)}", "pass shape (C,)")
        up_to = np.cumsum(shares)
        drawn, m = np.unique(np.searchsorted(up_to[:-1], rng.uniform(size=k) * up_to[-1], side="right"), return_counts=True)
        Q = shares[drawn] / up_to[-1]
    return drawn, np.log(m / (k * Q))


def _entered(
    call: str, X: Any, y: ArrayLike, coef: ArrayLike, intercept: ArrayLike | None, sample_weight: ArrayLike | None
) -> tuple[Rows, NDArray[Any], NDArray[Any]]:
    """Features, labels and weights as rows; coef and intercept in the type of the pass. Only rows of coef that are used are ever read."""
    x, given = arrays.matrix(f"{call}(X)", X, "(N, D)"), arrays.matrix(f"{call}(coef)", coef, "(C, D)")
    dtype = np.float64 if x.dtype == np.float64 else np.float32
    b = np.zeros(len(given), dtype) if intercept is None else arrays.floats(f"{call}(intercept)", intercept)
    if len(given) == 0 or given.shape[1] != x.shape[1] or b.shape != (len(given),):
        came = f"X {x.shape}, coef {given.shape}, intercept {b.shape}"
        arrays.refuse(f"{call}(coef)", "X (N, D), coef (C, D) and intercept (C,) must fit", came, "transpose or reshape one of them")
    t = arrays.targets(f"{call}(y)", y, len(x), len(given))
    if t.ndim != 1:
        arrays.refuse(f"{call}(y)", "must be class numbers (N,)", f"shape {t.shape}", "take their argmax")
    r = arrays.row_weight(f"{call}(sample_weight)", sample_weight, len(x))
    arrays.finite_features(f"{call}(X)", x, r)
    return Rows(x, t, np.ones(len(x)) if r is None else r), given.astype(dtype, copy=False), b.astype(dtype, copy=False)
