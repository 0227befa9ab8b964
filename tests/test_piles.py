"""Mini-batches of rows on disk: drawn in piles from all over the files, within the memory limit, with the bits of those rows in memory."""

import itertools
import sys
import threading
from dataclasses import replace

import numpy as np
import pytest
import scipy.sparse
from sklearn.datasets import dump_svmlight_file
from streaming import head, rise_of_peak, write_pair
from trainings import drawn_rows

import softgrad
from softgrad import SoftgradError, checkpoint
from softgrad.blocks.block import Block
from softgrad.blocks.minibatches import PILE, MiniBatches
from softgrad.data import stream
from softgrad.descent import Descent, Point
from softgrad.losses import cross_entropy
from softgrad.row_source import AbstractRowSource
from softgrad.solvers import SGD
from softgrad.training import Problem

POINTS = [Point(0.01), Point(0.1, 0.01)]


def on_disk(folder, *, limit=1 << 20, N=20_000, D=64, sparse=False, dtype=np.float16):
    """Rows of twice the limit or more: (source, the same in memory, labels)."""
    X, y, _ = head(N=N, D=D, dtype=dtype)
    if not sparse:
        return replace(stream(write_pair(folder, X, y)).X, memory_limit=limit), X, y
    X[np.random.default_rng(0).uniform(size=X.shape) < 0.8] = 0
    dump_svmlight_file(X, y, str(folder / "X.libsvm"))
    data = stream(folder / "X.libsvm")
    return replace(data.X, memory_limit=limit), scipy.sparse.csr_array(data.X[:]), data.y


def problem(X, y, r=None, seed=3):
    return Problem(X, y, np.ones(len(y)) if r is None else r, 3, cross_entropy(), 0.0, True, seed)


def piles_of(source, y, r=None):
    r = np.ones(len(y)) if r is None else r
    return MiniBatches(Block(source, y, r), np.flatnonzero(r), np.zeros(source.shape[1], np.float32), 0.0)


# ---- which rows -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sparse", [False, True])
def test_an_epoch_sees_every_row_once_in_piles_that_fit(tmp_path, sparse):
    source, _, y = on_disk(tmp_path, sparse=sparse, dtype=np.float32)
    r = (np.arange(len(y)) % 7 > 0).astype(float)
    batches, pile = piles_of(source, y, r), source.memory_limit // PILE
    epochs = [batches.epoch(5, e) for e in range(2)]
    for piles in epochs:
        assert sorted(np.concatenate(piles)) == np.flatnonzero(r).tolist()
        sizes = [sum(source.nbytes(i, i + 1) for i in some) for some in piles]
        assert max(sizes) < 1.2 * pile
        assert sum(sizes) / pile < len(piles) < 2.5 * sum(sizes) / pile
        assert all(some.max() - some.min() > len(y) / 2 for some in piles if len(some) > 100)  # from all over the file
        assert all((np.diff(np.sort(some)) <= 2).mean() > 0.8 for some in piles)  # neighbours are read together
        assert all(0.3 < (np.diff(some) > 0).mean() < 0.7 for some in piles if len(some) > 100)  # and shuffled
    assert not np.array_equal(*map(np.concatenate, epochs))
    assert all(np.array_equal(a, b) for a, b in zip(epochs[1], batches.epoch(5, 1), strict=True))


@pytest.mark.parametrize("first", [0, 1, 37, 399])
def test_a_stream_from_its_middle(tmp_path, first):
    """The same rows as from the beginning, and no pile read that has been used up."""
    source, _, y = on_disk(tmp_path)
    read = []

    class Counted(AbstractRowSource):
        shape, dtype, memory_limit, nbytes = source.shape, source.dtype, source.memory_limit, staticmethod(source.nbytes)

        def read(self, i, j, buffer):
            raise AssertionError

        def picked(self, k):
            read.extend(k)
            return source.picked(k)

    def rows(source, first):
        return [np.concatenate([block.X[k] for block, k in parts]) for parts in piles_of(source, y).stream(100, 400, 5, first)]

    whole, rest = rows(source, 0), rows(Counted(), first)
    assert len(rest) == 400 - first
    assert all(np.array_equal(a, b) for a, b in zip(rest, whole[first:], strict=True))
    left = (400 - first) * 100
    assert left <= len(read) < left + 2 * source.memory_limit // PILE // 128


