"""Memory of large results goes round, and no result that somebody still has is ever written to."""

import gc
import mmap
import pickle
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from softgrad import result_memory
from softgrad.losses import cross_entropy

SHAPE, FLOAT = (1 << 11, 1 << 10), np.dtype(np.float32)  # 8 MB
reuses = pytest.mark.skipif(not hasattr(mmap, "MADV_FREE"), reason="this system has no MADV_FREE")


@pytest.fixture(autouse=True)
def nothing_waits():
    result_memory._waiting.clear()
    yield
    result_memory._waiting.clear()


@pytest.fixture
def asked(monkeypatch):
    """The sizes of what the system was asked for."""
    sizes, system = [], mmap.mmap

    def asks(handle, size, *flags):
        sizes.append(size)
        return system(handle, size, *flags)

    monkeypatch.setattr(mmap, "mmap", asks)
    return sizes


@reuses
def test_what_was_given_back_is_taken_again(asked):
    for _ in range(3):
        result_memory.empty(SHAPE, FLOAT)[:] = 1  # new memory would lie at the same address too
    assert asked == [8 << 20]


def test_results_are_whole_arrays():
    a = result_memory.empty(SHAPE, FLOAT)
    a[:] = np.arange(SHAPE[1], dtype=FLOAT)
    assert a.shape == SHAPE
    assert a.dtype == FLOAT
    assert a.flags.c_contiguous
    assert a.flags.writeable
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(a)), a)


def test_no_two_that_are_alive_share_memory():
    alive = [result_memory.empty(SHAPE, FLOAT) for _ in range(4)]
    for k, a in enumerate(alive):
        a[:] = k
    assert [a.min() for a in alive] == [a.max() for a in alive] == [0, 1, 2, 3]


@pytest.mark.parametrize("kept", [lambda a: a[3:5], lambda a: a.reshape(-1)[-1000:], memoryview, lambda a: a.T.view(np.int32)])
def test_a_view_keeps_its_memory(kept):
    a = result_memory.empty(SHAPE, FLOAT)
    a[:] = 7
    view = kept(a)
    before = np.array(view)
    del a
    gc.collect()
    result_memory.empty(SHAPE, FLOAT)[:] = 8
    np.testing.assert_array_equal(np.array(view), before)


@reuses
def test_another_size_takes_memory_of_its_own(asked):
    result_memory.empty(SHAPE, FLOAT)[:] = 1
    result_memory.empty((SHAPE[0], 2 * SHAPE[1]), FLOAT)[:] = 1
    result_memory.empty(SHAPE, FLOAT)[:] = 1
    assert asked == [8 << 20, 16 << 20, 8 << 20]


def test_small_results_are_left_to_numpy():
    assert result_memory.empty((10, 10), FLOAT).base is None


def test_gradients_that_are_kept_stay_what_they_were():
    rng, loss = np.random.default_rng(0), cross_entropy()
    kept = []
    for _ in range(5):
        z, y = rng.standard_normal(SHAPE, FLOAT), rng.integers(SHAPE[1], size=SHAPE[0])
        _, gradient = loss.value_and_grad(z, y)
        kept.append((gradient, loss.value_and_grad(z, y, out=np.empty_like(z))[1]))
        loss.value_and_grad(z, y)  # given back at once
    for gradient, expected in kept:
        np.testing.assert_array_equal(gradient, expected)


def test_threads_do_not_get_each_others_memory():
    def work(k):
        for _ in range(30):
            a = result_memory.empty(SHAPE, FLOAT)
            a[::64] = k
            assert (a[::64] == k).all()
            del a

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(work, range(4)))
