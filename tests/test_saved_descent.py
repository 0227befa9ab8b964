"""Stochastic trainings that are killed and go on: the same bits, whatever is trained and wherever it was stopped."""

import json
import warnings

import numpy as np
import pytest
from sklearn.datasets import load_digits
from sklearn.exceptions import ConvergenceWarning
from trainings import RULES, problem

import softgrad
from softgrad import SoftgradError, checkpoint
from softgrad.descent import Descent, Point
from softgrad.losses import TopK, compose
from softgrad.solvers import SGD, Geometric
from softgrad.solvers.solver import Status

POINTS = [Point(0.01), Point(0.1, 0.05, 2.0), Point(0.1, 1e4), Point(0.0, 0.02)]  # the third diverges


class Killed(Exception):
    pass


def killed_after(n, file, p, points=POINTS, solver=None):
    """A training that dies after n steps, just after it was saved."""

    def after(descent):
        if descent.done == n:
            checkpoint.save(file, descent, checkpoint.identity(descent))
            raise Killed

    descent = Descent(p, points, solver)
    descent.after = after
    with pytest.raises(Killed):
        descent.run()


def resumed(file, p, points=POINTS, solver=None):
    descent = Descent(p, points, solver)
    checkpoint.resume(file, descent)
    return descent


def same_bits(found, whole):
    for a, b in zip(found, whole, strict=True):
        assert a.coef.tobytes() == b.coef.tobytes()
        assert a.intercept.tobytes() == b.intercept.tobytes()
        assert (a.result.status, a.result.value, a.result.stride) == (b.result.status, b.result.value, b.result.stride)
        assert [(s.passes, s.iteration, s.value, s.gradient_norm) for s in a.result.trace] == [
            (s.passes, s.iteration, s.value, s.gradient_norm) for s in b.result.trace
        ]


