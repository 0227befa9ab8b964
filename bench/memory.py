"""Peak memory of one call, in a process of its own: libraries and data are loaded, a tiny call has been made, then the call.

Linux only lowers its high-water mark when asked to (clear_refs); without that the mark includes what loading the data took.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import json
import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bench.row import Peak
from bench.timing import Sides, two_threads

ROOT = Path(__file__).resolve().parent.parent
Setup = Callable[..., Sides]


def peak(setup: Setup, sizes: dict[str, Any], tiny: dict[str, Any], side: str) -> Peak:
    """Memory of `setup(**sizes)[side].call()` in a fresh process; `setup` is a function of a room, its arguments go as JSON."""
    order = [f"{setup.__module__}:{setup.__name__}", json.dumps(sizes), json.dumps(tiny), side]
    done = subprocess.run([sys.executable, "-m", "bench.memory", *order], check=False, cwd=ROOT, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"measuring the memory of {side} failed:\n{done.stderr}")
    return Peak(**json.loads(done.stdout.splitlines()[-1]))


def child(setup: Setup, sizes: dict[str, Any], tiny: dict[str, Any], side: str) -> dict[str, int]:
    """What the fresh process does."""
    with two_threads():
        setup(**tiny)[side].once()
        chosen = setup(**sizes)[side]
    with two_threads():  # once more: libraries that the setup loaded are limited too
        chosen.before()
        gc.collect()
        forget_peak()
        before = status("VmRSS")
        kept = chosen.call()
        highest = max(status("VmHWM"), before)
        del kept
    return {"before": before, "highest": highest}


def forget_peak() -> None:
    """Lower the high-water mark to what is resident now."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def status(key: str) -> int:
    """Bytes of a line of this process's status; where there is none, the peak that getrusage knows (in KiB on Linux)."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith(key + ":"):
                return int(line.split()[1]) << 10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10


if __name__ == "__main__":
    where, sizes_, tiny_, side_ = sys.argv[1:]
    room, name = where.split(":")
    print(json.dumps(child(getattr(importlib.import_module(room), name), json.loads(sizes_), json.loads(tiny_), side_)))
