"""The data set that a command is given: all of it in memory, or its rows left on disk."""

from __future__ import annotations

from typing import Any

from softgrad.cli.parser import Arguments


def read(arguments: Arguments, least_classes: int = 2) -> Any:
    """What `softgrad.data` makes of the source; nothing is held out of rows on disk."""
    from softgrad.data import load, stream

    if arguments.memory_limit is None:
        return load(arguments.source, arguments.label, arguments.test_size, arguments.seed, least_classes=least_classes)
    arguments.test_size = 0.0
    return stream(arguments.source, arguments.label, arguments.memory_limit, least_classes=least_classes)
