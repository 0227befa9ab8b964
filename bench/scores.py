"""Losses and their gradients on given scores: into a new array, into a given one (out=), and over the scores themselves."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from bench import peers
from bench.compare import measure
from bench.row import Row, faster
from bench.timing import Side, Sides
from softgrad.losses import cross_entropy, entmax

FULL = {(100_000, 10): (5, 5), (20_000, 1000): (7, 15), (2000, 32_000): (7, 15)}  # (N, C): bars for a new array, for out=
SMALL = {(2000, 10): (5, 5), (400, 100): (7, 15), (40, 3200): (7, 15)}
ENTMAX_FULL, ENTMAX_SMALL = (20_000, 1000), (400, 100)
NEW, OUT, OVER, PEER = "softgrad", "softgrad out=", "softgrad out=scores", "torch"


def sides(shape: tuple[int, int]) -> Sides:
    """Standard normal scores (N, C) float32, times 2."""
    rng = np.random.default_rng(0)
    Z = rng.standard_normal(shape, np.float32)
    Z *= 2
    y = rng.integers(0, shape[1], shape[0])
    loss, out, over = cross_entropy(), np.zeros_like(Z), Z.copy()
    return {
        NEW: Side(lambda: loss.value_and_grad(Z, y)),
        OUT: Side(lambda: loss.value_and_grad(Z, y, out=out)),
        OVER: Side(lambda: loss.value_and_grad(over, y, out=over), before=lambda: np.copyto(over, Z)),
        PEER: peers.torch_scores(Z, y),
    }


def run(small: bool) -> Iterator[Row]:
    """Three shapes, three ways of ours, against torch forward and backward."""
    for shape, (new, given) in (SMALL if small else FULL).items():
        m = measure(sides, {"shape": shape}, {"shape": (8, 4)}, 2 if small else 15)
        for name, bar in ((NEW, new), (OUT, given), (OVER, given)):
            yield faster(f"scores {shape[0]} x {shape[1]} float32", m[name], m[PEER], bar)


def entmax_sides(shape: tuple[int, int]) -> Sides:
    """The scores of `sides`, entmax with alpha = 1.5 on both sides."""
    rng = np.random.default_rng(0)
    Z = rng.standard_normal(shape, np.float32)
    Z *= 2
    y = rng.integers(0, shape[1], shape[0])
    loss = entmax(1.5)
    return {NEW: Side(lambda: loss.value_and_grad(Z, y)), "entmax": peers.entmax_scores(Z, y)}


def run_entmax(small: bool) -> Iterator[Row]:
    """One shape, against the entmax package forward and backward."""
    shape = ENTMAX_SMALL if small else ENTMAX_FULL
    m = measure(entmax_sides, {"shape": shape}, {"shape": (8, 4)}, 2 if small else 7)
    yield faster(f"entmax 1.5 on scores {shape[0]} x {shape[1]} float32", m[NEW], m["entmax"], 3)
