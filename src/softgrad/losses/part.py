"""The kinds of parts that a loss is put together from (`loss.py` has the formula); a class is abstract or final.

Parts are plain data: frozen, their numbers checked when they are made. n rows, C scores or classes; everything is float64.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from fractions import Fraction
from typing import Any, Literal, NoReturn, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from softgrad import arrays

Floats: TypeAlias = NDArray[np.float64]
Reading: TypeAlias = Literal["labels", "distributions", "many"]  # one class a row; shares of classes too; yes or no for each class
Pair: TypeAlias = tuple[Floats, Floats]  # (hi, lo): the value hi + lo, unevaluated; or (value, derivative)


class AbstractLink(ABC):
    """Scores against targets."""

    shift_invariant: bool  # a constant added to a row's scores changes nothing
    convex: bool  # l is convex in u, whatever the targets
    likelihood: bool  # l = -log of a label's probability: what curves are made for
    weighs_targets: bool  # class weights may stand inside, on the targets, as torch has it; else they multiply L
    reads: Reading = "distributions"
    smooth: bool = True  # has second derivatives that tell of its shape; False for losses with kinks, like hinges
    takes: str = "no NaN and no +inf, and at least one finite score"  # what `broken` asks of a row

    def classes(self, n_scores: int) -> int:
        """How many classes rows of n_scores scores tell apart; refuses numbers of scores that it cannot take."""
        return n_scores

    def spread(self, shares: Floats) -> Floats:
        """Mean curvature d2l/du_j2 (n_scores,), roughly, where the classes have these shares (C,): a metric's scale, never a result."""
        return shares * (1 - shares)

    def shifts(self, n_scores: int) -> list[NDArray[np.intp]]:
        """Of a link that is shift invariant: which scores together may have a constant added."""
        return [np.arange(n_scores)]

    def centred(self, W: Floats) -> Floats:
        """Of all rows W (n_scores, ...) of a linear head that differ by such shifts, the smallest."""
        W = W.copy()
        for k in self.shifts(len(W)):
            W[k] -= W[k].mean(axis=0)
        return W

    def broken(self, z: Floats) -> NDArray[np.bool_]:
        """Rows that have no loss whatever the target (n,): NaN, +inf, or no class possible."""
        return ~np.isfinite(z.max(axis=1))  # NaN wins in max

    @abstractmethod
    def value_gradient(self, u: Pair, a: Floats, rest: Floats) -> Pair:
        """l (n,) and dl/du (n, C) for scores u (n, C), targets a (n, C) and rest = A - a, which is exact where a row has one class."""

    @abstractmethod
    def hessian_product(self, u: Pair, a: Floats, rest: Floats, v: Floats) -> Floats:
        """d2l/du2 v (n, C)."""

    def probabilities(self, u: Pair) -> Floats:
        """p (n, C); refused where scores do not stand for any."""
        self._no_probabilities()

    def log_probabilities(self, u: Pair) -> Floats:
        """log p (n, C); refused where scores do not stand for any."""
        self._no_probabilities()

    def _no_probabilities(self) -> NoReturn:
        do = "predict classes or take the scores; for probabilities train with cross_entropy()"
        arrays.refuse("probabilities", "the loss must say what scores mean", f"{type(self).__name__}, which only compares them", do)


class AbstractHead(ABC):
    """What stands between features and scores, where a loss is fused with them."""

    linear: bool  # scores are W x + b
    unit_classes: bool  # class vectors are normalised: then there is no intercept


class AbstractScores(ABC):
    """A map of the scores, acting on each by itself: u_j = phi_j(z_j; y), where y are the targets as they entered."""

    keeps_shifts: bool  # a constant added to a row's scores becomes a constant
    affine: bool  # u = alpha z + beta with alpha > 0
    training_only: bool = False  # left out of probabilities: what it adds tells of the label or of the training set
    by_label: bool = False  # acts on the score of a row's class, of which there must be one

    def fits(self, n_classes: int) -> None:  # noqa: B027 - most parts fit any
        """Refuse a number of classes that it was not made for."""

    def affine_map(self) -> tuple[Fraction, Floats | float] | None:
        """(alpha, beta) where u = alpha z + beta for every row, beta (C,) or 0: what compiled rows can do. Else None."""
        return None

    @abstractmethod
    def forward(self, z: Pair, y: NDArray[Any]) -> Pair:
        """u = phi(z) as an unevaluated pair."""

    @abstractmethod
    def slope(self, z: Pair, y: NDArray[Any]) -> Floats | float:
        """phi'(z)."""

    @abstractmethod
    def bend(self, z: Pair, y: NDArray[Any]) -> Floats | float:
        """phi''(z)."""


