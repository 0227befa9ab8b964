"""`softgrad sweep` as its users run it: numbers against single fits, files, kills, bad calls."""

import json
import os
import signal
import struct
import subprocess
import sys

import numpy as np
import pytest
from command import done, misspelt, names_in, refused, start, write_cifar
from sklearn.metrics import log_loss
from sklearn.model_selection import StratifiedKFold
from stopping import begun, lines_of, table_on_a_terminal, wait_for_lines, without_seconds

import softgrad
from softgrad.report.folds import fold_accuracies

CS = "0.001,0.01,0.1"
PICTURES = ["confusion.png", "loss_curve.png", "sweep.png", "templates.png"]
FILES = ["confusion.csv", "loss_curve.csv", "model.safetensors", "passes.jsonl", "sweep.json"]


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    folder = tmp_path_factory.mktemp("digits") / "deep" / "sweep"
    return folder, json.loads(done("sweep", "digits", "--Cs", CS, "--cv", 3, "--json", "--out", folder))


@pytest.fixture(scope="module")
def problem(tmp_path_factory):
    """A data set whose sweep takes some hundred passes, with ill-scaled features."""
    rng = np.random.default_rng(21)
    X = rng.normal(size=(1500, 60)) * np.logspace(0, 2, 60)
    y = (X / np.logspace(0, 2, 60) @ rng.normal(size=(60, 4)) + rng.gumbel(size=(1500, 4))).argmax(axis=1)
    path = tmp_path_factory.mktemp("problem") / "problem.npz"
    np.savez(path, X=X, y=y)
    return path


# ---- what comes out -------------------------------------------------------------------------------------------------


def test_files_and_json(digits):
    folder, metrics = digits
    assert names_in(folder) == sorted([*FILES, *PICTURES])
    assert json.loads((folder / "sweep.json").read_text()) == metrics
    width, height = struct.unpack(">II", (folder / "sweep.png").read_bytes()[16:24])
    assert 1000 < width < 2000
    assert 400 < height < 1000
    assert metrics["chosen"] == metrics["table"][0]
    losses = [row["log_loss"] for row in metrics["table"]]
    assert losses == sorted(losses)
    assert {row["C"] for row in metrics["table"]} == {0.001, 0.01, 0.1}
    assert metrics["versions"]["softgrad"] == softgrad.__version__


def test_numbers_are_those_of_single_fits(digits):
    _, metrics = digits
    data = softgrad.data.load("digits")
    folds = list(StratifiedKFold(3, shuffle=True, random_state=0).split(data.X, data.y))
    for row in metrics["table"]:
        for j, (train, held_out) in enumerate(folds):
            peer = softgrad.SoftmaxClassifier(C=row["C"], tol=1e-7).fit(data.X[train], data.y[train])
            assert row["log_losses"][j] == pytest.approx(log_loss(data.y[held_out], peer.predict_proba(data.X[held_out])), rel=3e-3)
            assert row["validation_accuracies"][j] == pytest.approx(peer.score(data.X[held_out], data.y[held_out]), abs=0.005)
        assert row["log_loss"] == pytest.approx(np.mean(row["log_losses"]))
        assert row["log_loss_spread"] == pytest.approx(np.std(row["log_losses"]))
        assert row["validation_accuracy"] == pytest.approx(np.mean(row["validation_accuracies"]))
        assert row["train_accuracy"] >= row["validation_accuracy"]


def test_the_best_is_refitted_and_judged(digits):
    folder, metrics = digits
    data, stored = softgrad.data.load("digits"), softgrad.load(folder / "model.safetensors")
    fresh = softgrad.SoftmaxClassifier(C=metrics["chosen"]["C"]).fit(data.X, data.y)
    np.testing.assert_allclose(stored.predict_proba(data.X_test), fresh.predict_proba(data.X_test), atol=5e-3)
    assert metrics["test_accuracy"] == stored.score(data.X_test, data.y_test)
    assert metrics["test_log_loss"] == pytest.approx(log_loss(data.y_test, stored.predict_proba(data.X_test)))
    told = json.loads(done("evaluate", folder, "digits", "--json"))
    assert told["accuracy"] == metrics["test_accuracy"]


