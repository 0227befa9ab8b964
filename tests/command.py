"""Calls of the command as processes, and small data sets to call it with."""

import csv
import subprocess
import sys

import numpy as np
import pytest

from softgrad.cli import main

COLOURS = ("red", "green", "blue")
CIFAR_NAMES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")


def start(*words, cwd=None):
    """One finished process; text of both streams."""
    command = [sys.executable, "-m", "softgrad", *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, cwd=cwd, timeout=300)


def done(*words, cwd=None):
    """Stdout of a call that has to succeed."""
    run = start(*words, cwd=cwd)
    assert run.returncode == 0, run.stderr
    assert "Traceback" not in run.stderr
    return run.stdout


def refused(*words, code=1, cwd=None):
    """The one line of a call that has to fail."""
    run = start(*words, cwd=cwd)
    assert run.returncode == code, (run.stdout, run.stderr)
    assert run.stdout == ""
    assert "Traceback" not in run.stderr
    assert run.stderr.endswith("\n")
    assert run.stderr.count("\n") == 1, run.stderr
    return run.stderr


def misspelt(verb, words, capfd):
    """A call that cannot be meant: exit code 2 and one line that names the option."""
    with pytest.raises(SystemExit) as end:
        main([verb, "digits", *words])
    assert end.value.code == 2
    out, err = capfd.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    assert words[0] in err


def names_in(folder):
    return sorted(entry.name for entry in folder.iterdir())


def write_cifar(folder):
    """A folder in the binary format of CIFAR-10: ten learnable classes, each a patch of its own place and colour."""
    rng = np.random.default_rng(11)
    folder.mkdir()
    (folder / "batches.meta.txt").write_text("\n".join(CIFAR_NAMES) + "\n")
    for name, rows in [*((f"data_batch_{k}.bin", 80) for k in range(1, 6)), ("test_batch.bin", 100)]:
        y = np.arange(rows) % 10
        images = rng.integers(60, 160, (rows, 3, 32, 32))
        for image, k in zip(images, y, strict=True):
            image[k % 3, 3 * k : 3 * k + 5, 8:24] += 90
        batch = np.concatenate([y[:, None], images.reshape(rows, -1)], axis=1).astype(np.uint8)
        (folder / name).write_bytes(batch.tobytes())
    return folder


def write_table(path):
    """A CSV of 150 rows, 4 features, 3 classes by name, in an order that is not that of the classes."""
    rng = np.random.default_rng(12)
    y = rng.integers(0, 3, 150)
    X = rng.normal(size=(150, 4)) * 0.3
    X[np.arange(150), y] += 2
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["a", "b", "c", "d", "colour"])
        writer.writerows([*map(repr, row), COLOURS[k]] for row, k in zip(X.tolist(), y, strict=True))
    return path
