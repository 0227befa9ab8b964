"""`softgrad sweep --solver sgd` and the article's example, as their users run them."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from command import done, misspelt, names_in, refused, start, write_cifar

import softgrad
from softgrad.data.split import stratified
from softgrad.report.pictures import grid_map
from softgrad.solvers import SGD
from softgrad.stochastic import grid

EXAMPLE = Path(__file__).parents[1] / "examples" / "cifar10_article.py"


@pytest.fixture(scope="module")
def cifar(tmp_path_factory):
    return write_cifar(tmp_path_factory.mktemp("cifar") / "bin")


def test_the_table_is_that_of_the_grid(cifar, tmp_path):
    words = ("--solver", "sgd", "--learning-rates", "1e-3,1e-2", "--regs", "0.001,0.1", "--iterations", 60, "--batch-size", 50)
    metrics = json.loads(done("sweep", cifar, *words, "--holdout", 0.2, "--momentum", 0.5, "--seed", 3, "--json", "--out", tmp_path))
    data, s = softgrad.data.load(cifar), 255.0
    train, held_out = stratified(data.y, 0.2, 4)
    X, y, X_val, y_val = data.X[train], data.y[train], data.X[held_out], data.y[held_out]
    solver, rates, regs = SGD(iterations=60, batch_size=50, momentum=0.5), [1e-3 / s**2, 1e-2 / s**2], [1e-3 * s**2, 0.1 * s**2]
    trials = grid(X, y, learning_rates=rates, regs=regs, solver=solver, X_val=X_val, y_val=y_val, seed=3)
    assert len(metrics["table"]) == 4
    for row, trial in zip(metrics["table"], trials, strict=True):
        assert row["learning_rate"] == pytest.approx(trial.learning_rate * s**2)
        assert row["reg"] == pytest.approx(trial.reg / s**2)
        assert row["log_loss"] == trial.log_loss
        assert row["validation_accuracy"] == trial.validation_accuracy
        assert row["train_accuracy"] == trial.train_accuracy
    best, stored = metrics["chosen"], softgrad.load(tmp_path / "model.safetensors")
    rate, C = best["learning_rate"] / s**2, 1 / (best["reg"] * s**2 * len(data.y))
    fresh = softgrad.SoftmaxClassifier(C=C, solver=SGD(rate, 50, iterations=60, momentum=0.5), random_state=3).fit(data.X, data.y)
    np.testing.assert_allclose(stored.coef_, fresh.coef_, rtol=1e-4, atol=1e-9)
    assert stored.metadata_["C_on_scaled_features"] == pytest.approx(C * s**2)
    assert {"sweep.png", "templates.png", "passes.jsonl"} <= set(names_in(tmp_path))
    lines = [json.loads(line) for line in (tmp_path / "passes.jsonl").read_text().splitlines()]
    assert {(line["learning_rate"], line["reg"]) for line in lines} == {(a, b) for a in (1e-3, 1e-2) for b in (1e-3, 0.1)}
    assert lines[-1]["fold"] is None


def test_strengths_on_folds_at_a_safe_rate(tmp_path):
    """Few steps: rates by the fold's own curvature, penalties by its own number of rows, and the right row for each C."""
    words = ("--solver", "sgd", "--Cs", "1e-6,1e-4,0.1", "--cv", 3, "--class-weight", "balanced")
    metrics = json.loads(done("sweep", "digits", *words, "--json", "--out", tmp_path))
    assert all(row["learning_rate"] is None for row in metrics["table"])
    assert [row["C"] for row in metrics["table"]] == [0.1, 1e-4, 1e-6]  # the stronger, the worse
    assert all(len(row["log_losses"]) == 3 for row in metrics["table"])
    assert metrics["test_accuracy"] > 0.93


def test_trials_that_diverge_come_last(tmp_path):
    words = ("--solver", "sgd", "--learning-rates", "0.01,1e9", "--Cs", "0.001,0.01", "--cv", 2, "--iterations", 300, "--quiet")
    run = start("sweep", "digits", *words, "--out", tmp_path)
    assert run.returncode == 0, run.stderr
    table = json.loads((tmp_path / "sweep.json").read_text())["table"]
    assert [row["status"] for row in table] == ["done", "done", "diverged", "diverged"]
    assert "diverged" in run.stdout
    grid_map([{**row, "status": "diverged"} for row in table])  # nothing to shade


@pytest.mark.parametrize(
    "words",
    [
        ["--learning-rates", "0.1"],
        ["--regs", "0.1"],
        ["--iterations", "5"],
        ["--scoring", "none", "--solver", "sgd"],
        ["--early-stopping", "--solver", "sgd"],
        ["--regs", "0.1", "--Cs", "0.1", "--solver", "sgd"],
        ["--regs", "-1", "--solver", "sgd"],
        ["--learning-rates", "", "--solver", "sgd"],
        ["--momentum", "1", "--solver", "sgd"],
        ["--batch-size", "0", "--solver", "sgd"],
    ],
    ids=" ".join,
)
def test_calls_that_cannot_be_meant(words, capfd):
    misspelt("sweep", words, capfd)


def test_nothing_is_left_of_a_sweep_that_failed(tmp_path):
    X = np.ones((40, 3))
    X[5, 1] = np.inf
    np.savez(tmp_path / "inf.npz", X=X, y=np.arange(40) % 2)
    refused("sweep", "inf.npz", "--solver", "sgd", "--holdout", 0.2, cwd=tmp_path)
    assert names_in(tmp_path) == ["inf.npz"]


def test_the_example_of_the_article(cifar, tmp_path):
    command = [sys.executable, EXAMPLE, cifar, "--iterations", "40", "--out", tmp_path / "templates.png"]
    run = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert run.returncode == 0, run.stderr
    *grid_lines, best, test, wrote = run.stdout.splitlines()
    assert len(grid_lines) == 24
    assert all(line.startswith("lr 1.") and "reg" in line and "val accuracy" in line for line in grid_lines)
    assert best.startswith("best: lr")
    assert float(test.removeprefix("test accuracy: ")) > 0.5
    assert "templates.png" in wrote
    assert (tmp_path / "templates.png").read_bytes()[:4] == b"\x89PNG"


def test_the_example_says_where_the_data_are_to_be_had():
    run = subprocess.run([sys.executable, EXAMPLE], capture_output=True, text=True, timeout=60)
    assert run.returncode == 2
    assert run.stdout == ""
    assert "cs.toronto.edu" in run.stderr
