"""Rows of files that the compiled head reads itself: the bits of rows in memory, files that end too early, Ctrl-C on the way."""

from __future__ import annotations

import os
import signal
from contextlib import contextmanager

import numpy as np
import pytest
from compiled import each_isa, formula, native
from streaming import bfloat16, head, small_blocks, write_pair

import softgrad
from softgrad.arrays import SoftgradError
from softgrad.data import stream
from softgrad.losses import cross_entropy
from softgrad.sources.fixed import FixedRows

isa = each_isa
N, D, C = 2000, 3001, 3  # blocks of about 285 rows, windows of 16 or 24 (float32), up to 96 of other types; a last band that is not full


@pytest.fixture(autouse=True)
def many_blocks(monkeypatch):
    """Seven of them."""
    small_blocks(monkeypatch)


@pytest.fixture
def never_by_blocks(monkeypatch):
    """No row is read by the threads that read for other kernels."""
    plain = FixedRows.read

    def read(self, i, j, buffer):
        assert i == j, "read by blocks"
        return plain(self, i, j, buffer)

    monkeypatch.setattr(FixedRows, "read", read)


def rows(kind):
    """Rows as they are stored, as NumPy reads them, labels of which some are left out, coefficients, weights of which some are 0."""
    X, y, W = head(N, D, C, np.float32)
    stored = X = (np.abs(X) * 40).astype(np.uint8) if kind == "uint8" else X
    if kind == "bfloat16":
        bits, X = bfloat16(X)
        stored = bits.view("V2")
    elif kind != "uint8":
        stored = X = X.astype(kind)
    r = np.random.default_rng(1).uniform(0, 2, N)
    r[100:400] = 0.0  # whole windows
    r[::7] = 0.0
    return stored, X, y, W / np.sqrt(D) / 20, r


def equal(ours, theirs):
    for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.usefixtures("never_by_blocks")
@pytest.mark.parametrize("kind", ["float16", "float32", "float64", "uint8", "bfloat16"])
def test_the_bits_of_rows_in_memory(isa, threads, tmp_path, kind):
    stored, X, y, W, r = rows(kind)
    source = stream(write_pair(tmp_path, stored, y)).X
    for options in ({}, {"sample_weight": r, "loss": cross_entropy(label_smoothing=0.1, temperature=1.7)}):
        equal(softgrad.linear_value_and_grad(source, y, W, **options), softgrad.linear_value_and_grad(X, y, W, **options))


@pytest.mark.usefixtures("never_by_blocks")
def test_files_that_end_in_the_middle_of_windows(threads, tmp_path):
    X, y, W = head(N, D, C)
    for k, part in enumerate(np.split(np.arange(N), [1, 30, 31, 700, 1999])):
        np.save(tmp_path / f"X_{k}.npy", X[part])
        np.save(tmp_path / f"y_{k}.npy", y[part])
    before = os.dup(0)  # the lowest descriptor that is free
    os.close(before)
    equal(softgrad.linear_value_and_grad(stream(tmp_path).X, y, W), softgrad.linear_value_and_grad(X, y, W))
    after = os.dup(0)
    os.close(after)
    assert after == before


def test_more_files_than_may_be_open_are_read_by_blocks(tmp_path, monkeypatch):
    monkeypatch.setattr("softgrad.sources.fixed.OPEN", 3)
    X, y, W = head(N, D, C)
    for k, part in enumerate(np.array_split(np.arange(N), 4)):
        np.save(tmp_path / f"X_{k}.npy", X[part])
        np.save(tmp_path / f"y_{k}.npy", y[part])
    source = stream(tmp_path).X
    with source.places() as found:
        assert found is None
    equal(softgrad.linear_value_and_grad(source, y, W), softgrad.linear_value_and_grad(X, y, W))


@pytest.mark.parametrize("n", [1, 2])
def test_a_file_that_ends_too_early_while_it_is_read(tmp_path, monkeypatch, n):
    X, y, W = head(N, D, C)
    path = write_pair(tmp_path, X, y)
    source, as_found = stream(path).X, FixedRows.places

    @contextmanager
    def cut_off(self):
        with as_found(self) as found:
            os.truncate(path, 1_000_000 * n)
            yield found

    monkeypatch.setattr(FixedRows, "places", cut_off)
    with pytest.raises(SoftgradError, match=rf"X\.npy: the file must stay as it was .* got {n}000000 bytes instead of"):
        softgrad.linear_value_and_grad(source, y, W)


def pass_over(file, n, losses, edges, threads, labels=None):
    X, labels = np.empty((0, D), np.float16), np.zeros(n, np.int64) if labels is None else labels
    places = np.array([[file.fileno(), 0, 0]])
    coef, asked = np.zeros((C, D), np.float32), formula(C, None, 1.0, 0.0)
    results = losses, np.empty((C, D)), np.empty(C), None
    return native.head_blocks(X, coef, coef[:, 0].copy(), asked, labels, None, None, None, 1.0, *results, edges, threads, places)


@pytest.mark.parametrize("count", [1, 2, 8])
def test_what_could_not_be_read_is_told(tmp_path, count):
    n, edges = 100, np.arange(0, 101, 10)
    with (tmp_path / "rows").open("wb+") as file:
        file.truncate(n * D * 2)
        assert pass_over(file, n, np.empty(n), edges, count) == -1
        file.truncate(n * D * 2 - 1)
        assert pass_over(file, n, np.empty(n), edges, count) == native.UNREADABLE
    with (tmp_path / "rows").open("ab") as unreadable:
        assert pass_over(unreadable, n, np.empty(n), edges, count) == native.UNREADABLE


@pytest.mark.parametrize("count", [1, 2])
def test_where_no_row_counts_nothing_is_read(tmp_path, count):
    n, edges = 200, np.array([0, 120, 160, 200])
    labels = np.where(np.arange(n) < 96, 0, -1)     # windows (of 32 or 48 rows) of the first block, and not its rest
    losses = np.full(n, np.nan)
    with (tmp_path / "rows").open("wb+") as file:
        file.truncate(96 * D * 2)
        assert pass_over(file, n, losses, edges, count, labels) == -1
    np.testing.assert_allclose(losses, np.where(labels == 0, np.log(C), 0.0), rtol=1e-6)


class Alarm(Exception):
    """A signal has come."""


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="there are no timers of signals")
@pytest.mark.parametrize("count", [1, 2])
def test_a_signal_ends_a_pass_on_its_way(tmp_path, count):
    """A file of a gigabyte that takes no room; the timer comes long before it is through."""

    def come(number, frame):
        raise Alarm

    n = (1 << 30) // (2 * D)
    losses, before = np.full(n, np.nan), signal.signal(signal.SIGALRM, come)
    try:
        with (tmp_path / "rows").open("wb+") as file:
            file.truncate(n * D * 2)
            signal.setitimer(signal.ITIMER_REAL, 0.02)
            with pytest.raises(Alarm):
                pass_over(file, n, losses, np.linspace(0, n, 401).astype(np.int64), count)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert np.isnan(losses).mean() > 0.1  # many blocks were not begun
