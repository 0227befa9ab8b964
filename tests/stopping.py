"""Sweeps in processes of their own, which are stopped on their way, and what they have written so far."""

import json
import subprocess
import sys
import time

import pytest


def begun(source, folder, *words):
    """A sweep under way."""
    command = [sys.executable, "-m", "softgrad", "sweep", str(source), *map(str, words), "--out", str(folder)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True)


def wait_for_lines(process, folder, many):
    """Until so many lines of passes are there."""
    while process.poll() is None:
        try:
            if (folder / "passes.jsonl").read_bytes().count(b"\n") >= many:
                return
        except FileNotFoundError:
            pass
        time.sleep(0.001)
    pytest.fail("it was done before it was stopped: " + process.stderr.read())


def lines_of(folder):
    return [json.loads(line) for line in (folder / "passes.jsonl").read_text().splitlines()]


def without_seconds(lines):
    return [{name: value for name, value in line.items() if name != "seconds"} for line in lines]
