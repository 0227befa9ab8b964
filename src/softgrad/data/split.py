"""The stratified split: every class gives its share of test rows and keeps at least one row for training."""

from __future__ import annotations

import numpy as np


def stratified(y: np.ndarray, test_size: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Row numbers (train, test), each ascending; y (N,) int64 class numbers, 0 <= test_size < 1.

    Class c of n_c rows gives floor(n_c * test_size) test rows, or one more: the rows still missing to
    round(N * test_size) go to the largest remainders. No class gives its last row, so the test part may be smaller,
    even empty.

    >>> import numpy as np
    >>> train, test = stratified(np.array([0, 0, 0, 0, 0, 1, 1, 1, 1, 1]), 0.2, seed=0)
    >>> len(train), len(test), sorted(int(row) // 5 for row in test)
    (8, 2, [0, 1])
    """
    rows = np.bincount(y)
    share = rows * test_size
    taken = np.minimum(np.floor(share).astype(np.int64), np.maximum(rows - 1, 0))
    missing = round(len(y) * test_size) - int(taken.sum())
    # Rounded and stable: equal remainders have to fall the same way on every machine
    by_remainder = np.argsort(-(share - taken).round(9), kind="stable")
    able = by_remainder[rows[by_remainder] - taken[by_remainder] > 1]
    taken[able[: max(missing, 0)]] += 1

    order = np.lexsort((np.random.default_rng(seed).random(len(y)), y))
    place = np.arange(len(y)) - np.repeat(np.cumsum(rows) - rows, rows)  # within its class, in shuffled order
    chosen = place < np.repeat(taken, rows)
    return np.sort(order[~chosen]), np.sort(order[chosen])
