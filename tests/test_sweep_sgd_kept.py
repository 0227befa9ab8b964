"""`softgrad sweep --solver sgd` that is killed, interrupted, resumed, watched on a terminal."""

import json
import os
import signal

import numpy as np
import pytest
from command import done, names_in, refused
from stopping import begun, lines_of, table_on_a_terminal, wait_for_lines, without_seconds

import softgrad

WORDS = ("--solver", "sgd", "--learning-rates", "1e-5,1e-3", "--Cs", "1e-4,0.01,1", "--cv", 3, "--batch-size", 8, "--iterations", 800)
LONG = (*WORDS, "--no-pictures", "--quiet")
posix = pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    folder = tmp_path_factory.mktemp("uninterrupted")
    done("sweep", "digits", *LONG, "--out", folder)
    return folder


def same(folder, uninterrupted):
    """The same model, table, lines and files; only seconds differ."""
    stored, fresh = (softgrad.load(place / "model.safetensors") for place in (folder, uninterrupted))
    assert stored.coef_.tobytes() == fresh.coef_.tobytes()
    assert stored.intercept_.tobytes() == fresh.intercept_.tobytes()
    assert without_seconds(lines_of(folder)) == without_seconds(lines_of(uninterrupted))
    tables = [json.loads((place / "sweep.json").read_text())["table"] for place in (folder, uninterrupted)]
    assert without_seconds(tables[0]) == without_seconds(tables[1])
    assert names_in(folder) == names_in(uninterrupted)


@posix
def test_killed_and_resumed_again_and_again(uninterrupted, tmp_path):
    """In the first fold, in the last one, and in the fit to all rows."""
    words, total, states = [], len(lines_of(uninterrupted)), []
    for share in (0.1, 0.75, 0.97):
        process = begun("digits", tmp_path, *LONG, *words)
        wait_for_lines(process, tmp_path, int(share * total))
        process.kill()
        process.communicate()
        states.append([name for name in names_in(tmp_path) if name.endswith(".ckpt")])
        with (tmp_path / "passes.jsonl").open("a") as file:
            file.write('{"learning_rate": 0.1, "C')  # as a kill within a write leaves it
        words = ["--resume"]
    folds = [f"sweep-fold-{j}.ckpt" for j in range(3)]
    assert states == [folds[:1], folds, [*folds, "sweep-refit.ckpt"]]
    assert "--resume" in refused("sweep", "digits", *LONG, "--out", tmp_path)
    done("sweep", "digits", *LONG, "--out", tmp_path, "--resume")
    same(tmp_path, uninterrupted)


@posix
def test_interrupted_with_the_best_so_far(uninterrupted, tmp_path):
    state = tmp_path / "state"
    process = begun("digits", tmp_path / "out", *LONG, "--checkpoint", state)
    wait_for_lines(process, tmp_path / "out", int(0.5 * len(lines_of(uninterrupted))))
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert "Traceback" not in err
    assert "best C" in out
    metrics = json.loads((tmp_path / "out" / "sweep.json").read_text())
    assert metrics["interrupted"]
    assert [row["status"] for row in metrics["table"]] == ["done"] * 6
    assert len(metrics["table"][0]["log_losses"]) == 1  # the fold that is complete
    model = softgrad.load(tmp_path / "out" / "model.safetensors")
    data = softgrad.data.load("digits")
    assert metrics["train_accuracy"] == model.score(data.X, data.y) > 0.9
    done("sweep", "digits", *LONG, "--out", tmp_path / "out", "--checkpoint", state, "--resume")
    assert names_in(state) == []
    same(tmp_path / "out", uninterrupted)


@posix
def test_interrupted_in_the_first_fold(uninterrupted, tmp_path):
    """All trials as they are, which for a hold-out is all there can be."""
    process = begun("digits", tmp_path, *LONG)
    wait_for_lines(process, tmp_path, int(0.1 * len(lines_of(uninterrupted))))
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    metrics = json.loads((tmp_path / "sweep.json").read_text())
    assert [row["status"] for row in metrics["table"]] == ["stopped"] * 6
    assert metrics["refit"]["status"] == "interrupted"
    assert metrics["test_accuracy"] > 0.5
    assert "stopped" in out
    done("sweep", "digits", *LONG, "--out", tmp_path, "--resume")
    same(tmp_path, uninterrupted)


@posix
def test_damaged_states_are_refused_by_name(uninterrupted, tmp_path):
    process = begun("digits", tmp_path, *LONG)
    wait_for_lines(process, tmp_path, int(0.5 * len(lines_of(uninterrupted))))
    process.kill()
    process.communicate()
    for name in ("sweep-fold-0.ckpt", "sweep-fold-1.ckpt"):
        state = tmp_path / name
        whole = state.read_bytes()
        altered = bytearray(whole)
        altered[-5] ^= 1
        for damaged in (whole[:-100], whole[:10], b"", bytes(altered)):
            state.write_bytes(damaged)
            assert str(state) in refused("sweep", "digits", *LONG, "--out", tmp_path, "--resume")
        state.write_bytes(whole)
    assert "same problem" in refused("sweep", "digits", *LONG, "--out", tmp_path, "--resume", "--momentum", 0.5)
    assert state.read_bytes() == whole