class AbstractCurve(ABC):
    """A function of the row's cross-entropy: L = f(l)."""

    linear: bool  # f(l) = c l: class weights may then stand inside, on the targets

    @abstractmethod
    def derivatives(self, ell: Floats) -> tuple[Floats, Floats, Floats]:
        """f, f' and f'' at l (n,)."""

    @abstractmethod
    def convex(self, *, one_hot: bool) -> bool:
        """Whether f(l) is convex in the scores of a softmax: f' + f'' (1 - P) / P >= 0 and f' >= 0 for labels, P = exp(-l)."""


class AbstractTargets(ABC):
    """What the labels ask for."""

    hard: bool  # a label stays a label: one class has it all
    gives: Reading = "distributions"
    kept: float | None = None  # q = kept y + added, the same for all rows: what compiled rows can do

    def added(self, n_classes: int) -> Floats:
        """What every class has besides its kept share (C,)."""
        return np.zeros(n_classes)

    def enter(self, argument: str, y: ArrayLike, n: int, n_classes: int, ignore_index: int | None) -> NDArray[Any]:
        """Users' targets, checked: labels (n,), ignored ones -1, or rows (n, C)."""
        return arrays.targets(argument, y, n, n_classes, ignore_index)

    @abstractmethod
    def rows(self, y: NDArray[Any], n_classes: int, omega: Floats) -> Pair:
        """a = omega o q (n, C) and rest = sum_k a_k - a_j (n, C), the latter a sum of the others, not a difference from 1."""


class AbstractTerm(ABC):
    """What is added to a row's loss, a function of the scores alone: t(u)."""

    shift_invariant: bool
    convex: bool
    lse_squared: float | None = None  # t = lse_squared (log sum exp u)^2: what compiled rows can do
    log_p: float | None = None  # t = log_p sum_j p_j log p_j: likewise

    @abstractmethod
    def value_gradient(self, u: Pair) -> Pair:
        """t (n,) and dt/du (n, C)."""

    @abstractmethod
    def hessian_product(self, u: Pair, v: Floats) -> Floats:
        """d2t/du2 v (n, C)."""


class AbstractWeights(ABC):
    """Who counts how much."""

    ignore_index: int | None
    many: bool = False  # omega_j belongs to class j's own yes or no, and a row counts by its sample weight alone

    @abstractmethod
    def omega(self, n_classes: int) -> Floats:
        """Class weights (C,)."""

    @abstractmethod
    def rows(self, y: NDArray[Any], sample_weight: Floats | None) -> Floats:
        """r (n,): sample weight, 0 for ignored rows."""

    @abstractmethod
    def shares(self, y: NDArray[Any], n_classes: int) -> Floats:
        """omega(i) = sum_j omega_j q_ij (n,): what a row counts besides its sample weight."""

    @abstractmethod
    def total(self, y: NDArray[Any], r: Floats, n_classes: int) -> float:
        """What `mean` divides by: the weights of the rows that count."""

    @abstractmethod
    def share(self, total: float) -> float:
        """1 / total, or 0 where nothing counts."""


class AbstractMining(ABC):
    """Which rows of a batch count, by how hard they are."""

    @abstractmethod
    def weights(self, losses: Floats) -> Floats:
        """v (n,) in [0, 1] for the losses L_i (n,) of the rows that count, without their sample weights."""

    @abstractmethod
    def kept(self, n: int) -> int:
        """How many of n rows a stochastic step follows, at least; n for rules that let go of rows which a step has thrown off."""
