"""A tree over classes: what hierarchical losses and classifiers are told of."""

from __future__ import annotations

import operator
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from softgrad import arrays
from softgrad.losses.part import Floats

Numbers = NDArray[np.intp]
ROOT = -1  # has no score of its own, and no number among the nodes


@dataclass(frozen=True)
class Tree:
    """A tree over classes: node j hangs on node parents[j] < j, or on the root (-1), which has no number; classes are the leaves in order.

    Raises SoftgradError for parents that are no such numbers, and for fewer than two leaves.

    >>> from softgrad import losses
    >>> tree = losses.Tree.of_paths(["animal/cat", "animal/dog", "plant"])
    >>> tree.parents, tree.leaves.tolist(), tree.distance([0, 0], [1, 2]).tolist()
    ((-1, 0, 0, -1), [1, 2, 3], [2, 3])
    """

    parents: tuple[int, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "parents", tuple(_parent(j, p) for j, p in enumerate(self.parents)))
        if len(self.leaves) < 2:
            arrays.refuse("Tree(parents)", "must have at least two leaves", f"{len(self.leaves)}", "pass a tree with more classes")

    @classmethod
    def of_paths(cls, paths: Iterable[str | Sequence[Any]]) -> Tree:
        """The tree whose leaf k lies at the end of path k: names from the top, or text with the names between slashes."""
        return cls(tuple(parents_of(paths).values()))

    @cached_property
    def leaves(self) -> Numbers:
        """Node of every class (C,)."""
        return np.setdiff1d(np.arange(len(self.parents)), self.parents)

    @cached_property
    def depth(self) -> Numbers:
        """Nodes between the root and each node (M,)."""
        depth = np.zeros(len(self.parents), np.intp)
        for j, p in enumerate(self.parents):
            depth[j] = 0 if p == ROOT else depth[p] + 1
        return depth

    @cached_property
    def height(self) -> Numbers:
        """Steps from each node (M,) down to the deepest leaf under it."""
        height = np.zeros(len(self.parents), np.intp)
        for j, p in reversed(list(enumerate(self.parents))):
            if p != ROOT:
                height[p] = max(height[p], height[j] + 1)
        return height

    @cached_property
    def paths(self) -> Numbers:
        """Row k: the nodes on the way from the top to leaf k, then -1 (C, deepest)."""
        paths = np.full((len(self.leaves), int(self.depth.max()) + 1), ROOT)
        for k, leaf in enumerate(self.leaves):
            j = int(leaf)
            while j != ROOT:
                paths[k, self.depth[j]], j = j, self.parents[j]
        return paths

    def distance(self, y: ArrayLike, other: ArrayLike) -> Numbers:
        """Edges on the way from class y (N,) to class other (N,) through the tree."""
        a, b = self.paths[np.asarray(y)], self.paths[np.asarray(other)]
        shared = ((a == b) & (a != ROOT)).sum(axis=-1)
        return (a != ROOT).sum(axis=-1) + (b != ROOT).sum(axis=-1) - 2 * shared

    def sums(self, p: Floats) -> Floats:
        """What lies under each node (n, M), for p of the leaves (n, C)."""
        P = np.zeros((len(self.parents), len(p)))
        P[self.leaves] = p.T
        for j in reversed(range(len(P))):
            if self.parents[j] != ROOT:
                P[self.parents[j]] += P[j]
        return np.ascontiguousarray(P.T)


def _parent(j: int, parent: Any) -> int:
    try:
        p = operator.index(parent)
    except TypeError:
        p = j
    if not ROOT <= p < j:
        rule = f"the parent of node {j} must be a node before it, or -1 for the root"
        arrays.refuse("Tree(parents)", rule, arrays.shown(parent), "number nodes from the top down")
    return p


def parents_of(paths: Iterable[str | Sequence[Any]]) -> dict[tuple[Any, ...], int]:
    """Every node's path and its parent's number, in the order of the nodes; path k ends at leaf k."""
    numbers: dict[tuple[Any, ...], int] = {(): ROOT}
    parents: dict[tuple[Any, ...], int] = {}
    ends = [tuple(path.split("/")) if isinstance(path, str) else tuple(path) for path in paths]
    for path in ends:
        for node in (path[:i] for i in range(1, len(path) + 1)):
            if node not in numbers:
                numbers[node], parents[node] = len(parents), numbers[node[:-1]]
    inner = {node[:-1] for node in parents}
    for k, path in enumerate(ends):
        if path in inner or ends.index(path) != k:
            rule = "paths must end at leaves, each at its own"
            arrays.refuse("Tree.of_paths(paths)", rule, arrays.shown(path), "give what ends at an inner node a name of its own below it")
    return parents


def as_tree(tree: Any) -> Tree:
    """A tree, or the one with these parents."""
    return tree if isinstance(tree, Tree) else Tree(tuple(tree))
