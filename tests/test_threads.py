"""Threads: results in the order of the items, bounded memory, exceptions that arrive, and a count that respects the container."""

import math
import subprocess
import sys
import threading
import time

import pytest
from threadpoolctl import threadpool_info

from softgrad import threads as room


def test_results_come_in_the_order_of_the_items(threads):
    """The first items take longest."""

    def part(i):
        time.sleep(0.002 * (20 - i) / 20)
        return i * i

    assert list(room.in_order(part, range(20))) == [i * i for i in range(20)]
    assert list(room.in_order(part, [])) == []


def test_work_is_done_on_as_many_threads_as_asked():
    """A barrier of three opens only when three threads are there at once."""
    barrier = threading.Barrier(3)
    with room.limit(3):
        names = list(room.in_order(lambda _: barrier.wait(20) >= 0 and threading.current_thread().name, range(9)))
    assert len(set(names)) == 3
    assert all(name.startswith("softgrad") for name in names)
    with room.limit(1):
        assert list(room.in_order(lambda _: threading.current_thread(), range(3))) == 3 * [threading.current_thread()]


def test_few_results_wait(threads):
    """However many items there are, at most two per thread were asked for and not yet handed out."""
    asked = []

    def items():
        for i in range(10**9):
            asked.append(i)
            yield i

    results = room.in_order(lambda i: i, items())
    for done in range(1, 50):
        next(results)
        assert len(asked) - done < 2 * threads
    results.close()


def test_an_exception_arrives_in_its_place_and_ends_the_work(threads):
    started = []

    def part(i):
        started.append(i)
        if i == 5:
            raise ZeroDivisionError("the fifth")
        return i

    done = []
    with pytest.raises(ZeroDivisionError, match="the fifth"):
        done.extend(room.in_order(part, range(10000)))
    list(room.in_order(lambda i: i, range(2 * threads)))  # the pool works on, and is through with what was left
    assert set(range(6)) <= set(started)
    assert len(started) <= 6 + 2 * threads