def test_a_line_for_each_pass(digits):
    folder, metrics = digits
    lines = lines_of(folder)
    assert len({(line["C"], line["fold"], line["pass"]) for line in lines}) == len(lines)
    for row in metrics["table"]:
        for j in range(3):
            passes = [line["pass"] for line in lines if (line["C"], line["fold"]) == (row["C"], j)]
            assert passes == sorted(passes)
    refit = [line for line in lines if line["fold"] is None]
    assert refit[-1]["loss"] == metrics["refit"]["loss"]
    assert lines[0]["loss"] == pytest.approx(np.log(10))


def test_scaled_images_and_a_holdout(tmp_path):
    source = write_cifar(tmp_path / "bin")
    text = done("sweep", source, "--Cs", "0.001,0.1", "--holdout", 0.25, "--out", tmp_path / "out")
    head, *rows = text.split("\n\n")[0].splitlines()
    assert head.split()[0] == "C"
    assert len(rows) == 2
    assert "±" not in text
    assert "on features / 255" in text
    assert "templates.png" in names_in(tmp_path / "out")
    metrics = json.loads((tmp_path / "out" / "sweep.json").read_text())
    assert metrics["holdout"] == 0.25
    assert metrics["test_accuracy"] > 0.9
    data = softgrad.data.load(source)
    fresh = softgrad.SoftmaxClassifier(C=metrics["chosen"]["C"]).fit(data.X / 255.0, data.y)
    assert metrics["refit"]["loss"] == pytest.approx(fresh.result_.value, rel=1e-3)
    assert metrics["refit"]["gradient_norm"] <= metrics["tol"] * 10


def test_options_reach_the_fits(problem, tmp_path):
    words = ("--no-intercept", "--class-weight", "balanced", "--label-smoothing", 0.1, "--temperature", 2, "--scale", 10, "--no-pictures")
    metrics = json.loads(done("sweep", problem, "--Cs", 0.1, "--cv", 2, *words, "--json", "--quiet", "--out", tmp_path, "--tol", 1e-6))
    data = softgrad.data.load(problem)
    loss = softgrad.losses.cross_entropy(label_smoothing=0.1, temperature=2.0)
    fresh = softgrad.SoftmaxClassifier(C=0.1, fit_intercept=False, class_weight="balanced", loss=loss).fit(data.X / 10, data.y)
    assert metrics["refit"]["loss"] == pytest.approx(fresh.result_.value, rel=1e-5)
    assert not softgrad.load(tmp_path / "model.safetensors").intercept_.any()
    assert [name for name in names_in(tmp_path) if name.endswith("png")] == []


def test_words(tmp_path):
    run = start("sweep", "digits", "--Cs", "0.0001,0.001", "--cv", 2, "--no-pictures", "--resume", cwd=tmp_path)
    assert run.returncode == 0
    anew, end, wrote = run.stderr.splitlines()
    assert "begins anew" in anew
    assert "sweep.ckpt" in anew
    assert "at an end of those tried, 0.001" in end
    assert "sweep.json" in wrote
    assert "\r" not in run.stderr
    assert names_in(tmp_path) == ["softgrad-digits"]


def test_early_stopping_leaves_weaker_penalties_out(problem, tmp_path):
    Cs = "1e-4,1e-3,1e-2,1,1e2,1e4"
    words = ("--cv", 3, "--early-stopping", "--no-pictures", "--max-iter", 300)
    metrics = json.loads(done("sweep", problem, "--Cs", Cs, *words, "--json", "--out", tmp_path))
    assert len(metrics["table"]) == 6
    out = [row for row in metrics["table"] if row["status"] == "left out"]
    assert all(row["log_loss"] is None for row in out)
    assert metrics["table"][len(metrics["table"]) - len(out) :] == out


def test_classes_of_test_rows_only(tmp_path):
    rng = np.random.default_rng(4)
    X = rng.normal(size=(80, 3))
    y = (X[:, 0] > 0).astype(int)
    np.savez(tmp_path / "d.npz", X=X, y=y, X_test=X[:9], y_test=np.append(y[:7], [2, 2]))
    run = start("sweep", "d.npz", "--Cs", "0.1,1", "--cv", 2, "--json", "--quiet", "--out", "out", cwd=tmp_path)
    assert run.returncode == 0, run.stderr
    assert "2 test rows have classes that no training row has" in run.stderr
    metrics = json.loads(run.stdout)
    assert metrics["test_rows_of_unseen_classes"] == 2
    assert 0 < metrics["test_log_loss"] < 1
    assert metrics["test_accuracy"] <= 7 / 9
    assert metrics["recall"]["2"] == 0


