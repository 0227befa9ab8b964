"""Every row's Hessian by its columns, for metrics: exact where the loss is convex, else what of it cannot be negative."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from softgrad.losses.loss import Evaluated, Loss, Rows, hessian_rows
from softgrad.losses.part import Floats


def row_hessians(loss: Loss, rows: Rows) -> Callable[[int], Floats]:
    """j -> column j of every row's weighted Hessian (n, C), made positive semi-definite where the loss is not convex.

    There, what can be negative is left out (Gauss-Newton): phi' o (max(f', 0) J + max(f'', 0) g g' + sum of t'') o phi'. Link and terms
    have to be convex.
    """
    at = Evaluated(loss, rows)

    def column(j: int) -> Floats:
        v = np.zeros(rows.z.shape)
        v[:, j] = 1
        return hessian_rows(loss, at, v) if loss.convex else _gauss_newton(loss, at, v)

    return column


def _gauss_newton(loss: Loss, at: Evaluated, v: Floats) -> Floats:
    _, f1, f2 = loss.curve.derivatives(at.ell)
    x = at.slope * v
    Hx = (at.w * np.maximum(f2, 0) * (at.g * x).sum(axis=1))[:, None] * at.g
    Hx += (at.w * np.maximum(f1, 0))[:, None] * loss.link.hessian_product(at.u, at.a, at.rest, x)
    for term in loss.terms:
        Hx += at.whole[:, None] * term.hessian_product(at.u, x)
    return at.slope * Hx
