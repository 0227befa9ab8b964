"""Parts that act on labels: what a row asks for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from softgrad.losses.loss import AbstractTargets, Floats, Pair


@dataclass(frozen=True)
class Smoothed(AbstractTargets):
    """q <- (1 - eps) q + eps / C: label smoothing, eps = 0 leaves labels hard (Szegedy et al. 2016, arXiv 1512.00567).

    The uniform share goes to every class, the true one too, so that the smoothed target sums to 1.
    """

    eps: float = 0.0

    def rows(self, y: NDArray[Any], n_classes: int, omega: Floats) -> Pair:
        prior = omega * (self.eps / n_classes)
        others = prior.sum() - prior  # the uniform share of all other classes
        if y.ndim == 1:
            here = np.arange(len(y))
            a = np.tile(prior, (len(y), 1))
            rest = others + ((1 - self.eps) * omega[y])[:, None]
            a[here, y] += (1 - self.eps) * omega[y]
            rest[here, y] = others[y]
            return a, rest
        q = (1 - self.eps) * omega * y
        rest = q.sum(axis=1, keepdims=True) - q
        top = q.argmax(axis=1, keepdims=True)
        without = q.copy()
        np.put_along_axis(without, top, 0.0, axis=1)
        np.put_along_axis(rest, top, without.sum(axis=1, keepdims=True), axis=1)
        return q + prior, rest + others
