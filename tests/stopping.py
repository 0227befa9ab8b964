"""Sweeps in processes of their own, which are stopped on their way, and what they have written so far."""

import json
import os
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


def table_on_a_terminal(source, *words, folder, heading, counts):
    """A sweep writes its table over the one before: done counts first to last among them, and wipes it away when it is done."""
    ours, theirs = os.openpty()
    command = [sys.executable, "-m", "softgrad", "sweep", str(source), *map(str, words), "--out", str(folder)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=theirs, start_new_session=True)
    os.close(theirs)
    seen = b""
    try:
        while b"wrote" not in seen:
            seen += os.read(ours, 4096)
    finally:
        process.communicate(timeout=60)
        os.close(ours)
    assert process.returncode == 0
    first, *others = seen.split(b"\x1b[J")
    assert first.startswith(heading)
    assert counts[0] in first
    assert any(counts[1] in table for table in others)
    assert all(table.startswith(b"\r\x1b[") for table in others[:-1])  # each over the one before
    assert b"gradient" not in others[-1]