def test_results_before_an_exception_are_handed_out(threads):
    results = room.in_order(lambda i: 1 // (3 - i), range(10))
    assert [next(results) for _ in range(3)] == [0, 0, 1]
    with pytest.raises(ZeroDivisionError):
        next(results)


def test_what_waits_is_cancelled_when_nobody_listens_any_more():
    """Two threads hold items 1 and 2, item 3 waits for one of them: it never starts."""
    started, gate = [], threading.Event()

    def part(i):
        started.append(i)
        return i == 0 or gate.wait(20)

    with room.limit(2):
        results = room.in_order(part, range(100))
        assert next(results)
        results.close()
        gate.set()
        list(room.in_order(abs, range(8)))  # the pool works on, and is through with what was left
    assert set(started) <= {0, 1, 2}


def test_limits_nest_and_end():
    before = room.count()
    with room.limit(5):
        assert room.count() == 5
        with room.limit(2):
            assert room.count() == 2
        assert room.count() == 5
        with pytest.raises(KeyError), room.limit(3):
            raise KeyError
        assert room.count() == 5
    assert room.count() == before


def test_threads_of_a_blas_are_given_back():
    def now():
        return [library["num_threads"] for library in threadpool_info() if library["user_api"] == "blas"]

    before = now()
    assert before
    with room.blas(3):
        assert set(now()) == {3}
        with room.blas(1), room.blas(1):
            assert set(now()) == {1}
        assert set(now()) == {3}
    assert now() == before
    with pytest.raises(RuntimeError), room.blas(3):
        raise RuntimeError
    assert now() == before


def test_the_count_is_at_least_one(monkeypatch):
    assert 1 <= room.count() <= room.affinity()
    with room.limit(0):
        assert room.count() == 1
    for quota, processors, expected in ((0.25, 64, 1), (1.5, 64, 2), (math.inf, 3, 3), (8.0, 4, 4)):
        monkeypatch.setattr(room, "quota", lambda q=quota: q)
        monkeypatch.setattr(room, "affinity", lambda n=processors: n)
        room.available.cache_clear()
        assert room.available() == expected
    monkeypatch.undo()
    room.available.cache_clear()


# ---- control groups -------------------------------------------------------------------------------------------------


def groups(tmp_path, lines, files):
    """A made-up /sys/fs/cgroup and /proc/self/cgroup: (root, group)."""
    root, group = tmp_path / "cgroup", tmp_path / "self"
    root.mkdir()
    group.write_text("\n".join(lines) + "\n")
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root, group


V2 = {
    "a quota": (["0::/"], {"cpu.max": "150000 100000\n"}, 1.5),
    "no quota": (["0::/"], {"cpu.max": "max 100000\n"}, math.inf),
    "an empty file": (["0::/"], {"cpu.max": ""}, math.inf),
    "no file": (["0::/a"], {}, math.inf),
    "nested, inner tighter": (["0::/a/b"], {"cpu.max": "max 1", "a/cpu.max": "800 100", "a/b/cpu.max": "300 100"}, 3),
    "nested, outer tighter": (["0::/a/b"], {"a/cpu.max": "200 100", "a/b/cpu.max": "max 100"}, 2),
    "the root's": (["0::/a/b"], {"cpu.max": "50 100", "a/b/cpu.max": "700 100"}, 0.5),
    "a sister's does not count": (["0::/a"], {"b/cpu.max": "100 100", "a/cpu.max": "400 100"}, 4),
}
V1 = {
    "a quota": (["4:cpu,cpuacct:/"], {"cpu/cpu.cfs_quota_us": "250000", "cpu/cpu.cfs_period_us": "100000"}, 2.5),
    "no quota": (["4:cpu,cpuacct:/"], {"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}, math.inf),
    "no file": (["4:cpu:/a"], {}, math.inf),
    "nested": (
        ["9:memory:/x", "4:cpuacct,cpu:/a/b", "0::/"],
        {"cpu/a/cpu.cfs_quota_us": "100", "cpu/a/cpu.cfs_period_us": "100",
         "cpu/a/b/cpu.cfs_quota_us": "400", "cpu/a/b/cpu.cfs_period_us": "100"}, 1),
    "no cpu group": (["9:memory:/x", "3:cpuset:/"], {"cpu/cpu.cfs_quota_us": "1", "cpu/cpu.cfs_period_us": "1"}, math.inf),
}  # fmt: skip


@pytest.mark.parametrize("case", V2)
def test_quota_of_version_2(tmp_path, case):
    lines, files, expected = V2[case]
    assert room.quota(*groups(tmp_path, lines, files)) == expected


@pytest.mark.parametrize("case", V1)
def test_quota_of_version_1(tmp_path, case):
    lines, files, expected = V1[case]
    assert room.quota(*groups(tmp_path, lines, files)) == expected


def test_without_control_groups_there_is_no_quota(tmp_path):
    assert room.quota(tmp_path / "nowhere", tmp_path / "nothing") == math.inf


def test_nobody_who_shares_the_work_shares_out_work_of_its_own():
    """The caller neither, while others work along; an item that is alone may use all threads, and so may who comes after an error."""
    together = threading.Barrier(3)  # three items on three threads, of which the caller is one

    def met(_):
        together.wait(60)
        return room.count()

    with room.limit(3):
        assert room.every(met, range(3)) == [1, 1, 1]
        assert room.every(lambda _: room.count(), range(1)) == [3]
        with pytest.raises(ZeroDivisionError):
            room.every(lambda k: 1 // k, [0, 0, 0])
        assert room.count() == 3


FORK = """
import os
from softgrad import threads
with threads.limit(3):
    assert list(threads.in_order(abs, range(-20, 0))) == list(range(20, 0, -1))
    child = os.fork()
    if child == 0:
        os._exit(0 if sum(threads.in_order(abs, range(20))) == 190 else 1)
    assert os.waitpid(child, 0)[1] == 0
    assert sum(threads.in_order(abs, range(20))) == 190
"""


@pytest.mark.skipif(sys.platform == "win32", reason="there is no fork")
def test_after_a_fork_the_child_has_threads_of_its_own():
    """The parent's threads do not exist in the child; waiting for them would last forever."""
    subprocess.run([sys.executable, "-c", FORK], check=True, timeout=60)
