"""One pass over rows on disk, larger than what memory is allowed: against reading the file once, and against the same pass in memory."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

import softgrad
from bench import memory
from bench.row import MIB, Measure, Row, below, duration, facts, faster
from bench.timing import Side, Sides, alternate
from softgrad.data import stream

FULL, SMALL = (1_000_000, 4096, 10), (2000, 256, 10)
LIMIT = "1GiB"
AT_ONCE = 8 << 20  # bytes of one read of the plain reading
CHUNK = 4096  # rows made at a time
PASS, READ, IN_MEMORY = "softgrad from disk", "reading the file", "softgrad in memory"


def run(small: bool) -> Iterator[Row]:
    """Make the file, read it, pass over it, delete it."""
    shape = SMALL if small else FULL
    with tempfile.TemporaryDirectory(prefix="softgrad-bench-") as folder:
        make(Path(folder), shape)
        for cold in (True, False):
            yield from _timed(folder, shape, cold, small)
        peak = memory.peak(sides, {"folder": folder, "cold": True, "who": [PASS]}, {"folder": folder, "cold": True, "who": []}, PASS)
    work = f"pass over {_text(shape)} float16 on disk, limit {LIMIT}: memory of the process"
    yield below(work, Measure(PASS, (), peak), peak.highest, 1.2 * (1 << 30), "below 1.2 GiB", f"peak {peak.highest / MIB:.0f} MiB")


def _timed(folder: str, shape: tuple[int, int, int], cold: bool, small: bool) -> Iterator[Row]:
    who = [PASS, READ] + ([IN_MEMORY] if _fits(shape) else [])
    both = sides(folder, cold, who)
    times = alternate(both, dict.fromkeys(who, 2 if small else 3), warm=False)
    m = {name: Measure(name, times[name]) for name in who}
    slower = max((m[name] for name in who[1:]), key=lambda measure: measure.median)
    size = 2 * shape[0] * shape[1]
    note = "; ".join(f"{name} {duration(m[name].median)}, {size / m[name].median / 1e9:.2f} GB/s" for name in who)
    where = "not in the page cache" if cold else "in the page cache"
    row = faster(f"pass over {_text(shape)} float16 on disk, {where}, limit {LIMIT}", m[PASS], slower, 0.8, note)
    row.facts.update(facts(*m.values()))
    yield row


def sides(folder: str, cold: bool, who: list[str]) -> Sides:
    """The pass from disk, plain reading of the file, and the pass in memory, which are given the same numbers."""
    path, y = Path(folder) / "X.npy", np.load(Path(folder) / "y.npy")
    data = stream(path, memory_limit=LIMIT)
    coef = (np.random.default_rng(1).standard_normal((10, data.n_features)) / np.sqrt(data.n_features)).astype(np.float32)

    def before() -> None:
        if cold:
            forget(path)

    def in_memory() -> Side:
        X = np.load(path)
        return Side(lambda: softgrad.linear_value_and_grad(X, y, coef))

    makers: dict[str, Any] = {
        PASS: lambda: Side(lambda: softgrad.linear_value_and_grad(data.X, y, coef), before=before),
        READ: lambda: Side(lambda: read(path), before=before),
        IN_MEMORY: in_memory,
    }
    return {name: makers[name]() for name in who or [PASS]}


def make(folder: Path, shape: tuple[int, int, int]) -> None:
    """X.npy (N, D) float16 like embeddings, and y.npy; a few thousand rows at a time, rolled copies of one piece."""
    N, D, C = shape
    rng = np.random.default_rng(0)
    piece = rng.standard_normal((min(CHUNK, N), D), np.float32).astype(np.float16)
    np.save(folder / "y.npy", rng.integers(0, C, N))
    with (folder / "X.npy").open("wb") as file:
        np.lib.format.write_array_header_1_0(file, {"descr": "<f2", "fortran_order": False, "shape": (N, D)})
        for i in range(0, N, CHUNK):
            file.write(np.roll(piece, i // CHUNK, axis=1)[: min(CHUNK, N - i)].tobytes())
        file.flush()
        os.fsync(file.fileno())  # the page cache lets go of written pages only


def forget(path: Path) -> None:
    """Take the file out of the page cache."""
    with path.open("rb") as file:
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def read(path: Path) -> int:
    """All bytes once, into one buffer."""
    buffer, total = bytearray(AT_ONCE), 0
    with path.open("rb", buffering=0) as file:
        while got := file.readinto(buffer):
            total += got
    return total


def _fits(shape: tuple[int, int, int]) -> bool:
    """Whether the rows fit into memory twice: once as an array, once as cached pages."""
    return 4 * shape[0] * shape[1] < 0.85 * os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _text(shape: tuple[int, int, int]) -> str:
    return " x ".join(map(str, shape))
