"""The compiled rows' own threads: same bits and same first bad row for any number, callers side by side, forks, ends of the process."""

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from compiled import DTYPES, each_isa, formula, native
from test_native import score_rows

isa = each_isa
N, C = 20_011, 10  # a dozen parts, the last of them short


def rows(dtype=np.float32, seed=0):
    rng = np.random.default_rng(seed)
    return (3 * rng.standard_normal((N, C))).astype(dtype), rng.integers(0, C, N)


def on_threads(count, z, y, r=None):
    losses, gradient = np.full(len(z), 7.0), np.full_like(z, 7.0)
    bad = native.score_rows(z, gradient, formula(C, None, 1.0, 0.0), y, None, r, None, 1.0, losses, count)
    return bad, losses, gradient


@pytest.mark.parametrize("dtype", DTYPES)
def test_same_bits_for_any_number_of_threads(isa, dtype):
    z, y = rows(dtype)
    r = np.random.default_rng(1).random(N)
    bad, losses, gradient = on_threads(1, z, y, r)
    assert bad == -1
    for count in (2, 3, 8):
        found = on_threads(count, z, y, r)
        assert found[0] == -1
        np.testing.assert_array_equal(found[1], losses)
        np.testing.assert_array_equal(found[2], gradient)


def test_parts_are_the_rows_they_say_they_are(isa):
    """Rows far apart in a long call have the bits that they have in a call of their own."""
    z, y = rows()
    _, losses, gradient = on_threads(4, z, y)
    for i in (0, 64, 1663, 1664, 9999, N - 1):
        _, alone, own = score_rows(z[i : i + 1].copy(), labels=y[i : i + 1].copy())
        assert alone[0] == losses[i]
        np.testing.assert_array_equal(own[0], gradient[i])


@pytest.mark.parametrize("count", [1, 2, 8])
def test_the_first_bad_row_is_told_whoever_finds_one(isa, count):
    z, y = rows()
    for first in (N - 1, 12_345, 17):
        z[first, 3] = np.nan
        assert on_threads(count, z, y)[0] == first


def test_callers_side_by_side_get_their_own_results():
    work = [rows(seed=k) for k in range(6)]
    expected = [on_threads(1, *w) for w in work]
    with ThreadPoolExecutor(6) as others:
        for _ in range(20):
            for (_, losses, gradient), found in zip(expected, others.map(lambda w: on_threads(3, *w), work), strict=True):
                np.testing.assert_array_equal(found[1], losses)
                np.testing.assert_array_equal(found[2], gradient)


PROGRAM = """
import os, threading
import numpy as np
from softgrad import losses, threads

z, y = np.random.default_rng(0).standard_normal((20_000, 10)), np.zeros(20_000, np.int64)
with threads.limit(1):
    expected = losses.cross_entropy()(z, y)
"""

FORK = """
busy = True
def calls():
    while busy:
        assert losses.cross_entropy()(z, y) == expected
with threads.limit(3):
    other = threading.Thread(target=calls)
    other.start()
    for _ in range(20):
        child = os.fork()
        if child == 0:
            os._exit(0 if losses.cross_entropy()(z, y) == expected else 1)
        assert os.waitpid(child, 0)[1] == 0
    busy = False
    other.join()
"""

END = """
with threads.limit(4):
    assert losses.cross_entropy()(z, y) == expected
"""


@pytest.mark.skipif(sys.platform == "win32", reason="there is no fork")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_child_forked_in_the_middle_of_a_call_has_threads_of_its_own():
    subprocess.run([sys.executable, "-W", "ignore", "-c", PROGRAM + FORK], check=True, timeout=60)


def test_a_process_ends_while_its_helpers_wait():
    for _ in range(5):
        subprocess.run([sys.executable, "-c", PROGRAM + END], check=True, timeout=60)
