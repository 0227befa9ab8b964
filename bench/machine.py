"""Where and with what the numbers were made."""

from __future__ import annotations

import contextlib
import importlib.metadata
import os
import platform
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import softgrad
from bench.timing import THREADS
from softgrad import threads
from softgrad.kernels import native

CPU = Path("/sys/devices/system/cpu/cpu0/cache")


def facts() -> dict[str, Any]:
    """Processor, memory, system, versions, command, date, and how busy the machine was before."""
    return {
        "processor": _line("/proc/cpuinfo", "model name") or platform.processor() or "unknown",
        "cores": threads.available(),
        "threads of each side": THREADS,
        "caches": _caches() or "unknown",
        "memory": _memory(),
        "system": f"{platform.platform()}",
        "versions": ", ".join(f"{name} {_version(name)}" for name in ("softgrad", "numpy", "scipy", "scikit-learn", "torch")),
        "python": platform.python_version(),
        "kernels": native.status(),
        "blas": _blas(),
        "commit": _commit(),
        "command": " ".join(["python -m bench", *sys.argv[1:]]),
        "date": time.strftime("%Y-%m-%d %H:%M %z"),
        "load before": " ".join(f"{load:.2f}" for load in os.getloadavg()),
    }


def _line(path: str, key: str) -> str:
    with contextlib.suppress(OSError):
        for line in Path(path).read_text().splitlines():
            if line.startswith(key):
                return line.split(":", 1)[1].strip()
    return ""


def _caches() -> str:
    found = []
    with contextlib.suppress(OSError):
        for index in sorted(CPU.glob("index*")):
            level, kind, size, shared = ((index / part).read_text().strip() for part in ("level", "type", "size", "shared_cpu_list"))
            found.append(f"L{level} {kind.lower()} {size} (cpu {shared})")
    return ", ".join(found)


def _memory() -> str:
    kib = _line("/proc/meminfo", "MemTotal").split()
    return f"{int(kib[0]) / 2**20:.1f} GiB" if kib else "unknown"


def _version(name: str) -> str:
    if name == "softgrad":
        return softgrad.__version__
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return "missing"


def _blas() -> str:
    from threadpoolctl import threadpool_info

    found = [p for p in threadpool_info() if p["user_api"] == "blas"]
    return ", ".join(sorted({f"{p['internal_api']} {p['version']} ({p.get('architecture', '?')})" for p in found}))


def _commit() -> str:
    with contextlib.suppress(OSError):
        here = Path(__file__).resolve().parent
        done = subprocess.run(["git", "describe", "--always", "--dirty"], check=False, cwd=here, capture_output=True, text=True)
        if done.returncode == 0:
            return done.stdout.strip()
    return "unknown"
