"""Members of the family on given scores: against our own plain cross-entropy, and against torch, forward and backward."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from bench import peers
from bench.row import Measure, Row, facts, faster
from bench.timing import Side, Sides, agree, alternate, two_threads
from softgrad import losses
from softgrad.losses import Loss

FULL, SMALL = (20_000, 1000), (400, 100)
PLAIN, SLOWER, PEER = "cross-entropy", 1.5, 8.0
NEW, OUT, TORCH = "softgrad", "softgrad out=", "torch"


@dataclass(frozen=True)
class Case:
    """Our loss for C classes with weights (C,), and torch's way to it; scores are cosines where the loss is made for them."""

    ours: Callable[[np.ndarray], Loss]
    theirs: Callable[[np.ndarray], peers.Criterion]
    cosines: bool = False


CASES = {
    "smoothed 0.1": Case(lambda _: losses.cross_entropy(label_smoothing=0.1), lambda _: peers.torch_cross_entropy(smoothing=0.1)),
    "class-weighted": Case(lambda w: losses.cross_entropy(class_weight=w), lambda w: peers.torch_cross_entropy(weight=w)),
    "focal": Case(lambda _: losses.focal(2.0), lambda _: peers.torch_focal(2.0)),
    "arcface": Case(lambda _: losses.arcface(64.0, 0.5), lambda _: peers.torch_arcface(64.0, 0.5), cosines=True),
}


def sides(shape: tuple[int, int], case: Case) -> Sides:
    """Scores (N, C) float32, standard normal times 2, or within [-0.8, 0.8]; a new array and out=, plain and not, and torch."""
    rng = np.random.default_rng(0)
    Z = rng.standard_normal(shape, np.float32)
    Z = np.clip(Z / 3, -0.8, 0.8) if case.cosines else 2 * Z
    y, w = rng.integers(0, shape[1], shape[0]), rng.uniform(0.5, 2, shape[1]).astype(np.float32).astype(float)
    plain, loss, out = losses.cross_entropy(), case.ours(w), np.zeros_like(Z)
    return {
        NEW: Side(lambda: loss.value_and_grad(Z, y)),
        OUT: Side(lambda: loss.value_and_grad(Z, y, out=out)),
        TORCH: peers.torch_loss(Z, y, case.theirs(w)),
        f"{PLAIN}, {NEW}": Side(lambda: plain.value_and_grad(Z, y)),
        f"{PLAIN}, {OUT}": Side(lambda: plain.value_and_grad(Z, y, out=out)),
    }


def run(small: bool) -> Iterator[Row]:
    """Each member in turn with plain cross-entropy and with torch."""
    shape = SMALL if small else FULL
    for name, case in CASES.items():
        found = sides(shape, case)
        with two_threads():
            agree({who: found[who] for who in (NEW, OUT, TORCH)})
        times = alternate(found, dict.fromkeys(found, 2 if small else 11))
        m = {who: Measure(who, seconds) for who, seconds in times.items()}
        work = f"{name} {shape[0]} x {shape[1]} float32"
        for who in (NEW, OUT):
            yield at_most(work, m[who], m[f"{PLAIN}, {who}"], SLOWER)
            yield faster(work, m[who], m[TORCH], PEER)


def at_most(work: str, ours: Measure, plain: Measure, bar: float) -> Row:
    """Our time over that of plain cross-entropy."""
    ratio = ours.median / plain.median
    return Row(work, ours.cell(), plain.cell(), ratio, f"at most {bar:g} x", ratio <= bar, facts=facts(ours, plain))
