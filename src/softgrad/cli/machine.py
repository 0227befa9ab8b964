"""What the command runs on: versions, processor, threads, BLAS and kernels."""

from __future__ import annotations

import platform
from pathlib import Path
from typing import Any


def machine() -> dict[str, Any]:
    """Processor, threads and why so many, NumPy, BLAS, the kernels in use."""
    import math

    import numpy as np

    from softgrad import threads
    from softgrad.kernels import native

    quota = threads.quota()
    return {
        "processor": _processor(),
        "system": f"{platform.system()} {platform.machine()}",
        "threads": threads.count(),
        "affinity": threads.affinity(),
        "quota": quota if math.isfinite(quota) else None,
        "numpy": np.__version__,
        "blas": _blas(),
        "kernels": native.status(),
    }


def _processor() -> str:
    try:
        with Path("/proc/cpuinfo").open() as file:
            for line in file:
                if line.startswith("model name"):
                    return line.split(":", 1)[1].strip()
    except OSError:  # not Linux
        pass
    return platform.processor() or "unknown"


def _blas() -> str:
    """The BLAS that is loaded, as it tells itself."""
    from threadpoolctl import threadpool_info

    found = [f"{pool['internal_api']} {pool['version']}" for pool in threadpool_info() if pool["user_api"] == "blas"]
    return ", ".join(sorted(set(found))) or "unknown"
