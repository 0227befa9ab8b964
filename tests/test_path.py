"""Lanes in shared passes find what each problem finds alone; a path that was killed goes on to the same bits."""

import json
from dataclasses import replace

import numpy as np
import pytest
import scipy.sparse as sp
from sklearn.datasets import load_wine

from softgrad import SoftgradError, checkpoint, kernels, precondition, threads, training
from softgrad.blocks.block import Block
from softgrad.kernels.fused import Head
from softgrad.kernels.tiled import Tiled
from softgrad.losses import cross_entropy
from softgrad.path import Path
from softgrad.solvers.lbfgs import LBFGS, Search
from softgrad.training import Problem

SOLVER = LBFGS(tol=1e-8, max_iter=1000)
STRENGTHS = (1.0, 0.1, 0.01)


def problem(n=120, d=6, C=3, seed=0, kind=np.float64, loss=None, **changes):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, d)) @ rng.normal(size=(d, d)) + 2
    y = (X @ rng.normal(size=(d, C)) + 2 * rng.normal(size=(n, C))).argmax(axis=1)
    y[: 4 * C] = np.arange(4 * C) % C  # every class in every fold: without one, the optimum is at infinity
    X = np.clip(16 * X + 128, 0, 255).astype(np.uint8) if kind == np.uint8 else X.astype(kind)
    given = Problem(X, y.astype(np.int64), rng.uniform(0.5, 2, n), C, loss or cross_entropy(), 0.0, True, 0)
    return replace(given, **changes)


def folds(p, F):
    """R (N, F), each fold without every F-th row, and l2 (K, F)."""
    R = np.repeat(p.r[:, None], F, axis=1)
    for j in range(F):
        R[j::F, j] = 0 if F > 1 else p.r[j::F]
    return R, np.repeat(np.array(STRENGTHS)[:, None], F, axis=1)


def walked(p, F=3, solver=SOLVER, **parts):
    path = Path(p, *folds(p, F), solver, **parts)
    path.run()
    return path


def same_bits(a, b):
    return a.fits.keys() == b.fits.keys() and all(
        np.array_equal(a.fits[k].coef, b.fits[k].coef) and np.array_equal(a.fits[k].intercept, b.fits[k].intercept) for k in a.fits
    )


CASES = {
    "dense": {},
    "sparse": {"sparse": True},
    "few rows": {"n": 30, "d": 50},
    "without intercept": {"fit_intercept": False},
    "smoothed": {"loss": cross_entropy(label_smoothing=0.1, temperature=2.0)},
    "two classes": {"C": 2},
    "many classes": {"C": 40, "n": 400},
}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("F", [1, 3])
def test_every_lane_finds_what_a_fit_of_its_own_finds(case, F):
    options = dict(CASES[case])
    sparse = options.pop("sparse", False)
    p = problem(**options)
    p = replace(p, X=sp.csr_array(p.X)) if sparse else p
    path = walked(p, F)
    R, l2 = folds(p, F)
    for (k, j), found in path.fits.items():
        assert found.result.converged
        alone = training.fit(replace(p, r=R[:, j], l2=float(l2[k, j])), SOLVER)
        assert found.result.value == pytest.approx(alone.result.value, rel=1e-12)
        assert np.allclose(found.coef, alone.coef, rtol=0, atol=2e-6)
    assert len(path.fits) == len(STRENGTHS) * F


@pytest.mark.parametrize("kind", [np.float32, np.float16, np.uint8])
def test_narrow_rows_are_computed_in_float32(kind):
    p, solver = problem(n=600, kind=kind), LBFGS(tol=1e-4, max_iter=500)
    wide = replace(p, X=p.X.astype(np.float64))
    for key, found in walked(p, solver=solver).fits.items():
        assert found.result.value == pytest.approx(walked(wide).fits[key].result.value, rel=1e-4)


