"""Rooms on floors above that have something to hand in below, by name: the front door says which, who needs it loads them.

So `import softgrad` loads none of them, and arrows point down all the same.
"""

from __future__ import annotations

import importlib

rooms: list[str] = []


def load() -> None:
    """Load all of them, if they are not yet; another thread that is at it is waited for."""
    for room in rooms:
        importlib.import_module(room)