# ---- the same bits --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sparse", [False, True])
def test_the_bits_of_the_same_rows_in_memory(tmp_path, threads, monkeypatch, sparse):
    source, X, y = on_disk(tmp_path, N=5000, limit=1 << 18, sparse=sparse, dtype=np.float32)
    monkeypatch.setattr("softgrad.curvature.ROWS", 50)
    solver = SGD(epochs=2, batch_size=40, clip_norm=1.0)
    descent = Descent(problem(source, y), POINTS, solver)
    found = descent.run()
    assert len(piles_of(source, y).epoch(3, 0)) > 3
    epoch, batches = MiniBatches.epoch, piles_of(source, y)
    monkeypatch.setattr(MiniBatches, "epoch", lambda _, *words: epoch(batches, *words))
    monkeypatch.setattr("softgrad.descent.JUDGED", descent.judged)
    for a, b in zip(found, Descent(problem(X, y), POINTS, solver).run(), strict=True):
        assert a.coef.tobytes() == b.coef.tobytes()
        assert a.intercept.tobytes() == b.intercept.tobytes()
        assert (a.result.value, a.result.gradient_norm) == (b.result.value, b.result.gradient_norm)


def test_rows_that_fit_have_the_bits_of_memory(tmp_path):
    source, X, y = on_disk(tmp_path, limit=1 << 26)
    model = softgrad.SoftmaxClassifier(solver=SGD(epochs=2), random_state=1)
    assert model.fit(source, y).coef_.tobytes() == model.fit(X, y).coef_.tobytes()


def test_a_file_that_is_sorted_by_class_is_no_worse(tmp_path):
    X, y, _ = head(N=20_000, D=64)
    order = np.argsort(y, kind="stable")
    source = stream(write_pair(tmp_path, X[order], y[order]), memory_limit=1 << 20).X
    sgd = softgrad.SoftmaxClassifier(C=1e-3, solver=SGD(epochs=10))
    best = softgrad.SoftmaxClassifier(C=1e-3).fit(X.astype(np.float64), y)
    assert sgd.fit(source, y[order]).result_.value < 1.01 * best.result_.value
    assert sgd.score(source, y[order]) > best.score(X, y) - 0.01


def test_a_killed_training_goes_on_within_its_pile(tmp_path):
    source, _, y = on_disk(tmp_path)
    solver, file = SGD(epochs=2, batch_size=100), tmp_path / "state"
    whole = Descent(problem(source, y), POINTS, solver).run()

    def after(descent):
        if descent.done == 257:
            checkpoint.save(file, descent, checkpoint.identity(descent))
            raise KeyError

    descent = Descent(problem(source, y), POINTS, solver)
    descent.after = after
    with pytest.raises(KeyError):
        descent.run()
    again = Descent(problem(source, y), POINTS, solver)
    checkpoint.resume(file, again)
    for a, b in zip(again.run(), whole, strict=True):
        assert a.coef.tobytes() == b.coef.tobytes()
        assert a.result.value == b.result.value
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("softgrad-disk")]


