"""Links that ask at every node on the way to the label; both are sums of cross-entropies over groups of scores (`groups`).

| link                 | scores u           | a group                 | b                               |
|----------------------|--------------------|-------------------------|---------------------------------|
| hierarchical softmax | nodes but the root | the children of a node  | a at each node on the path to y |
| HXE                  | leaves             | the leaves under a node | mu a at y in each group         |
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from softgrad import arrays
from softgrad.losses.groups import Groups, Segments
from softgrad.losses.part import AbstractLink, Floats, Pair
from softgrad.losses.softmax import exponentials
from softgrad.losses.tree import ROOT, Tree, as_tree


@dataclass(frozen=True)
class HierarchicalSoftmax(AbstractLink):
    """Hierarchical softmax: at every node a softmax over its children, and the label's probability is the product along its path.

    P(y) = prod_{n on the path to y} softmax(u of n and its siblings)_n,    l = -log P(y) = sum of the cross-entropies on the path
    gradient: p - onehot in each group on the path, 0 elsewhere; Hessian diag(p) - pp' in these groups: convex.

    Parameters: parents, a `Tree` or its parents. Scores (N, M), one for every node but the root; targets are leaves 0..C-1 in order, or
    distributions over them. With labels a row costs as much as the groups on its path. Raises SoftgradError for other numbers of scores.
    Reference: Morin & Bengio 2005; Redmon & Farhadi 2017, arXiv 1612.08242, section 4.

    >>> from softgrad import losses
    >>> tree = losses.Tree.of_paths(["animal/cat", "animal/dog", "plant"])
    >>> loss = losses.compose(losses.HierarchicalSoftmax(tree))
    >>> print(round(loss([[0.0, 0.0, 0.0, 0.0]], [1]), 4))
    1.3863
    """

    parents: tuple[int, ...]

    shift_invariant = True
    convex = True
    likelihood = True
    weighs_targets = True

    def __post_init__(self) -> None:
        object.__setattr__(self, "parents", as_tree(self.parents).parents)

    @cached_property
    def tree(self) -> Tree:
        """The tree."""
        return Tree(self.parents)

    @cached_property
    def groups(self) -> Groups:
        """The children of every node, and the path to every leaf."""
        order = np.argsort(self.parents, kind="stable")
        _, starts = np.unique(np.asarray(self.parents)[order], return_index=True)
        paths = self.tree.paths
        entries = np.where(paths != ROOT, np.argsort(order)[paths], 0)
        return Groups(len(order), order, np.append(starts, len(order)), entries, (paths != ROOT).astype(float))

    def classes(self, n_scores: int) -> int:
        M = len(self.parents)
        if n_scores != M:
            arrays.refuse("HierarchicalSoftmax(scores)", f"needs a score for each of the tree's {M} nodes", f"{n_scores}", "pass (N, M)")
        return len(self.tree.leaves)

    def broken(self, z: Floats) -> NDArray[np.bool_]:
        g = self.groups
        return ~np.all(np.isfinite(np.maximum.reduceat(z[:, g.columns], g.starts[:-1], axis=1)), axis=1)

    def value_gradient(self, u: Pair, a: Floats, rest: Floats) -> Pair:
        return self.groups.value_gradient(u, a)

    def hessian_product(self, u: Pair, a: Floats, rest: Floats, v: Floats) -> Floats:
        return self.groups.hessian_product(u, a, v)

    def node_probabilities(self, u: Pair) -> Floats:
        """Probability of every node (n, M), the product of the shares on the way to it."""
        return self._along(u, np.multiply, Segments.probabilities)

    def probabilities(self, u: Pair) -> Floats:
        return self.node_probabilities(u)[:, self.tree.leaves]

    def log_probabilities(self, u: Pair) -> Floats:
        return self._along(u, np.add, lambda x: x.d - np.log1p(x.s)[x.segment])[:, self.tree.leaves]

    def _along(self, u: Pair, combine: np.ufunc, of: Callable[[Segments], Floats]) -> Floats:
        groups, n = self.groups, len(u[0])
        asked = groups.all(n)
        P = np.empty((groups.n_scores, n))
        P[groups.columns[asked.entry], asked.row] = of(Segments(groups, u, asked))
        for j, p in enumerate(self.parents):
            if p != ROOT:
                combine(P[j], P[p], out=P[j])
        return np.ascontiguousarray(P.T)

    def spread(self, shares: Floats) -> Floats:
        return self.groups.spread(shares)

    def shifts(self, n_scores: int) -> list[NDArray[np.intp]]:
        return np.split(self.groups.columns, self.groups.starts[1:-1])


@dataclass(frozen=True)
class HXE(AbstractLink):
    """Hierarchical cross-entropy: a softmax over the leaves, and over those under each node on the label's path, weighed by lambda.

    l = sum_{n on the path to y} lambda_n (lse(u under n's parent) - lse(u under n)),    lambda_n = exp(-alpha height(n))
      = sum_{n above y} mu_n CE(softmax of the leaves under n, y),    mu_n = lambda_child - lambda_n >= 0, and lambda_child at the root

    gradient sum_n mu_n (p under n - onehot), Hessian sum_n mu_n (diag(p) - pp'): convex. alpha = 0 is cross-entropy. Heights count from the
    leaves, as in the paper's formula, so that a mistake among siblings costs more than one far away; its authors' program takes the
    distance from the root instead, which is the other way round, and not convex.

    Parameters: parents, a `Tree` or its parents; alpha >= 0 (the paper's 0.1 to 0.6). Scores (N, C), one for each leaf; targets are
    leaves or distributions over them. Raises SoftgradError for other numbers of scores, or alpha below 0.
    Reference: Bertinetto et al. 2020, arXiv 1912.09393, section 3.1.

    >>> from softgrad import losses
    >>> tree = losses.Tree.of_paths(["animal/cat", "animal/dog", "plant"])
    >>> loss = losses.compose(losses.HXE(tree, alpha=0.5))
    >>> print(round(loss([[0.0, 0.0, 0.0]], [1]), 4))
    0.9391
    """

    parents: tuple[int, ...]
    alpha: float = 0.1

    shift_invariant = True
    convex = True
    likelihood = False  # a weighted sum of such
    weighs_targets = True

    def __post_init__(self) -> None:
        object.__setattr__(self, "parents", as_tree(self.parents).parents)
        arrays.number("HXE(alpha)", self.alpha, 0)

    @cached_property
    def tree(self) -> Tree:
        """The tree."""
        return Tree(self.parents)

    @cached_property
    def groups(self) -> Groups:
        """The leaves under every inner node and the root; a leaf asks mu of those above it."""
        paths, height = self.tree.paths, self.tree.height
        above = np.column_stack([np.full(len(paths), ROOT), paths[:, :-1]])  # the node above paths[k, d]
        fall = np.where(above == ROOT, 1.0, -np.expm1(-self.alpha * (height[above] - height[paths])))
        on, mu = paths != ROOT, np.exp(-self.alpha * height[paths]) * fall  # lambda_child - lambda_n, their difference not rounded
        k, d = np.nonzero(on)
        order = np.argsort(above[on], kind="stable")  # by group
        _, starts = np.unique(above[on][order], return_index=True)
        entries = np.zeros(paths.shape, np.intp)
        entries[k[order], d[order]] = np.arange(len(order))
        return Groups(len(paths), k[order], np.append(starts, len(order)), entries, np.where(on, mu, 0.0))

    def classes(self, n_scores: int) -> int:
        C = len(self.tree.leaves)
        if n_scores != C:
            arrays.refuse("HXE(scores)", f"needs a score for each of the tree's {C} leaves", f"{n_scores}", "pass scores (N, C)")
        return C

    def value_gradient(self, u: Pair, a: Floats, rest: Floats) -> Pair:
        return self.groups.value_gradient(u, a)

    def hessian_product(self, u: Pair, a: Floats, rest: Floats, v: Floats) -> Floats:
        return self.groups.hessian_product(u, a, v)

    def node_probabilities(self, u: Pair) -> Floats:
        """Probability of every node (n, M), the sum of the leaves under it."""
        return self.tree.sums(self.probabilities(u))

    def probabilities(self, u: Pair) -> Floats:
        return exponentials(*u).probabilities()

    def log_probabilities(self, u: Pair) -> Floats:
        x = exponentials(*u)
        return x.d - np.log1p(x.s)

    def spread(self, shares: Floats) -> Floats:
        return self.groups.spread(shares)
