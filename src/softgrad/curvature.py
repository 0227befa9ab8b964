"""How steep a linear head's objective can be: what tells a safe learning rate without a guess.

    H = 1/S sum_i w_i J(p_i)/T^2 (x) x~_i x~_i' + l2 I  <=  (lambda / (2 T^2) + l2) I,    lambda = lambda_max(1/S sum_i w_i x~_i x~_i')

since J(p) = diag(p) - pp' <= 1/2 (Bohning 1992); w_i are the rows' weights, S their sum. A gradient of b of n rows sees by chance

    L_b = n (b - 1) / (b (n - 1)) L + (n - b) / (b (n - 1)) max_i L_i                 (Gower et al. 2019, proposition 3.8)

and a rate of 1 / L_b is safe. lambda comes from a few steps of Lanczos on a sample of the rows. The constant feature of the intercept is
given the size s = sqrt(lambda): centred features leave it apart, so it does not change lambda, and one rate suits both.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from softgrad.blocks.block import Block
from softgrad.blocks.minibatches import AbstractFeatures, MiniBatches
from softgrad.row_source import AbstractRowSource
from softgrad.solvers.rules import Reach

CELLS = 1 << 23  # of the sample: 32 MB in float32
ROWS = 4096
STEPS = 12  # of Lanczos: lambda within a hundredth, as a rule; power iterations took three times as many


@dataclass(frozen=True)
class Curvature:
    """Centre mu and constant feature s of x~; lambda; the largest w_i |x~_i|^2 n / S; and the mean |x~|_1."""

    mu: NDArray[Any]
    s: float
    largest: float
    row: float
    score: float
    n_rows: int

    def reach(self, batch_size: int, temperature: float, l2: float) -> Reach:
        """What a rule asks before it says a rate: L_b apart in its two terms."""
        n, b = self.n_rows, min(batch_size, self.n_rows)
        seen, chance = (n * (b - 1) / (b * (n - 1)), (n - b) / (b * (n - 1))) if n > 1 else (1.0, 0.0)
        steep = 0.5 / temperature**2
        return Reach(seen * steep * self.largest + l2, chance * steep * self.row, self.score / temperature)

    def reach_of_chosen(self, kept: int, temperature: float, l2: float) -> Reach:
        """The same where a rule chooses rows: their mean is at most as steep as the steepest row, and chance is that of `kept` rows."""
        row = 0.5 / temperature**2 * self.row
        return Reach(row + l2, row / kept, self.score / temperature)


def measure(rows: Block, w: NDArray[np.float64], intercept: bool, seed: int, dtype: np.dtype[Any]) -> Curvature:
    """Curvature of rows with weights w, from a sample of those that count."""
    counted, D = np.flatnonzero(w), rows.X.shape[1]
    rng = np.random.default_rng(seed)
    n = min(len(counted), ROWS, max(CELLS // max(D, 1), 256))
    if isinstance(rows.X, AbstractRowSource):  # as stored, in floats, and their absolute values
        stored = max(1, int(rows.X.nbytes(0, rows.X.shape[0])) // rows.X.shape[0])
        floats = 2 * (stored if hasattr(rows.X, "indptr") else D * dtype.itemsize)
        n = max(1, min(n, rows.X.memory_limit // 2 // (stored + floats)))
    picked = np.sort(rng.choice(counted, n, replace=False)) if n < len(counted) else counted
    share = (w[picked] / max(w[picked].sum(), np.finfo(float).tiny)).astype(dtype)
    with np.errstate(invalid="ignore", over="ignore"):  # NaN and inf in X: the first step finds them
        raw = MiniBatches(rows, counted, np.zeros(D, dtype), 0.0)
        held = raw.held(picked)
        mu = _mean(raw.gather([held]).features, share, D) if intercept else raw.mu
        features = MiniBatches(rows, counted, mu, 0.0).gather([held]).features
        del held
        largest = largest_eigenvalue(features, share, rng.normal(size=(1, D + 1)).astype(dtype))
        s = np.sqrt(largest) if intercept and largest > 0 else float(intercept)
        squares, ones = features.lengths()
        row = float(np.max(share * (squares + s * s), initial=0.0)) * n
        return Curvature(mu, float(s), max(largest, s * s), row, float(share @ ones) + float(s), len(counted))


def _mean(features: AbstractFeatures, share: NDArray[Any], D: int) -> NDArray[Any]:
    mu = np.empty((1, D + 1), share.dtype)
    features.gradient(share[:, None], mu)
    return mu[0, :-1]


def largest_eigenvalue(features: AbstractFeatures, share: NDArray[Any], v: NDArray[Any]) -> float:
    """lambda_max of A = X~' diag(share) X~, from below: that of Q A Q', rows of Q a basis of v, A v, A^2 v, ... (Lanczos 1950)."""
    k = min(STEPS, v.shape[1])
    Q, AQ, u = np.zeros((k, v.shape[1]), v.dtype), np.zeros((k, v.shape[1]), v.dtype), np.empty((len(share), 1), v.dtype)
    for i in range(k):
        for _ in range(2):  # once leaves rounding errors along Q
            v = v - (v @ Q.T) @ Q
        length = float(np.linalg.norm(v))
        if not 0 < length < np.inf:
            break
        Q[i] = v[0] / v.dtype.type(length)
        features.scores(Q[i : i + 1], u)
        features.gradient(u * share[:, None], AQ[i : i + 1])
        v = AQ[i : i + 1]
    T = (Q @ AQ.T).astype(np.float64)
    return max(float(np.linalg.eigvalsh((T + T.T) / 2)[-1]), 0.0) if np.isfinite(T).all() else 0.0