@pytest.mark.parametrize("C", [2, 5])
def test_fold_accuracies_against_plain_numpy(C):
    rng = np.random.default_rng(C)
    X, y, classes = rng.normal(size=(90, 7)), rng.integers(0, C, 90) * 3, np.arange(C) * 3
    coefs = rng.normal(size=(2, 4, 1 if C == 2 else C, 8))
    coefs[:, 2] = np.nan
    folds = [(np.arange(60), np.arange(60, 90)), (np.arange(30, 90), np.arange(30))]
    found = fold_accuracies(X, y, classes, coefs, folds)
    for j, k in np.ndindex(2, 4):
        for rows, accuracies in zip(folds[j], found, strict=True):
            z = X[rows] @ coefs[j, k, :, :-1].T + coefs[j, k, :, -1]
            z = np.hstack([np.zeros_like(z), z]) if C == 2 else z
            expected = np.nan if k == 2 else np.mean(classes[z.argmax(axis=1)] == y[rows])
            np.testing.assert_equal(accuracies[j, k], expected)


# ---- calls that cannot be meant -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "words",
    [
        ["--Cs", "0.1,-1"],
        ["--Cs", ""],
        ["--Cs", "0.1,,1"],
        ["--Cs", "inf"],
        ["--Cs", "nan"],
        ["--holdout", "0"],
        ["--holdout", "1"],
        ["--cv", "1"],
        ["--cv", "2.5"],
        ["--cv", "3", "--holdout", "0.2"],
        ["--tol", "0"],
        ["--max-iter", "0"],
    ],
    ids=" ".join,
)
def test_calls_that_cannot_be_meant(words, capfd):
    misspelt("sweep", words, capfd)


def test_data_that_do_not_allow_it(tmp_path):
    np.savez(tmp_path / "few.npz", X=np.eye(6), y=np.arange(6) % 2, X_test=np.eye(6), y_test=np.arange(6) % 2)
    assert "--cv" in refused("sweep", "few.npz", "--cv", 7, cwd=tmp_path)
    assert "--holdout" in refused("sweep", "few.npz", "--holdout", 0.01, cwd=tmp_path)
    X = np.eye(6)
    X[3, 3] = np.nan
    np.savez(tmp_path / "nan.npz", X=X, y=np.arange(6) % 2, X_test=np.eye(6), y_test=np.arange(6) % 2)
    assert "nan" in refused("sweep", "nan.npz", "--cv", 2, cwd=tmp_path).lower()
    assert "nowhere" in refused("sweep", "nowhere", cwd=tmp_path)
    assert names_in(tmp_path) == ["few.npz", "nan.npz"]  # no folder for a sweep that never was


def test_output_folders_that_cannot_be(tmp_path):
    (tmp_path / "file").write_text("in the way")
    assert "--out" in refused("sweep", "digits", "--out", tmp_path / "file")
    assert "--checkpoint" in refused("sweep", "digits", "--out", tmp_path / "out", "--checkpoint", tmp_path / "file" / "below")
    assert names_in(tmp_path) == ["file"]


# ---- nothing lost ---------------------------------------------------------------------------------------------------

LONG = ("--Cs", "1e-5,1e-4,1e-3,1e-2,0.1,1", "--cv", "4", "--tol", "1e-8", "--no-pictures", "--quiet")


@pytest.fixture(scope="module")
def uninterrupted(problem, tmp_path_factory):
    folder = tmp_path_factory.mktemp("uninterrupted")
    done("sweep", problem, *LONG, "--out", folder)
    return folder


@pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
def test_killed_and_resumed_again_and_again(problem, uninterrupted, tmp_path):
    words, total = [], len(lines_of(uninterrupted))
    for share in (0.05, 0.4, 0.8):
        process = begun(problem, tmp_path, *LONG, *words)
        wait_for_lines(process, tmp_path, int(share * total))
        process.kill()
        process.communicate()
        assert (tmp_path / "sweep.ckpt").exists()
        assert not (tmp_path / "sweep.json").exists()
        with (tmp_path / "passes.jsonl").open("a") as file:
            file.write('{"C": 0.1, "fo')  # as a kill within a write leaves it
        words = ["--resume"]
    assert "--resume" in refused("sweep", problem, *LONG, "--out", tmp_path)
    done("sweep", problem, *LONG, "--out", tmp_path, "--resume")
    stored, fresh = (softgrad.load(folder / "model.safetensors") for folder in (tmp_path, uninterrupted))
    assert stored.coef_.tobytes() == fresh.coef_.tobytes()
    assert stored.intercept_.tobytes() == fresh.intercept_.tobytes()
    assert without_seconds(lines_of(tmp_path)) == without_seconds(lines_of(uninterrupted))
    assert names_in(tmp_path) == names_in(uninterrupted)


@pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
def test_interrupted_with_the_best_so_far(problem, uninterrupted, tmp_path):
    state = tmp_path / "state"
    process = begun(problem, tmp_path / "out", *LONG, "--checkpoint", state)
    wait_for_lines(process, tmp_path / "out", int(0.6 * len(lines_of(uninterrupted))))
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert "interrupted" in err
    assert "best C" in out
    metrics = json.loads((tmp_path / "out" / "sweep.json").read_text())
    assert metrics["interrupted"]
    assert metrics["table"][-1]["status"] == "left out"
    assert softgrad.load(tmp_path / "out" / "model.safetensors").metadata_["C_on_scaled_features"] == metrics["chosen"]["C"]
    assert names_in(state) == ["sweep.ckpt"]
    done("sweep", problem, *LONG, "--out", tmp_path / "out", "--checkpoint", state, "--resume")
    assert names_in(state) == []
    stored, fresh = (softgrad.load(folder / "model.safetensors") for folder in (tmp_path / "out", uninterrupted))
    assert stored.coef_.tobytes() == fresh.coef_.tobytes()


@pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
def test_interrupted_before_there_is_a_best(problem, tmp_path):
    process = begun(problem, tmp_path, *LONG)
    wait_for_lines(process, tmp_path, 9)  # the third pass of four folds: the state of the first is there
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert out == ""
    assert "--resume" in err
    assert "Traceback" not in err
    assert names_in(tmp_path) == ["passes.jsonl", "sweep.ckpt"]


@pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
def test_damaged_states_are_refused_by_name(problem, tmp_path):
    process = begun(problem, tmp_path, *LONG)
    wait_for_lines(process, tmp_path, 20)
    process.kill()
    process.communicate()
    state, record = (tmp_path / name for name in ("sweep.ckpt", "passes.jsonl"))
    whole, lines = state.read_bytes(), record.read_bytes()
    altered = bytearray(whole)
    altered[-5] ^= 1
    for damaged in (whole[:-100], whole[:10], b"", bytes(altered)):
        state.write_bytes(damaged)
        assert str(state) in refused("sweep", problem, *LONG, "--out", tmp_path, "--resume")
    state.write_bytes(whole)
    assert "same problem" in refused("sweep", problem, *LONG, "--out", tmp_path, "--resume", "--seed", 1)
    assert state.read_bytes() == whole
    assert record.read_bytes().startswith(lines[: lines.rfind(b"\n") + 1])


@pytest.mark.skipif(os.name != "posix", reason="limits of POSIX")
def test_a_full_disk_leaves_the_last_good_state(problem, uninterrupted, tmp_path):
    process = begun(problem, tmp_path, *LONG)
    wait_for_lines(process, tmp_path, 40)
    process.kill()
    process.communicate()
    before = (tmp_path / "sweep.ckpt").read_bytes()
    limit = f"import resource; resource.setrlimit(resource.RLIMIT_FSIZE, ({len(before) // 2}, {len(before) // 2})); "
    words = ["sweep", str(problem), *LONG, "--out", str(tmp_path), "--resume"]
    code = f"{limit}from softgrad.cli import main; raise SystemExit(main({words}))"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300)
    assert run.returncode == 1, run.stderr
    assert run.stderr.startswith("softgrad: error: ")
    assert run.stderr.count("\n") == 1
    assert (tmp_path / "sweep.ckpt").read_bytes() == before
    done(*words)
    stored, fresh = (softgrad.load(folder / "model.safetensors") for folder in (tmp_path, uninterrupted))
    assert stored.coef_.tobytes() == fresh.coef_.tobytes()


@pytest.mark.skipif(os.name != "posix", reason="terminals of POSIX")
def test_the_table_on_a_terminal(problem, tmp_path):
    table_on_a_terminal(problem, *LONG[:-1], folder=tmp_path, heading=b"\rC ", counts=(b"0/4", b"4/4"))
