"""What the command does when it cannot, is stopped or killed: one line, the right exit code, nothing half-written."""

import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from command import called, done, misspelt, names_in, refused, start, write_cifar, write_table

from softgrad import model_file


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    return write_table(tmp_path_factory.mktemp("table") / "colours.csv")


@pytest.mark.parametrize(
    "words",
    [
        ["--C", "0"],
        ["--C", "-1"],
        ["--C", "nan"],
        ["--C", "much"],
        ["--tol", "0"],
        ["--tol", "inf"],
        ["--max-iter", "0"],
        ["--max-iter", "1.5"],
        ["--label-smoothing", "1.5"],
        ["--temperature", "0"],
        ["--scale", "0"],
        ["--scale", "big"],
        ["--test-size", "1"],
        ["--seed", "-1"],
        ["--class-weight", "heavy"],
        ["--no-such-option"],
        ["second-source"],
    ],
)
def test_calls_that_cannot_be_meant(words, capfd):
    misspelt("fit", words, capfd)


def test_exit_code_2_as_a_process():
    run = start("fit", "digits", "--C", 0)
    assert (run.returncode, run.stdout, run.stderr.count("\n")) == (2, "", 1)
    assert "--C: must be a number above 0, got '0'" in run.stderr
    assert "VERB" in refused(code=2)


@pytest.mark.parametrize("closed", [">&-", "2>&-", ">&- 2>&-"])
def test_standard_streams_that_the_shell_has_closed(table, tmp_path, closed):
    line = f'"$0" -m softgrad fit "$1" --out "$2" {closed}'
    ended = subprocess.run(["sh", "-c", line, sys.executable, table, tmp_path / "out"], capture_output=True, text=True, check=False)
    assert ended.returncode == 0
    assert "Traceback" not in ended.stderr
    assert ("train accuracy" in ended.stdout) == (closed == "2>&-")
    assert (tmp_path / "out" / "model.safetensors").exists()


def test_exit_code_1_as_a_process(tmp_path):
    run = start("fit", "nowhere", cwd=tmp_path)
    assert (run.returncode, run.stdout, run.stderr.count("\n")) == (1, "", 1)
    assert "nowhere" in run.stderr


def test_sources_that_are_none(tmp_path, tmp_path_factory):
    cifar = write_cifar(tmp_path_factory.mktemp("cifar") / "bin")
    assert "nowhere" in refused("fit", "nowhere", cwd=tmp_path)
    (tmp_path / "empty").mkdir()
    assert "empty" in refused("fit", "empty", cwd=tmp_path)
    cut = tmp_path / "cut"
    cut.mkdir()
    (cut / "data_batch_1.bin").write_bytes((cifar / "data_batch_1.bin").read_bytes()[:-100])
    assert "data_batch_1.bin" in refused("fit", "cut", cwd=tmp_path)
    np.savez(tmp_path / "whole.npz", X=np.ones((20, 3)), y=np.arange(20) % 2)
    (tmp_path / "cut.npz").write_bytes((tmp_path / "whole.npz").read_bytes()[:300])
    assert "cut.npz" in refused("fit", "cut.npz", cwd=tmp_path)
    assert names_in(tmp_path) == ["cut", "cut.npz", "empty", "whole.npz"]  # no folder for a fit that never was


def test_nan_in_a_table(table, tmp_path):
    lines = table.read_text().splitlines()
    lines[7] = "nan" + lines[7][lines[7].index(",") :]
    (tmp_path / "nan.csv").write_text("\n".join(lines) + "\n")
    refused("fit", "nan.csv", "--label", "colour", cwd=tmp_path)
    assert names_in(tmp_path) == ["nan.csv"]


def test_output_folders_that_cannot_be(tmp_path):
    (tmp_path / "file").write_text("in the way")
    before = time.monotonic()
    line = refused("fit", "digits", "--out", tmp_path / "file" / "below", "--max-iter", 1_000_000, "--tol", 1e-300)
    assert "--out" in line
    assert time.monotonic() - before < 60  # before the fit
    refused("fit", "digits", "--out", tmp_path / "file")
    assert (tmp_path / "file").read_text() == "in the way"


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="the superuser may write anywhere")
def test_output_folder_without_permission(tmp_path):
    tmp_path.chmod(0o500)
    try:
        assert "--out" in refused("fit", "digits", "--out", tmp_path / "a")
    finally:
        tmp_path.chmod(0o700)


def test_models_that_are_none(table, tmp_path, tmp_path_factory):
    folder = tmp_path_factory.mktemp("digits")
    done("fit", "digits", "--C", "0.01", "--no-pictures", "--out", folder)
    assert "nowhere" in refused("predict", tmp_path / "nowhere", "digits")
    assert "model.safetensors" in refused("evaluate", tmp_path, "digits")
    cut = tmp_path / "cut.safetensors"
    cut.write_bytes((folder / "model.safetensors").read_bytes()[:-9])
    assert "cut.safetensors" in refused("predict", cut, "digits")
    cut.write_text("this is not a model at all")
    assert "cut.safetensors" in refused("predict", cut, "digits")
    assert "needs 64 features" in refused("predict", folder, table)
    assert "features must be finite numbers" in refused("predict", folder, table, "--unlabelled")  # its labels are text
    assert ".npy" in refused("predict", folder, table, "--unlabelled", "--memory-limit", "1MiB")
    np.save(tmp_path / "wide.npy", np.zeros((3, 65)))
    assert "needs 64 features" in refused("predict", folder, tmp_path / "wide.npy", "--unlabelled")


