"""From nothing to a result: the import, and `softgrad fit digits` as typed in a shell."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from bench.memory import ROOT
from bench.row import Measure, Peak, Row, below, duration, facts, faster
from bench.timing import REST, THREADS

LIMIT = 0.15  # seconds

TWO = f"""
import os
if hasattr(os, "sched_setaffinity"):
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:{THREADS}])
"""

TIMED = """
import time
begin = time.perf_counter()
{code}
seconds = time.perf_counter() - begin
"""
DOOR, NUMPY = "import softgrad", "import numpy"
FIRST = "import softgrad; softgrad.losses.cross_entropy().value_and_grad([[1.0, 2.0]], [0])"  # names are loaded when they are asked for
COMMAND = """
import runpy, sys
sys.argv = ["softgrad", "fit", "digits", "--out", {out!r}]
try:
    runpy.run_module("softgrad", run_name="__main__", alter_sys=True)
except SystemExit as end:
    assert not end.code, end.code
"""
PEER = """
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split
X, X_test, y, y_test = train_test_split(*load_digits(return_X_y=True), test_size=0.2, random_state=0)
print(LogisticRegression(C=1 / 16**2, max_iter=1000).fit(X, y).score(X_test, y_test))
"""
TELL = """
import json
from bench.memory import status
print(json.dumps([{seconds}, status("VmHWM")]))
"""


def process(code: str, seconds: str = "0.0") -> tuple[float, float, int]:
    """A fresh Python runs code on THREADS processors: seconds from outside, seconds that the code measured, peak memory in bytes."""
    code = TWO + code + TELL.format(seconds=seconds)
    time.sleep(REST)
    begin = time.perf_counter()
    done = subprocess.run([sys.executable, "-c", code], check=False, cwd=ROOT, capture_output=True, text=True)
    whole = time.perf_counter() - begin
    if done.returncode:
        raise RuntimeError(f"a fresh process failed:\n{done.stderr}")
    inside, peak = json.loads(done.stdout.splitlines()[-1])
    return whole, inside, peak


def _measure(name: str, runs: list[tuple[float, int]]) -> Measure:
    return Measure(name, tuple(seconds for seconds, _ in runs), Peak(0, max(peak for _, peak in runs)))


def run(small: bool) -> Iterator[Row]:
    """The import, with NumPy's beside it; then the command."""
    yield from _imports(3 if small else 11)
    yield from _command(1 if small else 5)


def _imports(repeat: int) -> Iterator[Row]:
    runs: dict[str, list[Any]] = {DOOR: [], FIRST: [], NUMPY: []}
    for code in runs:
        process(TIMED.format(code=code), "seconds")  # the files come into the page cache
    for _ in range(repeat):
        for code, found in runs.items():
            found.append(process(TIMED.format(code=code), "seconds")[1:])
    door, first, numpy = (_measure("numpy" if code == NUMPY else "softgrad", found) for code, found in runs.items())
    row = below("import softgrad, fresh process", door, door.median, LIMIT, f"below {duration(LIMIT)}")
    note = "everything is loaded when it is asked for, NumPy too"
    yield replace(row, peer=numpy.cell(), ratio=numpy.median / door.median, note=note, facts=row.facts | facts(numpy))
    yield faster("the same, and a first loss with its gradient", first, numpy, None, "NumPy's own import is part of it")


def _command(repeat: int) -> Iterator[Row]:
    runs: dict[str, list[Any]] = {"softgrad fit digits": [], "a scikit-learn script": []}
    with tempfile.TemporaryDirectory() as folder:
        for turn in range(repeat + 1):
            whole, _, peak = process(COMMAND.format(out=str(Path(folder) / str(turn))))
            other, _, other_peak = process(PEER)
            if turn:  # the first is for the page cache
                runs["softgrad fit digits"].append((whole, peak))
                runs["a scikit-learn script"].append((other, other_peak))
    ours, peer = (_measure(name, found) for name, found in runs.items())
    note = "interpreter, imports, data, fit, model, numbers and pictures written; the script only fits and scores"
    yield faster("softgrad fit digits, end to end", ours, peer, None, note)
