"""What the tests of stochastic training share: its rules, and small problems."""

import numpy as np
from zoo import features

from softgrad.losses import cross_entropy
from softgrad.solvers import Adam, Momentum, Nesterov
from softgrad.training import Problem

RULES = {"plain": Momentum(0.0), "momentum": Momentum(0.9), "nesterov": Nesterov(0.8), "adam": Adam(0.8, 0.95, 1e-6)}


def problem(n=60, d=7, C=4, *, dtype="float64", loss=None, l2=0.05, fit_intercept=True, seed=3, r=None, y=None):
    rng = np.random.default_rng([seed, n, d, C])
    X = features(dtype, n, d, rng)
    y = rng.integers(C, size=n) if y is None else y
    return Problem(X, y, np.ones(n) if r is None else r, C, cross_entropy() if loss is None else loss, l2, fit_intercept, seed)


def drawn_rows(stream):
    """Row numbers of the mini-batches of rows in memory."""
    return [np.concatenate([picked for _, picked in parts]) for parts in stream]