def test_a_strange_model_of_the_right_format(tmp_path):
    model_file.write(tmp_path / "m.safetensors", {"weights": np.ones(3)}, {"other": "program"})
    refused("predict", tmp_path / "m.safetensors", "digits")


def long_fit(folder):
    """A process that fits for minutes with its stderr on a terminal, and the other end of that terminal."""
    rng = np.random.default_rng(13)
    X, y = rng.normal(size=(4000, 120)), rng.integers(0, 12, 4000)
    np.savez(folder / "long.npz", X=X, y=y)
    ours, theirs = os.openpty()
    words = ["fit", "long.npz", "--out", "out", "--max-iter", "100000000", "--tol", "1e-300", "--C", "1e6"]
    command = [sys.executable, "-m", "softgrad", *words]
    process = subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, stderr=theirs, start_new_session=True)
    os.close(theirs)
    return process, ours


def read_until(terminal, words):
    seen = b""
    while words not in seen:
        seen += os.read(terminal, 4096)
    return seen


@pytest.mark.skipif(os.name != "posix", reason="terminals of POSIX")
@pytest.mark.parametrize(("kill", "code"), [(signal.SIGKILL, -signal.SIGKILL), (signal.SIGINT, 130)], ids=["kill -9", "Ctrl-C"])
def test_ended_in_the_middle_of_a_fit(tmp_path, kill, code):
    process, terminal = long_fit(tmp_path)
    try:
        seen = read_until(terminal, b"gradient")
        assert seen.startswith(b"\r[" + b" " * 20 + b"] pass    1 ")
        process.send_signal(kill)
        out, _ = process.communicate(timeout=60)
        assert out == b""
        assert process.returncode == code
        if kill == signal.SIGINT:
            assert b" \rsoftgrad: stopped by the keyboard" in read_until(terminal, b"left")
            assert not (tmp_path / "out").exists()
        else:
            assert names_in(tmp_path / "out") == []
    finally:
        process.kill()
        process.wait()
        os.close(terminal)


@pytest.mark.parametrize("wait", [0.0, 0.05, 0.2])
def test_killed_while_the_results_are_written(table, tmp_path, wait):
    """Over a former fit: each file is whole, and metrics.json stands only beside a model of the same fit."""
    done("fit", table, "--C", 7, "--out", tmp_path)
    before = (tmp_path / "metrics.json").stat().st_mtime_ns
    command = [sys.executable, "-m", "softgrad", "fit", str(table), "--C", "3", "--out", str(tmp_path)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while process.poll() is None:  # until the first trace of the second fit: its numbers take the place of the former ones
        try:
            if (tmp_path / "metrics.json").stat().st_mtime_ns != before:
                break
        except FileNotFoundError:
            break
        time.sleep(0.001)
    time.sleep(wait)
    process.kill()
    process.wait()
    _, description = model_file.read(tmp_path / "model.safetensors")
    assert description
    for path in tmp_path.glob("*.png"):
        assert path.read_bytes()[-8:-4] == b"IEND"
    if (tmp_path / "metrics.json").exists():
        assert json.loads((tmp_path / "metrics.json").read_text())["C"] == 3
    done("fit", table, "--out", tmp_path, "--no-pictures")
    assert not list(tmp_path.glob("*.tmp"))


def test_interrupted_while_the_pictures_are_drawn(table, tmp_path, monkeypatch):
    """The numbers are complete, and no picture is one of the fit before."""
    done("fit", table, "--C", 7, "--out", tmp_path)

    def interrupt(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("softgrad.report.pictures.confusion_matrix", interrupt)
    run = called("fit", table, "--C", 3, "--out", tmp_path)
    assert (run.returncode, run.stdout) == (130, "")
    assert names_in(tmp_path) == ["confusion.csv", "loss_curve.csv", "loss_curve.png", "metrics.json", "model.safetensors"]
    assert json.loads((tmp_path / "metrics.json").read_text())["C"] == 3


@pytest.mark.parametrize("words", ["fit|", "fit|digits|--out| ", "predict||digits", "sweep|digits|--checkpoint|"])
def test_names_that_are_empty(words):
    assert "must be a name, got '" in refused(*words.split("|"), code=2)


def test_what_a_class_is_called_does_nothing_to_a_terminal(tmp_path):
    table = tmp_path / "t.csv"
    table.write_text("a,label\n" + "1,\x1b[31mred\n2,blue\x07\n" * 10)
    shown = done("fit", table, "--out", tmp_path / "out", "--no-pictures") + done("predict", tmp_path / "out", table)
    assert "\x1b" not in shown
    assert "\x07" not in shown
    assert "\\x1b[31mred" in shown
    assert json.loads((tmp_path / "out" / "metrics.json").read_text())["classes"] == ["\x1b[31mred", "blue\x07"]
    words = refused("evaluate", tmp_path / "out", write_table(tmp_path / "other.csv"))
    assert "\x1b" not in words


def test_digits_are_not_on_disk():
    assert "use load(), without a memory limit" in refused("fit", "digits", "--memory-limit", "1MiB")