def test_lanes_share_passes_and_begin_where_the_stronger_ended():
    path = walked(problem(n=400))
    each = sum(fit.result.passes for fit in path.fits.values())
    assert path.passes < 0.5 * each
    cold = sum(training.fit(replace(problem(n=400), l2=l2), SOLVER).result.passes for l2 in STRENGTHS)
    assert sum(fit.result.passes for (_, j), fit in path.fits.items() if j == 0) < cold


def documents(n=400, D=400, C=15):
    """Sparse rows as of short texts: a few frequent words, many rare ones, lengths 1; weaker and weaker strengths tell all rows apart."""
    rng = np.random.default_rng(71)
    y, zipf = rng.integers(0, C, n), 1 / np.arange(1, D + 1)
    words = np.stack([rng.permutation(zipf) + zipf for _ in range(C)])
    X = np.stack([rng.multinomial(12, words[c] / words[c].sum()) for c in y]) * (np.log(n) + np.log(zipf)[::-1])
    X /= np.linalg.norm(X, axis=1, keepdims=True)
    return Problem(sp.csr_array(X), y, np.ones(n), C, cross_entropy(), 0.0, True, 0)


def test_a_diagonal_that_follows_the_loss_saves_passes(monkeypatch):
    monkeypatch.setattr(training, "SPARSE_GRAM_FEATURES", 0)
    p, l2, solver = documents(), np.logspace(-2, -7, 6)[:, None], LBFGS(tol=1e-4, gap=1e-6, memory=8)
    p = replace(p, loss=cross_entropy(temperature=2.0))  # without one, Newton steps take its place
    paths = [Path(p, p.r[:, None], l2, solver) for _ in range(2)]
    paths[0].run()
    monkeypatch.setattr(precondition.Following, "update", lambda *_: False)
    paths[1].run()
    assert paths[0].passes < 0.8 * paths[1].passes
    for key, found in paths[0].fits.items():
        assert found.result.value == pytest.approx(paths[1].fits[key].result.value, rel=5e-4)


@pytest.mark.parametrize("changes", [{}, {"fit_intercept": False}, {"loss": cross_entropy(class_weight=np.linspace(0.2, 3, 15))}])
def test_newton_steps_end_nearer_to_the_optimum_in_fewer_passes(monkeypatch, changes):
    monkeypatch.setattr(training, "SPARSE_GRAM_FEATURES", 0)
    p, l2, solver = replace(documents(), **changes), np.logspace(-2, -7, 6)[:, None], LBFGS(tol=1e-4, gap=1e-5)
    newton, best = (Path(p, p.r[:, None], l2, solver) for solver in (solver, LBFGS(tol=1e-9, max_iter=5000)))
    newton.run()
    best.run()
    assert {type(newton.metric(k, 0)) for k in range(6)} == {precondition.Newton}
    monkeypatch.setattr(training, "Newton", lambda shares, objective, gap: precondition.Following(shares, objective, np.log(15)))
    pairs = Path(p, p.r[:, None], l2, solver)
    pairs.run()
    assert newton.passes < 0.5 * pairs.passes
    gaps = []
    for path in (newton, pairs):
        assert all(found.result.converged for found in path.fits.values())
        lowest = {key: found.result.value for key, found in best.fits.items()}
        gaps.append(max((found.result.value - lowest[key]) / max(lowest[key], 0.01) for key, found in path.fits.items()))
    assert gaps[0] < min(3e-5, 0.6 * gaps[1])


def test_a_lane_goes_on_where_the_last_two_strengths_lead(monkeypatch):
    monkeypatch.setattr(training, "SPARSE_GRAM_FEATURES", 0)
    p, l2, solver = documents(), np.logspace(-2, -7, 6)[:, None], LBFGS(tol=1e-4, gap=1e-5)
    told = []
    with_it = Path(p, p.r[:, None], l2, solver, callback=told.append)
    with_it.run()
    assert [state.value for state in told if state.k == 4] == [state.value for state in with_it.fits[4, 0].result.trace]
    monkeypatch.setattr(Path, "goes_on", lambda *_: False)
    without = Path(p, p.r[:, None], l2, solver)
    without.run()
    assert with_it.passes < without.passes
    for k in (3, 4, 5):  # where W grows like log C; under stronger penalties it grows like C, and less is foretold than is there
        assert with_it.fits[k, 0].result.trace[1].value < without.fits[k, 0].result.trace[1].value