def test_a_grid_holds_rows_of_the_file_out(tmp_path):
    """The same as with those rows apart: they are not trained on, and rank the trials."""
    source, X, y = on_disk(tmp_path, limit=1 << 26)
    held_out = np.random.default_rng(1).permutation(len(y))[:3000]
    train = np.setdiff1d(np.arange(len(y)), held_out)
    options = {"Cs": (1e-5, 1e-2), "solver": SGD(epochs=1)}
    apart = softgrad.stochastic.grid(X[train], y[train], X_val=X[np.sort(held_out)], y_val=y[np.sort(held_out)], **options)
    for rows in (source, X):
        trials = softgrad.stochastic.grid(rows, y, held_out=held_out, **options)
        for a, b in zip(trials, apart, strict=True):
            assert a.fit.coef.tobytes() == b.fit.coef.tobytes()
            assert (a.validation_accuracy, a.train_accuracy, a.number) == (b.validation_accuracy, b.train_accuracy, b.number)
            assert a.log_loss == pytest.approx(b.log_loss, rel=1e-12)


@pytest.mark.parametrize("bad", [[], [20_000], [-1], [0.5], np.zeros(20_000, bool)])
def test_rows_held_out_that_are_none(tmp_path, bad):
    _, X, y = on_disk(tmp_path)
    with pytest.raises(SoftgradError, match=r"grid\(held_out\): must be numbers of rows from 0 to 19999"):
        softgrad.stochastic.grid(X, y, held_out=bad)
    with pytest.raises(SoftgradError, match=r"grid\(held_out\): takes the place of X_val"):
        softgrad.stochastic.grid(X, y, held_out=[1], X_val=X, y_val=y)


def test_drawn_rows_of_memory_are_one_shuffle():
    batches = MiniBatches(Block(np.zeros((30, 2)), np.zeros(30, int), np.ones(30)), np.arange(30), np.zeros(2), 0.0)
    whole = np.concatenate(drawn_rows(batches.stream(7, 20, 5)))
    for first in (0, 1, 4, 5, 19):
        assert np.array_equal(np.concatenate(drawn_rows(batches.stream(7, 20, 5, first))), whole[7 * first :])
    assert np.array_equal(whole[:30], batches.epoch(5, 0)[0])


# ---- limits ---------------------------------------------------------------------------------------------------------


def test_mini_batches_that_do_not_fit(tmp_path):
    source, _, y = on_disk(tmp_path)
    with pytest.raises(SoftgradError, match=r"memory_limit: 16 mini-batches of 130000 bytes must fit.*lower batch_size"):
        softgrad.SoftmaxClassifier(solver=SGD(batch_size=500)).fit(source, y)


def test_nobody_waits_for_ever_when_the_rest_is_not_wanted(tmp_path):
    source, _, y = on_disk(tmp_path)
    drawn = piles_of(source, y).stream(100, 4000, 5)
    assert len(list(itertools.islice(drawn, 3))) == 3
    drawn.close()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("softgrad-disk")]


def test_a_file_that_changes_is_named(tmp_path):
    source, X, y = on_disk(tmp_path)

    def change(state):
        if state.passes == 1:
            write_pair(tmp_path, X, y)

    with pytest.raises(SoftgradError, match=r"X\.npy: the file must stay as it was"):
        softgrad.SoftmaxClassifier(solver=SGD(epochs=3, batch_size=100), callback=change).fit(source, y)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_value_that_is_no_number(tmp_path, bad):
    _, X, y = on_disk(tmp_path)
    X[700, 3] = bad
    source = replace(stream(write_pair(tmp_path, X, y)).X, memory_limit=1 << 20)
    with pytest.raises(SoftgradError, match="row 700, column 3"):
        softgrad.SoftmaxClassifier(solver=SGD(epochs=1, batch_size=100)).fit(source, y)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the peak of a process is read from /proc")
def test_the_memory_limit_is_kept(tmp_path):
    """Rows of three times the limit: the rise of the process's peak over what labels and libraries take stays below it."""
    N, limit = 100_000, 64 << 20
    labels = 100 * N  # the labels as numbers, weights, the order of an epoch
    assert rise_of_peak(tmp_path, N, "float16", limit, "softgrad.SoftmaxClassifier(solver=SGD(epochs=1.2)).fit(X, y)") < limit + labels
