"""How many threads softgrad may use, and the pool that runs what is written in Python.

The kernels and BLAS release the interpreter lock; rows and blocks within one compiled call have a pool of their own (`native/pool.hpp`).
There is no OpenMP, whose copies in one process fight each other. The count is min(affinity, cgroup quota), so a container with 2 cores of
64 gets 2 threads, not 64.
"""

from __future__ import annotations

import contextlib
import math
import os
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import lru_cache
from itertools import chain, islice
from typing import Any, TypeVar

A = TypeVar("A")
B = TypeVar("B")

_limit: int | None = None


def affinity() -> int:
    """Processors that this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def quota(root: str | os.PathLike[str] = "/sys/fs/cgroup", group: str | os.PathLike[str] = "/proc/self/cgroup") -> float:
    """Processors that the control group allows, the tightest of all levels above this process; inf without a quota."""
    with contextlib.suppress(OSError):
        for line in _read(group).splitlines():
            number, names, path = line.split(":", 2)
            if number == "0":
                return min(map(_quota_v2, _upwards(os.fspath(root), path)), default=math.inf)
            if "cpu" in names.split(","):
                return min(map(_quota_v1, _upwards(os.path.join(root, "cpu"), path)), default=math.inf)
    return math.inf


def _read(*path: str | os.PathLike[str]) -> str:
    # not pathlib: with what it imports it took a tenth of the time of `import softgrad`
    with open(os.path.join(*path), encoding="ascii") as file:
        return file.read()


def _upwards(root: str, path: str) -> Iterator[str]:
    names = [name for name in path.split("/") if name]
    return (os.path.join(root, *names[:n]) for n in range(len(names), -1, -1))


def _quota_v2(folder: str) -> float:
    with contextlib.suppress(OSError, ValueError):  # ValueError: an empty cpu.max, as some kernels show
        allowed, period = _read(folder, "cpu.max").split()
        if allowed != "max":
            return int(allowed) / int(period)
    return math.inf


def _quota_v1(folder: str) -> float:
    with contextlib.suppress(OSError, ValueError):
        allowed = int(_read(folder, "cpu.cfs_quota_us"))
        period = int(_read(folder, "cpu.cfs_period_us"))
        if allowed > 0:
            return allowed / period
    return math.inf


@lru_cache(maxsize=1)
def available() -> int:
    """Threads that this process may keep busy: min(affinity, quota), at least 1."""
    return max(1, math.ceil(min(affinity(), quota())))


_here = threading.local()


def count() -> int:
    """Threads in use: what `limit` says, else what is available; 1 inside the pool, whose threads share no work of their own out again."""
    return 1 if hasattr(_here, "in_pool") else _limit if _limit is not None else available()


@contextlib.contextmanager
def limit(n: int) -> Iterator[None]:
    """Use n threads inside the block; results are the same bits for every n."""
    global _limit  # noqa: PLW0603 - one process, one number
    before, _limit = _limit, max(1, int(n))
    try:
        yield
    finally:
        _limit = before


@lru_cache(maxsize=8)
def _pool(n: int) -> Any:
    from concurrent.futures import ThreadPoolExecutor  # a tenth of the time that importing softgrad takes

    return ThreadPoolExecutor(n, thread_name_prefix="softgrad", initializer=lambda: setattr(_here, "in_pool", True))


os.register_at_fork(after_in_child=_pool.cache_clear) if hasattr(os, "register_at_fork") else None


def in_order(part: Callable[[A], B], items: Iterable[A]) -> Iterator[B]:
    """part(item) for each item, computed on `count()` threads, handed out in the order of the items.

    At most two results per thread wait at any time, so that memory stays bounded however many items there are. An item that is alone is
    left to the caller, who may use all threads for its parts.
    """
    n, items = count(), iter(items)
    first = list(islice(items, 2))
    items = chain(first, items)
    if n == 1 or len(first) < 2:
        yield from map(part, items)
        return
    waiting: deque[Any] = deque()
    try:
        for item in items:
            waiting.append(_pool(n).submit(part, item))
            if len(waiting) >= 2 * n:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        for future in waiting:
            future.cancel()


def every(part: Callable[[A], B], items: Sequence[A]) -> list[B]:
    """[part(item) for item in items] on `count()` threads, of which the caller is one: no thread has to wake for short work.

    Meanwhile the caller, like the others, shares no work of its own out.
    """
    results: list[Any] = [None] * len(items)
    turns = iter(range(len(items)))  # next() of a range's iterator is one step under the interpreter lock: no item is taken twice

    def work() -> None:
        for k in turns:
            results[k] = part(items[k])

    others = min(count(), len(items)) - 1
    if others < 1:
        work()
        return results
    waiting = [_pool(count()).submit(work) for _ in range(others)]
    _here.in_pool = True
    try:
        work()
    finally:
        del _here.in_pool
        for future in waiting:
            future.result()
    return results


@lru_cache(maxsize=2)
def _blas(with_scipy: bool) -> list[Any]:  # noqa: ARG001 - SciPy brings a BLAS of its own, which has to be found once it is loaded
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController().select(user_api="blas").lib_controllers


@contextlib.contextmanager
def blas(n: int) -> Iterator[None]:
    """BLAS on n threads inside the block.

    On one, wherever our own threads share the work: bits must not depend on their number, and the threads of a BLAS that has just finished
    spin for a tenth of a second on the processors that ours need. (threadpoolctl's own `limit` describes every library first, which takes
    as long as a loss and its gradient on 50 rows.)
    """
    before = [(library, library.num_threads) for library in _blas("scipy.linalg" in sys.modules)]
    others = [(library, count) for library, count in before if count not in (n, None)]
    for library, _ in others:
        library.set_num_threads(n)
    try:
        yield
    finally:
        for library, count in others:
            library.set_num_threads(count)
