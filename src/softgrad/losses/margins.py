"""Margins on angles: parts that act on cosines c = cos(theta) and make the label's smaller, u_y = phi(theta_y) <= c_y.

    dphi/dc = -phi_theta / sin(theta),    d2phi/dc2 = kappa / sin(theta)^3,   kappa = sin(theta) phi_theta_theta - cos(theta) phi_theta

By the cosine the slope has no bound where the angle is 0 or pi; by the vectors it has, since d(theta)/dx is a unit vector over |x|:
`kernels.cosine` takes `of_angle` for that reason. Where scores are all there is, and lie at the ends or, by rounding or by mistake, beyond
them, phi goes on with slope 1: no NaN, no gradient that a clamp makes vanish.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from softgrad import arrays
from softgrad.losses.part import AbstractScores, Floats, Pair
from softgrad.losses.scores import labels


class AbstractMargin(AbstractScores):
    """u_y = phi(c_y) for the label, u_j = c_j for the others; for a distribution, the margin is that of its largest share."""

    training_only = True
    by_label = True

    @abstractmethod
    def of_angle(self, c: Floats, s: Floats) -> tuple[Floats, Floats, Floats]:
        """phi, phi_theta and kappa at angles (n,) with cosine c and sine s."""

    def of_cosine(self, c: Floats) -> tuple[Floats, Floats, Floats]:
        """phi, phi' and phi'' by the cosine (n,)."""
        inside = np.abs(c) < 1
        x = np.where(inside, c, np.copysign(1.0, c))
        s = np.sqrt((1 - x) * (1 + x))
        phi, phi_theta, kappa = self.of_angle(x, s)
        s = np.where(inside, s, 1.0)
        return np.where(inside, phi, phi + (c - x)), np.where(inside, -phi_theta / s, 1.0), np.where(inside, kappa / (s * s * s), 0.0)

    def forward(self, z: Pair, y: NDArray[Any]) -> Pair:
        at = np.arange(len(z[0])), labels(y)
        u, lo = z[0].copy(), z[1].copy()
        u[at], slope, _ = self.of_cosine(z[0][at])
        lo[at] *= slope
        return u, lo

    def slope(self, z: Pair, y: NDArray[Any]) -> Floats:
        at, slope = (np.arange(len(z[0])), labels(y)), np.ones_like(z[0])
        slope[at] = self.of_cosine(z[0][at])[1]
        return slope

    def bend(self, z: Pair, y: NDArray[Any]) -> Floats:
        at, bend = (np.arange(len(z[0])), labels(y)), np.zeros_like(z[0])
        bend[at] = self.of_cosine(z[0][at])[2]
        return bend


