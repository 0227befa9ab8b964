"""What the machine can do at best on two threads: read memory, multiply matrices."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from threadpoolctl import threadpool_limits

from bench.timing import REST, THREADS, two_threads


def bandwidth(small: bool) -> float:
    """Bytes a second that two threads read from memory: the best of sum, maximum and dot product over 1 GiB."""
    a = np.ones((1 << 20) if small else (1 << 28), np.float32)  # 1 GiB
    parts = np.array_split(a, THREADS)
    with threadpool_limits(1, user_api="blas"), ThreadPoolExecutor(THREADS) as pool:
        ways: tuple[Callable[[np.ndarray], object], ...] = (np.sum, np.max, lambda part: np.dot(part, part))
        return a.nbytes / min(_best(lambda way=way: list(pool.map(way, parts)), 5) for way in ways)


def matrix_product(small: bool) -> float:
    """Operations a second of a float32 product of square matrices."""
    n = 256 if small else 4096
    A, B = np.ones((n, n), np.float32), np.ones((n, n), np.float32)
    with two_threads():
        return 2 * n**3 / _best(lambda: A @ B, 5)


def _best(call: Callable[[], object], repeat: int) -> float:
    call()
    seconds = []
    for _ in range(repeat):
        time.sleep(REST)
        begin = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - begin)
    return min(seconds)