CASES = {
    **{name: ({"dtype": "float32"}, {"rule": rule}) for name, rule in RULES.items()},
    "average, clipping, temperature": ({}, {"clip_norm": 0.3, "average": 0.7, "temperature_schedule": Geometric(3, 1)}),
    "sparse": ({"dtype": "csr float64"}, {"average": True}),
    "mining": ({"loss": compose(TopK(5))}, {"clip_norm": 1.0}),
    "many classes": ({"n": 120, "d": 30, "C": 40}, {}),
}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("cut", [False, True], ids=["one group", "groups"])
def test_a_killed_training_goes_on_to_the_same_bits(tmp_path, monkeypatch, case, cut):
    if cut:
        monkeypatch.setattr("softgrad.heads.WORK", 1e2)
        monkeypatch.setattr("softgrad.heads.WIDE", 8)
    options, parts = CASES[case]
    p, solver, file = problem(**options), SGD(batch_size=16, epochs=5, **parts), tmp_path / "state"
    whole = Descent(p, POINTS, solver).run()
    assert {one.result.status for one in whole} == {Status.ITERATIONS, Status.DIVERGED}
    steps = solver.steps(len(p.y))
    for n in (1, 5, steps // 2, steps):
        killed_after(n, file, p, solver=solver)
        descent = resumed(file, p, solver=solver)
        assert descent.done == n
        same_bits(descent.run(), whole)


def test_what_is_done_is_not_done_again(tmp_path):
    p, solver, file = problem(), SGD(batch_size=16, epochs=3), tmp_path / "state"
    descent = Descent(p, POINTS, solver)
    checkpoint.keep(file, descent, resumed=False)
    whole = descent.run()
    again = Descent(p, POINTS, solver)
    checkpoint.keep(file, again, resumed=True)
    again.step = None  # nobody calls it
    same_bits(again.run(), whole)


def test_saving_takes_its_share_of_the_time_only(tmp_path, monkeypatch):
    """The clock runs a second for each step and saving takes two: one save at first, one after each 200 seconds, one at the end."""
    descent, saved = Descent(problem(), POINTS[:1], SGD(batch_size=4, iterations=900)), []
    clock = [0.0]
    monkeypatch.setattr("softgrad.checkpoint.time.perf_counter", lambda: clock[0])

    def save(file, run, belongs):
        clock[0] += 2
        saved.append(run.done)

    monkeypatch.setattr(checkpoint, "save", save)
    checkpoint.keep(tmp_path / "state", descent, resumed=False)
    keeper = descent.after

    def after(run):
        clock[0] += 1
        keeper(run)

    descent.after = after
    descent.run()
    assert saved == [1, 201, 401, 601, 801, 900]


def test_a_damaged_file_is_refused_by_name(tmp_path):
    p, file, solver = problem(), tmp_path / "state.ckpt", SGD(batch_size=16, epochs=2)
    killed_after(4, file, p, solver=solver)
    data = file.read_bytes()
    flipped = data[:-9] + bytes([data[-9] ^ 1]) + data[-8:]
    for damage in (data[:-1], data[: len(data) // 2], b"", flipped, data.replace(b"summed", b"sommed", 1)):
        file.write_bytes(damage)
        with pytest.raises(SoftgradError, match=r"state\.ckpt"):
            resumed(file, p, solver=solver)


OTHERS = {
    "seed": ({"seed": 1}, {}, POINTS),
    "solver": ({}, {"momentum": 0.5}, POINTS),
    "points": ({}, {}, POINTS[:3]),
    "weights": ({"r": np.linspace(0.5, 1, 60)}, {}, POINTS),
    "intercept": ({"fit_intercept": False}, {}, POINTS),
}


@pytest.mark.parametrize("other", OTHERS)
def test_a_file_of_another_training_is_refused(tmp_path, other):
    file = tmp_path / "state"
    killed_after(3, file, problem(), solver=SGD(batch_size=16, epochs=2))
    options, parts, points = OTHERS[other]
    with pytest.raises(SoftgradError, match="same problem"):
        resumed(file, problem(**options), points, SGD(batch_size=16, epochs=2, **parts))


def test_a_full_disk_leaves_the_last_good_file(tmp_path, monkeypatch):
    p, file, solver = problem(), tmp_path / "state", SGD(batch_size=16, epochs=2)
    killed_after(3, file, p, solver=solver)
    before = file.read_bytes()

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    descent = Descent(p, POINTS, solver)
    checkpoint.keep(file, descent, resumed=True)
    with pytest.raises(OSError, match="No space"):
        descent.run()
    assert file.read_bytes() == before
    assert [entry.name for entry in tmp_path.iterdir()] == ["state"]


# ---- users ----------------------------------------------------------------------------------------------------------


def stop_after(passes, error):
    """A callback that raises once."""
    raised = []

    def stop(*words):
        if words[-1].passes == passes and not raised:
            raised.append(True)
            raise error

    return stop


@pytest.mark.parametrize("C", [2, 5])
def test_a_classifier_goes_on(tmp_path, C):
    X, y = load_digits(n_class=C, return_X_y=True)
    options = {"solver": SGD(epochs=6, batch_size=50), "random_state": 3}
    whole = softgrad.SoftmaxClassifier(**options).fit(X, y)
    with pytest.raises(Killed):
        softgrad.SoftmaxClassifier(checkpoint=tmp_path / "state", callback=stop_after(4, Killed), **options).fit(X, y)
    steps = json.loads(checkpoint.model_file.read(tmp_path / "state")[1]["path"])["done"]
    assert steps > 0
    model = softgrad.SoftmaxClassifier(checkpoint=tmp_path / "state", resume=True, **options).fit(X, y)
    assert model.coef_.tobytes() == whole.coef_.tobytes()
    assert model.loss_curve_ == whole.loss_curve_


def test_an_interrupt_ends_with_what_was_reached():
    X, y = load_digits(return_X_y=True)
    solver = SGD(epochs=30, average=0.5)
    with pytest.warns(ConvergenceWarning, match="interrupted"):
        model = softgrad.SoftmaxClassifier(solver=solver, callback=stop_after(5, KeyboardInterrupt)).fit(X, y)
    assert model.result_.status is Status.INTERRUPTED
    assert model.result_.iterations < solver.steps(len(y)) / 5
    assert model.score(X, y) > 0.9
    value = softgrad.linear_value_and_grad(X, y, model.coef_, model.intercept_, l2=1 / len(y))[0]
    assert model.result_.value == pytest.approx(value)


def test_an_interrupt_before_the_first_step_is_one(monkeypatch):
    X, y = load_digits(return_X_y=True)

    def stop(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(Descent, "step", stop)
    with pytest.raises(KeyboardInterrupt):
        softgrad.SoftmaxClassifier(solver=SGD(epochs=3)).fit(X, y)


def test_a_grid_is_interrupted_and_goes_on(tmp_path):
    X, y = load_digits(return_X_y=True)
    options = {"learning_rates": (1e-3, 1e-4), "regs": (0.1, 1.0), "solver": SGD(epochs=8), "seed": 2}
    whole = softgrad.stochastic.grid(X, y, **options)
    file = tmp_path / "state"
    stopped = softgrad.stochastic.grid(X, y, checkpoint=file, callback=stop_after(3, KeyboardInterrupt), **options)
    assert {trial.status for trial in stopped} == {Status.INTERRUPTED}
    assert min(trial.train_accuracy for trial in stopped) > 0.8
    trials = softgrad.stochastic.grid(X, y, checkpoint=file, resume=True, **options)
    same_bits([trial.fit for trial in trials], [trial.fit for trial in whole])


def test_a_checkpoint_is_for_sgd(tmp_path):
    X, y = load_digits(return_X_y=True)
    with pytest.raises(SoftgradError, match=r"SoftmaxClassifier\(checkpoint\): keeps the state of a training by SGD"):
        softgrad.SoftmaxClassifier(checkpoint=tmp_path / "state").fit(X, y)


def test_resume_begins_anew_where_there_is_no_file(tmp_path):
    X, y = load_digits(return_X_y=True)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model = softgrad.SoftmaxClassifier(solver=SGD(epochs=1), checkpoint=tmp_path / "state", resume=True).fit(X, y)
    assert model.result_.status is Status.ITERATIONS
    assert (tmp_path / "state").exists()
