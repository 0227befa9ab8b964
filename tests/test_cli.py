"""The command as its users start it: a process, its two streams, its files."""

import csv
import json
import struct
import subprocess
import sys

import numpy as np
import pytest
from command import COLOURS, done, names_in, refused, start, write_cifar, write_table

import softgrad
from softgrad.cli import console, parser
from softgrad.cli.results import default_folder


def picture_size(path):
    data = path.read_bytes()
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    return struct.unpack(">II", data[16:24])


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    """A fit of the digits: (folder, metrics of its stdout)."""
    folder = tmp_path_factory.mktemp("digits") / "deep" / "fit"
    return folder, json.loads(done("fit", "digits", "--C", "0.01", "--json", "--out", folder))


@pytest.fixture(scope="module")
def cifar_fit(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cifar")
    return folder / "fit", done("fit", write_cifar(folder / "bin"), "--C", "0.02", "--out", folder / "fit")


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    return write_table(tmp_path_factory.mktemp("table") / "colours.csv")


@pytest.fixture(scope="module")
def table_fit(table):
    folder = table.parent / "fit"
    return folder, json.loads(done("fit", table, "--label", "colour", "--out", folder, "--json", "--no-pictures"))


# --- fit ---


def test_fit_writes_all_it_says(digits):
    folder, metrics = digits
    assert names_in(folder) == [
        "confusion.csv",
        "confusion.png",
        "loss_curve.csv",
        "loss_curve.png",
        "metrics.json",
        "model.safetensors",
        "templates.png",
    ]
    assert json.loads((folder / "metrics.json").read_text()) == metrics
    for name in ("confusion.png", "loss_curve.png", "templates.png"):
        width, height = picture_size(folder / name)
        assert 400 < width < 2000, name
        assert 250 < height < 2000, name


def test_fit_tells_the_truth(digits):
    """The numbers printed are those of the same fit in Python."""
    _, metrics = digits
    data = softgrad.data.load("digits")
    clf = softgrad.SoftmaxClassifier(C=0.01).fit(data.X, data.y)
    assert metrics["converged"]
    assert metrics["rows"] + metrics["test_rows"] == 1797
    assert metrics["loss"] == pytest.approx(clf.result_.value, abs=1e-6)
    assert metrics["gradient_norm"] <= metrics["tol"] == 1e-5
    assert metrics["train_accuracy"] == clf.score(data.X, data.y)
    assert metrics["test_accuracy"] == clf.score(data.X_test, data.y_test) > 0.95
    assert len(metrics["loss_curve"]) == metrics["passes"]
    worst = metrics["worst_pairs"][0]
    predicted = clf.predict(data.X_test)
    count = np.sum((data.y_test == int(worst["true"])) & (predicted == int(worst["predicted"])))
    assert worst["count"] == count > 0
    assert worst["share"] == count / np.sum(data.y_test == int(worst["true"]))


def test_numbers_beside_the_pictures(digits):
    folder, metrics = digits
    with (folder / "loss_curve.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [float(row["loss"]) for row in rows] == metrics["loss_curve"]
    assert [int(row["pass"]) for row in rows] == list(range(1, len(rows) + 1))
    with (folder / "confusion.csv").open(newline="") as file:
        counts = np.array([[int(cell) for cell in row[1:]] for row in list(csv.reader(file))[1:]])
    assert counts.sum() == metrics["test_rows"]
    assert np.trace(counts) / counts.sum() == pytest.approx(metrics["test_accuracy"])


def test_scale_is_the_same_problem(tmp_path):
    """--scale 16 on x is a fit on x / 16: same loss, same predictions, X untouched."""
    metrics = json.loads(done("fit", "digits", "--scale", 16, "--tol", 1e-7, "--json", "--out", tmp_path / "a", "--no-pictures"))
    data = softgrad.data.load("digits")
    clf = softgrad.SoftmaxClassifier(tol=1e-7).fit(data.X / 16, data.y)
    assert metrics["loss"] == pytest.approx(clf.result_.value, rel=1e-6)
    stored = softgrad.load(tmp_path / "a" / "model.safetensors")
    np.testing.assert_allclose(stored.predict_proba(data.X_test), clf.predict_proba(data.X_test / 16), atol=2e-4)


def test_options_reach_the_classifier(tmp_path):
    words = ("--no-intercept", "--class-weight", "balanced", "--label-smoothing", 0.2, "--temperature", 2, "--C", 0.1)
    metrics = json.loads(done("fit", "digits", *words, "--json", "--no-pictures", "--quiet", "--out", tmp_path / "a"))
    data = softgrad.data.load("digits")
    loss = softgrad.losses.cross_entropy(label_smoothing=0.2, temperature=2.0)
    clf = softgrad.SoftmaxClassifier(C=0.1, fit_intercept=False, class_weight="balanced", loss=loss)
    assert metrics["loss"] == pytest.approx(clf.fit(data.X, data.y).result_.value, abs=1e-6)
    stored = softgrad.load(tmp_path / "a" / "model.safetensors")
    assert not np.any(stored.intercept_)


def test_cifar_folder(cifar_fit):
    folder, text = cifar_fit
    lines = dict(line.split("  ", 1) for line in text.split("\n\n")[0].splitlines())
    told = {name: value.strip() for name, value in lines.items()}
    assert told["rows"] == "400 + 100 test"
    assert told["C"] == "0.02 on features / 255"
    assert float(told["test accuracy"].rstrip("%")) > 90
    width, height = picture_size(folder / "templates.png")
    assert width > 1.6 * height  # 2 x 5 images


def test_default_folder_and_progress_stay_out_of_the_way(tmp_path):
    run = start("fit", "digits", "--C", 0.01, cwd=tmp_path)
    assert run.returncode == 0
    assert names_in(tmp_path) == ["softgrad-digits"]
    assert "\r" not in run.stderr  # not a terminal
    assert run.stderr.count("\n") == 1
    assert "softgrad-digits" in run.stderr
    assert "train accuracy" in run.stdout
    assert default_folder("a b/../c") == "softgrad-a-b-..-c"
    assert default_folder("..") == "softgrad-fit"


def test_not_converged_is_one_line_and_no_failure(tmp_path):
    run = start("fit", "digits", "--max-iter", 2, "--out", tmp_path / "a", "--no-pictures", "--json", "--quiet")
    assert run.returncode == 0
    assert run.stderr.count("\n") == 1
    assert run.stderr.startswith("softgrad: warning: ")
    assert "raise max_iter" in run.stderr
    metrics = json.loads(run.stdout)
    assert not metrics["converged"]
    assert "max_iter" in metrics["advice"]


def test_a_second_fit_leaves_nothing_of_the_first(table, tmp_path):
    for name in ("templates.png", "loss_curve.png", ".softgrad-0123456789abcdef.tmp"):
        (tmp_path / name).write_text("of a former fit, or of a killed one")
    (tmp_path / "mine.txt").write_text("not of softgrad")
    done("fit", table, "--out", tmp_path, "--no-pictures")
    assert names_in(tmp_path) == ["confusion.csv", "loss_curve.csv", "metrics.json", "mine.txt", "model.safetensors"]


# --- predict, evaluate ---


def test_evaluate_repeats_the_fit(digits):
    folder, metrics = digits
    told = json.loads(done("evaluate", folder, "digits", "--json"))
    assert told["accuracy"] == metrics["test_accuracy"]
    assert told["rows"] == metrics["test_rows"]
    assert told["recall"] == metrics["recall"]
    assert told["worst_pairs"] == metrics["worst_pairs"]
    data, clf = softgrad.data.load("digits"), softgrad.load(folder / "model.safetensors")
    p = clf.predict_proba(data.X_test)[np.arange(len(data.y_test)), data.y_test]
    assert told["log_loss"] == pytest.approx(-np.log(p).mean(), rel=1e-5)
    on_train = json.loads(done("evaluate", folder / "model.safetensors", "digits", "--json", "--split", "train"))
    assert on_train["accuracy"] == metrics["train_accuracy"]
    text = done("evaluate", folder, "digits")
    assert "log loss" in text
    assert "recall" in text


def test_predict_gives_a_name_per_row(table, table_fit):
    folder, metrics = table_fit
    with table.open(newline="") as file:
        truth = [row["colour"] for row in csv.DictReader(file)]
    names = done("predict", folder, table).splitlines()  # all rows, in the order of the file
    assert len(names) == len(truth)
    assert set(names) <= set(COLOURS)
    right = np.mean([a == b for a, b in zip(names, truth, strict=True)])
    parts = metrics["train_accuracy"] * metrics["rows"] + metrics["test_accuracy"] * metrics["test_rows"]
    assert right == pytest.approx(parts / len(truth))
    assert len(done("predict", folder, table, "--split", "test").splitlines()) == metrics["test_rows"]


def test_predict_probabilities(table, table_fit):
    folder, _ = table_fit
    head, *rows = done("predict", folder, table, "--proba", "--split", "test").splitlines()
    assert head.split("\t") == sorted(COLOURS)
    p = np.array([row.split("\t") for row in rows], dtype=float)
    np.testing.assert_allclose(p.sum(axis=1), 1, atol=1e-6)
    names = done("predict", folder, table, "--split", "test").splitlines()
    assert [sorted(COLOURS)[k] for k in p.argmax(axis=1)] == names
    told = json.loads(done("predict", folder, table, "--split", "test", "--proba", "--json"))
    assert told["predicted"] == names
    np.testing.assert_allclose(told["probabilities"], p, atol=1e-8)


def test_predict_rows_without_labels(table, table_fit, tmp_path):
    """The same rows without their column of labels, as a table with and without a header, and as .npy: in memory and on disk."""
    folder, _ = table_fit
    names = done("predict", folder, table)
    with table.open(newline="") as file:
        rows = [[cell for name, cell in row.items() if name != "colour"] for row in csv.DictReader(file)]
    bare, named, array = tmp_path / "bare.csv", tmp_path / "named.csv", tmp_path / "rows.npy"
    bare.write_text("\n".join(map(",".join, rows)) + "\n")
    named.write_text(",".join(f"f{k}" for k in range(len(rows[0]))) + "\n" + bare.read_text())
    np.save(array, np.array(rows, float))
    for source in (bare, named, array):
        assert done("predict", folder, source, "--unlabelled") == names
    assert done("predict", folder, array, "--unlabelled", "--memory-limit", "1MiB") == names
    told = json.loads(done("predict", folder, array, "--unlabelled", "--proba", "--json", "--memory-limit", "1MiB"))
    assert told == json.loads(done("predict", folder, table, "--proba", "--json"))
    assert "--unlabelled" in refused("predict", folder, array, "--unlabelled", "--split", "test", code=2)


def test_apply_to_rows_on_disk(digits, tmp_path):
    """More than one block, and the same numbers as from memory."""
    folder, _ = digits
    data = softgrad.data.load("digits", test_size=0.0)
    np.save(tmp_path / "X.npy", np.tile(data.X, (8, 1)))
    np.save(tmp_path / "y.npy", np.tile(data.y, 8))
    source = tmp_path / "X.npy"
    limit = "--memory-limit", "1MiB"
    assert done("predict", folder, source, *limit) == done("predict", folder, source)
    p, q = (json.loads(done("predict", folder, source, "--proba", "--json", *more))["probabilities"] for more in (limit, ()))
    np.testing.assert_allclose(p, q, rtol=1e-4)  # in float32, where a block's products depend on its size
    here, there = (json.loads(done("evaluate", folder, source, "--split", "all", "--json", *more)) for more in (limit, ()))
    assert here.pop("log_loss") == pytest.approx(there.pop("log_loss"), rel=1e-6)
    assert here == there
    assert "--split all" in refused("evaluate", folder, source, "--memory-limit", "1MiB")


def test_classes_are_matched_by_name(table, table_fit, tmp_path):
    """Data with two of the three classes have other class numbers; recall of the third is of nothing."""
    folder, _ = table_fit
    lines = table.read_text().splitlines()
    part = tmp_path / "part.csv"
    part.write_text("\n".join([lines[0], *(line for line in lines[1:] if not line.endswith("blue"))]) + "\n")
    told = json.loads(done("evaluate", folder, part, "--split", "all", "--json"))
    assert told["accuracy"] > 0.95
    assert told["recall"]["blue"] is None
    part.write_text(part.read_text().replace("green", "violet"))
    assert "'violet'" in refused("evaluate", folder, part, "--split", "all")


def test_a_reader_that_leaves_early_is_no_error(digits):
    folder, _ = digits
    command = [sys.executable, "-u", "-m", "softgrad", "predict", str(folder), "digits", "--proba", "--split", "train"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stderr is not None
    with process.stdout, process.stderr:
        process.stdout.readline()
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.wait() in (0, 141)  # 0: all fitted into the pipe


# --- info, bench, help ---


def test_info():
    told = json.loads(done("info", "--json"))
    assert told["numpy"] == np.__version__
    assert told["threads"] == softgrad.threads.count()
    assert told["kernels"] == softgrad.kernels.native.status()
    text = done("info")
    assert "affinity" in text
    assert "blas" in text


def test_bench_small():
    told = json.loads(done("bench", "--rows", 60, "--repeat", 1, "--json"))
    naive, *others = told["ways"]
    assert naive["way"] == "naive"
    assert {way["way"] for way in others} == {"vectorized", "fused", "fused float32"}
    for way in others:
        exact = way["way"] != "fused float32"
        assert way["loss"] == pytest.approx(naive["loss"], rel=1e-12 if exact else 1e-5)
        assert way["gradient_difference"] < (1e-12 if exact else 1e-5)
        assert way["seconds"] > 0
    assert told["ways"][1]["times_faster"] == pytest.approx(naive["seconds"] / others[0]["seconds"])
    assert "not CIFAR-10" in done("bench", "--rows", 20, "--repeat", 1)


LIGHT = """
import sys
from softgrad.cli import main
try:
    main(sys.argv[1:])
except SystemExit as end:
    assert not end.code
heavy = {"scipy", "sklearn", "matplotlib", "pandas", "threadpoolctl"} & set(sys.modules)
assert not heavy, heavy
"""


@pytest.mark.parametrize("words", [["--help"], ["fit", "--help"], ["--version"]])
def test_help_is_light(words):
    run = subprocess.run([sys.executable, "-c", LIGHT, *words], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr


def test_help_names_every_default():
    text = " ".join(done("fit", "--help").split())
    for option, default in [("--C", 1.0), ("--tol", 1e-05), ("--max-iter", 200), ("--test-size", 0.2), ("--seed", 0), ("--scale", "auto")]:
        about = text.rsplit(f"{option} ", 1)[1]
        assert about.split("(default: ", 1)[1].startswith(f"{default})"), option


def test_rooms_and_verbs_agree():
    for name in parser.ROOMS:
        words = [name, *["a", "b"][: {"fit": 1, "sweep": 1, "predict": 2, "evaluate": 2}.get(name, 0)]]
        words += ["--scores", "1,2", "--label", "0"] * (name == "explain")
        assert callable(parser.verb(parser.parse(words)))


# --- what is printed ---


def test_json_has_no_nan():
    assert json.loads(console.as_json({"a": [float("nan"), 1.5], 3: {"b": float("inf")}})) == {"a": [None, 1.5], "3": {"b": None}}


def test_words_stay_on_one_line(capsys):
    console.say("a\nb\r\n  c")
    assert capsys.readouterr().err == "softgrad: a b c\n"


def test_columns_are_aligned():
    assert console.columns(("name", "n"), [("a", 5), ("long name", 1234)]) == "name          n\na             5\nlong name  1234"