def test_strengths_that_are_alike_foretell_nothing(monkeypatch):
    monkeypatch.setattr(training, "SPARSE_GRAM_FEATURES", 0)
    p = documents()
    path = Path(p, p.r[:, None], np.array([1e-2, 1e-2, 1e-4, 1e-4])[:, None], LBFGS(tol=1e-4, gap=1e-5))
    path.run()
    assert path.fits[0, 0].result.value == pytest.approx(path.fits[1, 0].result.value, rel=1e-5)
    assert path.fits[2, 0].result.value == pytest.approx(path.fits[3, 0].result.value, rel=1e-5)


@pytest.mark.parametrize("gap", [np.inf, 1e-7])
@pytest.mark.parametrize("sparse", [False, True])
def test_lanes_whose_metrics_are_their_own_go_on_to_the_same_bits(tmp_path, monkeypatch, sparse, gap):
    """Long vectors, as they seem: on threads of their own, killed in the middle."""
    for name in ("GRAM_FEATURES", "SPARSE_GRAM_FEATURES"):
        monkeypatch.setattr(training, name, 0)
    monkeypatch.setattr("softgrad.path.PIECE", 8)
    monkeypatch.setattr("softgrad.kernels.fused.SHORT", 0)
    p, file = problem(n=200, C=4), tmp_path / "state"
    p, solver = replace(p, X=sp.csr_array(p.X)) if sparse else p, LBFGS(tol=1e-6, max_iter=1000, gap=gap)
    with threads.limit(1):
        whole = walked(p, solver=solver)
    killed = killed_after(whole.passes // 2, file, p, solver=solver)
    assert len({key[1] for key in killed.metrics}) == 3
    path = Path(p, *folds(p, 3), solver)
    checkpoint.resume(file, path)
    with threads.limit(3):
        path.run()
    assert same_bits(path, whole)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("soft", [False, True])
def test_several_heads_in_one_product_give_what_each_gives_alone(dtype, soft):
    rng = np.random.default_rng(4)
    n, D, C, P = 300, 7, 5, 9
    y = rng.dirichlet(np.ones(C), n) if soft else rng.integers(0, C, n)
    R = rng.uniform(0, 1, (n, 3)) * (rng.uniform(size=(n, 3)) > 0.3)
    R[:4] = 0
    X = rng.normal(size=(n, D)).astype(dtype)
    X[:4] = np.nan  # counts for nobody: never read
    heads = [Head(rng.normal(size=(C, D)).astype(dtype), rng.normal(size=C).astype(dtype), p % 3, 0.5 + p) for p in range(P)]
    loss, block = cross_entropy(label_smoothing=0.2), Block(X, y, R)
    for (value, G, g), head in zip(Tiled().several(block, loss, heads), heads, strict=True):
        one = Block(X, y, np.ascontiguousarray(R[:, head.fold]))
        expected, G1, g1 = Tiled().sums(one, loss, head.coef, head.intercept, head.scale)
        close = {"rtol": 0, "atol": 2e3 * np.finfo(dtype).eps}
        assert value == pytest.approx(expected, rel=100 * float(np.finfo(dtype).eps))
        assert np.allclose(G, G1, **close)
        assert np.allclose(g, g1, **close)


def test_the_product_is_chosen_where_heads_are_many():
    X = np.zeros((2, 3))
    assert kernels.choose(X, 10, cross_entropy(), 8).name == "tiled"
    assert kernels.choose(sp.csr_array(X), 10, cross_entropy(), 8).name == kernels.choose(sp.csr_array(X), 10, cross_entropy()).name


@pytest.mark.parametrize("shape", [{"C": 3}, {"C": 40, "n": 500}, {"n": 30, "d": 50}])
def test_the_same_bits_for_every_number_of_threads(shape):
    paths = []
    for n in (1, 2, 3):
        with threads.limit(n):
            paths.append(walked(problem(**shape)))
    assert same_bits(paths[0], paths[1])
    assert same_bits(paths[0], paths[2])


def test_weaker_strengths_are_left_out_when_nobody_wants_them():
    path = walked(problem(), ended=lambda k: k < 1)
    assert path.last == 1
    assert {k for k, _ in path.fits} <= {0, 1}


def test_callbacks_hear_of_every_step_of_every_lane():
    heard = []
    path = walked(problem(), callback=heard.append)
    for (k, j), fit in path.fits.items():
        mine = [state for state in heard if (state.k, state.j) == (k, j)]
        assert [state.value for state in mine] == [state.value for state in fit.result.trace]


def test_an_interrupt_keeps_what_is_complete():
    def stop(path):
        if path.last >= 0:
            raise KeyboardInterrupt

    path = walked(problem(), after=stop)
    assert path.interrupted
    assert path.last >= 0
    with pytest.raises(KeyboardInterrupt):
        walked(problem(), ended=lambda k: True, after=lambda path: (_ for _ in ()).throw(KeyboardInterrupt))


@pytest.mark.parametrize("missing", [0, 2])
def test_a_fold_without_a_class_ends_at_the_precision_of_its_values(missing):
    """Its optimum is at infinity: intercepts on the way there are large, and values rounded by them."""
    X, y = load_wine(return_X_y=True)
    R = np.stack([(y != missing).astype(float), np.ones(len(y))], axis=1)
    l2 = 1 / (np.logspace(-4, 4, 6)[:4, None] * R.sum(axis=0))
    path = Path(Problem(X, y, R.max(axis=1), 3, cross_entropy(), 0.0, True, 0), R, l2, LBFGS(tol=1e-8, max_iter=1000))
    path.run()
    assert {fit.result.status.converged for fit in path.fits.values()} == {True}
    for k in range(4):
        rest = y != missing
        alone = Problem(X[rest], np.unique(y[rest], return_inverse=True)[1], np.ones(rest.sum()), 2, cross_entropy(), l2[k, 0], True, 0)
        assert path.fits[k, 0].result.value == pytest.approx(training.fit(alone, SOLVER).result.value, rel=1e-5)


class Killed(Exception):
    pass


def killed_after(n, file, p, F=3, solver=SOLVER):
    """A path that dies after n passes, just after it was saved."""

    def after(path):
        if path.passes == n:
            checkpoint.save(file, path, checkpoint.identity(path))
            raise Killed

    path = Path(p, *folds(p, F), solver, after=after)
    with pytest.raises(Killed):
        path.run()
    return path


@pytest.mark.parametrize("options", [{}, {"n": 30, "d": 50}, {"C": 40, "n": 400}], ids=["dense", "few rows", "many classes"])
def test_a_killed_path_goes_on_to_the_same_bits(tmp_path, options):
    p, file = problem(**options), tmp_path / "state"
    whole = walked(p)
    for n in sorted({1, 5, whole.passes // 2, whole.passes - 1}):
        killed_after(n, file, p)
        path = Path(p, *folds(p, 3), SOLVER)
        checkpoint.resume(file, path)
        assert path.passes == n
        path.run()
        assert same_bits(path, whole)
        assert path.passes == whole.passes
        told = [[state.value for state in path.fits[key].result.trace] for key in whole.fits]
        assert told == [[state.value for state in fit.result.trace] for fit in whole.fits.values()]


@pytest.mark.parametrize("begun", [False, True])
def test_another_metric_solves_what_a_run_remembers_anew(begun):
    """In the middle of a run, and of one that has begun with the pairs of the stronger strength."""
    p, runs = problem(n=400), []
    path = Path(p, *folds(p, 1), SOLVER, after=lambda path: runs.extend(path.lanes[0].run for _ in range(path.passes == 9)))
    path.run()
    run, g = runs[0], np.linspace(-1, 1, len(runs[0].at.theta))
    assert len(run.pairs.kept) > 2
    run.line = None if begun else run.line
    metric = precondition.Diagonal(path.of_fold[0], np.ones((3, 6)) * np.arange(1, 7), np.ones(3))
    run.renew(metric)
    assert all(np.array_equal(pair.v, *metric.solve([pair.y])) for pair in run.pairs.kept)
    assert begun or np.array_equal(run.solved, *metric.solve([run.line.at.gradient]))
    assert np.isfinite(run.pairs.direction(g, *metric.solve([g]))).all()


def test_a_bought_hessian_is_bought_again(tmp_path, monkeypatch):
    from softgrad import precondition

    monkeypatch.setattr(precondition.Staged, "hessian_seconds", lambda _: 3 * precondition.PASS_START)
    p, file = problem(n=400), tmp_path / "state"
    whole = walked(p)
    killed_after(whole.passes // 2, file, p)
    path = Path(p, *folds(p, 3), SOLVER)
    checkpoint.resume(file, path)
    assert any(metric.bought is not None for metric in path.metrics.values())
    path.run()
    assert same_bits(path, whole)


def test_a_search_in_the_middle_of_a_line_goes_on(tmp_path):
    """Saved after a trial that was too long, when the lane still waits for the next one."""
    p, file, solver = problem(n=200, seed=3), tmp_path / "state", LBFGS(tol=1e-8, max_iter=1000, search=Search(c1=0.45, c2=0.46))
    whole, middle = Path(p, *folds(p, 3), solver), []
    whole.after = lambda path: middle.extend([path.passes] if any(lane.run.line.trials for lane in path.lanes) else [])
    whole.run()
    assert middle
    for n in middle[:2]:
        killed_after(n, file, p, solver=solver)
        path = Path(p, *folds(p, 3), solver)
        checkpoint.resume(file, path)
        path.run()
        assert same_bits(path, whole)


def test_a_damaged_checkpoint_is_refused_by_name(tmp_path):
    p, file = problem(), tmp_path / "state.ckpt"
    killed_after(4, file, p)
    data = file.read_bytes()
    flipped = data[:-9] + bytes([data[-9] ^ 1]) + data[-8:]
    for damage in (data[:-1], data[: len(data) // 2], b"", flipped, data.replace(b"passes", b"posses", 1)):
        file.write_bytes(damage)
        with pytest.raises(SoftgradError, match=r"state\.ckpt"):
            checkpoint.resume(file, Path(p, *folds(p, 3), SOLVER))


@pytest.mark.parametrize("other", [{"seed": 1}, {"loss": cross_entropy(label_smoothing=0.1)}, {"fit_intercept": False}])
def test_a_checkpoint_of_another_problem_is_refused(tmp_path, other):
    file = tmp_path / "state"
    killed_after(3, file, problem())
    p = problem(**other)
    with pytest.raises(SoftgradError, match="same problem"):
        checkpoint.resume(file, Path(p, *folds(p, 3), SOLVER))


def test_a_disk_that_is_full_leaves_the_last_good_checkpoint(tmp_path, monkeypatch):
    p, file = problem(), tmp_path / "state"
    killed_after(3, file, p)
    before = file.read_bytes()

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    path = Path(p, *folds(p, 3), SOLVER, after=checkpoint.Keeper(file))
    with pytest.raises(OSError, match="No space"):
        path.run()
    assert file.read_bytes() == before
    assert [entry.name for entry in tmp_path.iterdir()] == ["state"]


def test_saving_takes_its_share_of_the_time_only(tmp_path):
    path = Path(problem(), *folds(problem(), 3), SOLVER)
    keeper, saved = checkpoint.Keeper(tmp_path / "state"), []

    def after(path):
        keeper(path)
        saved.append(keeper.saved)

    path.after = after
    path.run()
    assert len(set(saved)) < path.passes
    described = json.loads(checkpoint.model_file.read(tmp_path / "state")[1]["path"])
    assert described["passes"] == path.passes
    assert described["lanes"] == []
