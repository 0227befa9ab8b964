"""Truncated conjugate gradients: a Newton step as far as it is worth going, from products H v alone.

    m(s) = g's + 1/2 s'Hs falls in step i by  q_i = 1/2 a_i r_i'M^-1 r_i;   enough, once  i q_i <= max(eta sum_j q_j, least)
    eta = min(1/2, (g'M^-1 g / size)^(1/4))                                    (Nash & Sofer 1990, doi 10.1016/0167-6377(90)90056-7)

By the fall of the model, not by the residual: the latter says little of what a step is still worth. M is a diagonal. A step keeps five
vectors where L-BFGS goes through all of its pairs: of long vectors, beside short passes, pairs are what takes the time.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from softgrad.solvers.vectors import add, inner

Vector = NDArray[np.floating]

COARSE, FINE = 0.5, 0.01  # eta at most, and at least: below it the rounding of float32 leads on
MOST = 200  # products of a step


def newton_step(product: Callable[[Vector], Vector], g: Vector, inverse: Vector, size: float, least: float = 0.0) -> Vector:
    """s (n,) near H^-1 g, for H v = product(v), inverse = 1 / diag M; size is the value beside which a fall of the model is large."""
    s, r = np.zeros_like(g), g.copy()
    z = r * inverse
    p, rz, fallen = z.copy(), inner(r, z), 0.0
    eta = min(COARSE, max(FINE, (rz / size) ** 0.25))
    for i in range(1, MOST + 1):
        Hp = product(p)
        curvature = inner(p, Hp)
        if not (rz > 0 and curvature > 0):  # nothing left, or rounding has the last word
            break
        a = rz / curvature
        add(s, a, p)
        fall = 0.5 * a * rz
        fallen += fall
        if i * fall <= max(eta * fallen, least):
            break
        add(r, -a, Hp)
        np.multiply(r, inverse, out=z)
        before, rz = rz, inner(r, z)
        p *= p.dtype.type(rz / before)
        p += z
    return s if fallen else inverse * g
