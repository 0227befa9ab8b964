"""Algorithms that minimise: L-BFGS, which sees value and gradient; stochastic descent on mini-batches, made of rules and schedules.

Names are found when they are asked for: `import softgrad` comes by here and needs none of them.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from softgrad.solvers.lbfgs import LBFGS
    from softgrad.solvers.rules import AbstractRule, Adam, Momentum, Nesterov
    from softgrad.solvers.schedules import AbstractSchedule, Constant, Cosine, Geometric, Linear
    from softgrad.solvers.sgd import SGD

__all__ = ["LBFGS", "SGD", "AbstractRule", "AbstractSchedule", "Adam", "Constant", "Cosine", "Geometric", "Linear", "Momentum", "Nesterov"]

_ROOMS = {
    "lbfgs": ("LBFGS",),
    "sgd": ("SGD",),
    "rules": ("AbstractRule", "Adam", "Momentum", "Nesterov"),
    "schedules": ("AbstractSchedule", "Constant", "Cosine", "Geometric", "Linear"),
}


def __getattr__(name: str) -> Any:
    for room, names in _ROOMS.items():
        if name in names:
            return getattr(importlib.import_module(f"softgrad.solvers.{room}"), name)
    raise AttributeError(f"module 'softgrad.solvers' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