@posix
@pytest.mark.parametrize("solver", ["sgd", "lbfgs"])
def test_seconds_count_all_processes(tmp_path, solver):
    """A state that says a thousand seconds had passed: so many more are told."""
    words = ("--Cs", "1e-4,0.01", "--cv", 2, "--tol", 1e-6, "--no-pictures") if solver == "lbfgs" else LONG
    process = begun("digits", tmp_path, *words, "--quiet")
    wait_for_lines(process, tmp_path, 12)
    process.kill()
    process.communicate()
    [file] = tmp_path.glob("sweep*.ckpt")
    tensors, described = softgrad.model_file.read(file)
    numbers = json.loads(described["path"])
    numbers["seconds"] += 1000
    text = json.dumps(numbers)
    softgrad.model_file.write(file, tensors, {"path": text, "digest": softgrad.checkpoint._digest(tensors, text)})
    metrics = json.loads(done("sweep", "digits", *words, "--quiet", "--out", tmp_path, "--resume", "--json"))
    assert 1000 < metrics["seconds"] < 1500
    assert max(row["seconds"] for row in metrics["table"]) > 500 / 3


@pytest.mark.skipif(os.name != "posix", reason="terminals of POSIX")
def test_the_table_on_a_terminal(tmp_path):
    table_on_a_terminal("digits", *WORDS, "--no-pictures", folder=tmp_path, heading=b"\rlearning rate ", counts=(b"0/3", b"2/3"))


@pytest.mark.parametrize("solver", ["sgd", "lbfgs"])
def test_scores_by_name(tmp_path, solver):
    from sklearn.metrics import f1_score, log_loss

    words = ("--holdout", 0.2, "--no-pictures", "--scoring", "f1_macro", "--Cs", "1e-5,1e-3", "--solver", solver)
    metrics = json.loads(done("sweep", "digits", *words, "--json", "--out", tmp_path))
    assert metrics["scoring"] == "f1_macro"
    scores = [row["score"] for row in metrics["table"]]
    assert scores == sorted(scores, reverse=True)
    data = softgrad.data.load("digits")
    train, held_out = softgrad.data.split.stratified(data.y, 0.2, 1)
    X, y = data.X[train], data.y[train]
    for row in metrics["table"]:
        if solver == "sgd":
            [trial] = softgrad.stochastic.grid(X, y, Cs=(row["C"],))
            z = data.X[held_out] @ trial.fit.coef.T + trial.fit.intercept
        else:
            z = softgrad.SoftmaxClassifier(C=row["C"], tol=1e-7).fit(X, y).decision_function(data.X[held_out])
        assert row["scores"] == [pytest.approx(f1_score(data.y[held_out], z.argmax(axis=1), average="macro"), abs=0.01)]
        assert row["log_losses"] == [pytest.approx(log_loss(data.y[held_out], softgrad.softmax(z)), rel=0.01)]
    assert "f1_macro, held out" in done("sweep", "digits", *words, "--out", tmp_path)


def test_a_score_that_these_labels_do_not_have(tmp_path):
    words = ("--cv", 2, "--Cs", 0.01, "--scoring", "roc_auc")
    assert "scoring: " in refused("sweep", "digits", *words, cwd=tmp_path)


def test_a_scorer_that_is_none(capfd):
    from command import misspelt

    misspelt("sweep", ["--scoring", "f2"], capfd)


@pytest.mark.parametrize("solver", ["sgd", "lbfgs"])
def test_rows_on_disk_are_swept_like_rows_in_memory(tmp_path, solver):
    rng = np.random.default_rng(3)
    X, W = rng.normal(size=(1200, 20)).astype(np.float32), rng.normal(size=(3, 20))
    y = (X @ W.T + rng.gumbel(size=(1200, 3))).argmax(axis=1)
    for name, rows in (("train", slice(1000)), ("test", slice(1000, None))):
        np.save(tmp_path / f"X_{name}.npy", X[rows])
        np.save(tmp_path / f"y_{name}.npy", y[rows])
    np.savez(tmp_path / "all.npz", X=X[:1000], y=y[:1000], X_test=X[1000:], y_test=y[1000:])
    words = ("--Cs", "1e-3,0.1", "--cv", 3, "--solver", solver, "--scoring", "balanced_accuracy", "--no-pictures", "--json")
    disk = json.loads(done("sweep", tmp_path / "X_train.npy", *words, "--memory-limit", "2MiB", "--out", tmp_path / "disk"))
    memory = json.loads(done("sweep", tmp_path / "all.npz", *words, "--out", tmp_path / "memory"))
    assert without_seconds(disk["table"]) == without_seconds(memory["table"])
    models = [softgrad.load(tmp_path / name / "model.safetensors") for name in ("disk", "memory")]
    assert models[0].coef_.tobytes() == models[1].coef_.tobytes()
