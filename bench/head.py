"""Loss and gradient of a linear head in one call, against scikit-learn and torch; bytes instead of floats; the machine's own limits."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

import softgrad
from bench import limits, peers
from bench.compare import measure
from bench.row import MIB, Measure, Row, below, duration, facts, faster
from bench.timing import Side, Sides

ALL = ("softgrad", "softgrad uint8", "scikit-learn", "torch")
FULL = (50_000, 3072, 10)
SMALL = (2000, 192, 10)
TINY = (64, 16, 3)
CLASSES = ((50_000, 1024, 100), (20_000, 1024, 1000))
CLASSES_SMALL = ((1000, 64, 50), (500, 64, 200))
BATCHES = ((64, 768, 10), (256, 768, 100), (3000, 1024, 1000))
BATCHES_SMALL = ((16, 64, 10), (32, 64, 40))


def sides(shape: tuple[int, int, int], who: tuple[str, ...]) -> Sides:
    """Random pixels (N, D), as bytes and divided by 255 as float32; coefficients (C, D) whose scores have a spread of about 1."""
    N, D, C = shape
    rng = np.random.default_rng(0)
    raw = rng.integers(0, 256, (N, D), np.uint8)
    X = np.divide(raw, np.float32(255), dtype=np.float32)
    y = rng.integers(0, C, N)
    coef = (rng.standard_normal((C, D)) / np.sqrt(D / 3)).astype(np.float32)
    makers = {
        "softgrad": lambda: _ours(X, y, coef, 1.0),
        "softgrad uint8": lambda: _ours(raw, y, coef / np.float32(255), 255.0),
        "scikit-learn": lambda: peers.sklearn_head(X, y, coef, 0.0),
        "torch": lambda: peers.torch_head(X, y, coef),
    }
    return {name: makers[name]() for name in who}


def _ours(X: np.ndarray, y: np.ndarray, coef: np.ndarray, scale: float) -> Side:
    """Of X = scale x; the gradient is told for x."""
    return Side(lambda: softgrad.linear_value_and_grad(X, y, coef), lambda result: (result[0], result[1] / np.float32(scale)))


def run(small: bool) -> Iterator[Row]:
    """50000 x 3072 x 10, four ways."""
    shape = SMALL if small else FULL
    work = f"head {_text(shape)} float32"
    m = measure(sides, {"shape": shape, "who": ALL}, {"shape": TINY, "who": ALL}, 2 if small else 11)
    yield faster(work, m["softgrad"], m["scikit-learn"], 3, "aim 5 x")
    yield faster(work, m["softgrad"], m["torch"], 10)
    raw = m["softgrad uint8"]
    yield faster(f"head {_text(shape)} uint8", raw, m["softgrad"], 1)
    assert raw.peak is not None
    yield below(f"head {_text(shape)} uint8, memory", Measure(raw.name, (), raw.peak), raw.peak.extra, 64 * MIB, "below +64 MiB")
    yield from _physics(work, shape, m["softgrad"], small)


def _physics(work: str, shape: tuple[int, int, int], ours: Measure, small: bool) -> Iterator[Row]:
    """How far from reading X once, and from the arithmetic (4 N D C) at the speed of a matrix product."""
    N, D, C = shape
    speed, flops = limits.bandwidth(small), limits.matrix_product(small)
    for what, best, told in (
        ("reading X once", 4 * N * D / speed, f"{speed / 1e9:.1f} GB/s"),
        ("its arithmetic", 4 * N * D * C / flops, f"sgemm at {flops / 1e9:.0f} Gflop/s"),
    ):
        found = facts(ours) | {"limit_seconds": best, "limit": told}
        yield Row(f"{work}, limit", ours.cell(), f"{what}: {duration(best)} ({told})", best / ours.median, facts=found)


def run_classes(small: bool) -> Iterator[Row]:
    """Many classes, where matrix products do the work."""
    for shape in CLASSES_SMALL if small else CLASSES:
        who = ("softgrad", "scikit-learn")
        m = measure(sides, {"shape": shape, "who": who}, {"shape": TINY, "who": who}, 2 if small else 9)
        yield faster(f"head {_text(shape)} float32", m["softgrad"], m["scikit-learn"], 1.3)


def run_batches(small: bool) -> Iterator[Row]:
    """Few rows, as in a training by batches or with few labels: what stands around the pass counts."""
    for shape in BATCHES_SMALL if small else BATCHES:
        who = ("softgrad", "torch")
        m = measure(sides, {"shape": shape, "who": who}, {"shape": TINY, "who": who}, 2 if small else 15)
        yield faster(f"head {_text(shape)} float32", m["softgrad"], m["torch"], None)


def _text(shape: tuple[int, int, int]) -> str:
    return " x ".join(map(str, shape))