@dataclass(frozen=True)
class AngularMargin(AbstractMargin):
    """The combined margin of ArcFace (m2), CosFace (m3) and a multiple of the angle (m1), on the label's cosine.

    phi = cos(m1 theta + m2) - m3 = c cos(a) - s sin(a) - m3,   a = (m1 - 1) theta + m2,   c, s = cos, sin(theta)

    phi_theta = -m1 (s cos(a) + c sin(a)),   kappa = m1 ((1 - m1) s c cos(a) + (m1 s^2 + c^2) sin(a))

    From theta = (pi - m2) / m1 =: pi - d on, where phi would rise again, phi = c - d sin(d) - m3: for m1 = 1 the c - m sin(m) of ArcFace.
    Parameters: m1 > 0, m2 in [0, pi) in radians, m3 >= 0. Convex, in c, for m1 = 1 and m2 = 0 alone.
    Raises SoftgradError for numbers out of range, and for an m1 with which phi would not fall all the way (`SphereMargin` is for these).
    Reference: Deng et al. 2019 (ArcFace), arXiv 1801.07698, section 2; Wang et al. 2018 (CosFace), arXiv 1801.09414.

    >>> from softgrad import losses
    >>> loss = losses.compose(losses.AngularMargin(m2=0.5), losses.Scale(64.0))
    >>> print(round(loss([[0.5, 0.1]], [0]), 4))
    4.8973
    """

    m1: float = 1.0
    m2: float = 0.0
    m3: float = 0.0

    def __post_init__(self) -> None:
        arrays.number("AngularMargin(m1)", self.m1, 0, open_low=True)
        arrays.number("AngularMargin(m2)", self.m2, 0, np.pi, open_high=True)
        arrays.number("AngularMargin(m3)", self.m3, 0)
        d = self._added
        if d > 0 and np.cos(d) + d * np.sin(d) < 1:
            rule = "phi must fall from theta = 0 to pi"
            arrays.refuse("AngularMargin(m1, m2)", rule, f"m1 = {self.m1}, m2 = {self.m2}", "choose smaller ones, or SphereMargin")

    @property
    def keeps_shifts(self) -> bool:  # type: ignore[override] - of each object, not of the class
        return self.affine

    @property
    def affine(self) -> bool:  # type: ignore[override]
        return self.m1 == 1 and self.m2 == 0

    @property
    def _added(self) -> float:
        """d: what the margin adds to the angle where m1 theta + m2 is pi."""
        return np.pi - (np.pi - self.m2) / self.m1

    def of_angle(self, c: Floats, s: Floats) -> tuple[Floats, Floats, Floats]:
        m1, d, theta = self.m1, self._added, np.arctan2(s, c)
        a = (m1 - 1) * theta + self.m2
        cos, sin = np.cos(a), np.sin(a)
        phi, phi_theta = c * cos - s * sin, -m1 * (s * cos + c * sin)
        kappa = m1 * ((1 - m1) * s * c * cos + (m1 * s**2 + c**2) * sin)
        past = theta > np.pi - d
        phi, phi_theta, kappa = np.where(past, c - d * np.sin(d), phi), np.where(past, -s, phi_theta), np.where(past, 0.0, kappa)
        return phi - self.m3, phi_theta, kappa


@dataclass(frozen=True)
class SphereMargin(AbstractMargin):
    """The margin of A-Softmax: the label's angle counts m times, on a curve that falls from 0 to pi.

    phi = (lam c + psi) / (1 + lam),   psi = (-1)^k cos(m theta) - 2 k,   k = floor(m theta / pi)

    psi_theta = -(-1)^k m sin(m theta),   kappa = (-1)^k m (c sin(m theta) - m s cos(m theta)) / (1 + lam)

    Parameters: m, a whole number of at least 1; lam >= 0, how much of the plain cosine is mixed in (`a_softmax_lambda` lowers it during
    training, down to 5). Not convex for m > 1. Raises SoftgradError for numbers out of range.
    Reference: Liu et al. 2017 (SphereFace), arXiv 1704.08063.

    >>> from softgrad import losses
    >>> print(round(losses.compose(losses.SphereMargin(4, lam=0.0))([[0.5, 0.1]], [0]), 4))
    1.7839
    """

    m: int = 4
    lam: float = 5.0

    def __post_init__(self) -> None:
        arrays.whole("SphereMargin(m)", self.m, 1)
        arrays.number("SphereMargin(lam)", self.lam, 0)

    @property
    def keeps_shifts(self) -> bool:  # type: ignore[override] - of each object, not of the class
        return self.affine

    @property
    def affine(self) -> bool:  # type: ignore[override]
        return self.m == 1

    def of_angle(self, c: Floats, s: Floats) -> tuple[Floats, Floats, Floats]:
        m, lam, theta = self.m, self.lam, np.arctan2(s, c)
        if m == 1:
            return c, -s, np.zeros_like(c)
        k = np.floor(m * theta / np.pi)
        sign = 1 - 2 * (k % 2)
        phi = (lam * c + sign * np.cos(m * theta) - 2 * k) / (1 + lam)
        phi_theta = -(lam * s + sign * m * np.sin(m * theta)) / (1 + lam)
        return phi, phi_theta, sign * m * (c * np.sin(m * theta) - m * s * np.cos(m * theta)) / (1 + lam)
