"""A loss as plain data and back: the names of its parts and their numbers, for model files and reports."""

from __future__ import annotations

import importlib
from dataclasses import fields
from inspect import isabstract
from typing import Any

from softgrad import losses
from softgrad.arrays import refuse
from softgrad.losses.composed import ONE, SEVERAL, compose
from softgrad.losses.loss import Loss

LATER = ("head", "mining")  # kinds that older files do not tell of


def describe(loss: Loss) -> dict[str, Any]:
    """Names and numbers of a loss's parts, ready for JSON."""
    one = {name: _part(getattr(loss, name)) for name in ONE}
    return one | {name: [_part(part) for part in getattr(loss, name)] for name in SEVERAL}


def _part(part: Any) -> list[Any] | None:
    return None if part is None else [type(part).__name__, {f.name: getattr(part, f.name) for f in fields(part)}]


def build(described: dict[str, Any]) -> Loss:
    """The loss that `describe` told of. Parts are found by name among the library's own; nothing else is ever called."""
    one = [name for name in ONE if name not in LATER or described.get(name) is not None]
    parts = [_made(ONE[name], described[name]) for name in one]
    parts += [_made(kind, part) for name, kind in SEVERAL.items() for part in described.get(name, ())]
    return compose(*parts)


def known(kind: type) -> list[type]:
    """The library's own parts of a kind, the final ones, of every room."""
    for room in losses.ROOMS:
        importlib.import_module(f"softgrad.losses.{room}")
    return _final(kind)


def _final(kind: type) -> list[type]:
    found = [part for child in kind.__subclasses__() for part in (child, *_final(child))]
    return [part for part in found if part.__module__.startswith("softgrad.losses.") and not isabstract(part)]


def _made(kind: type, described: list[Any]) -> Any:
    name, numbers = described
    parts = {part.__name__: part for part in known(kind)}
    if name not in parts:
        refuse("load(path)", f"the loss must be made of parts known here ({', '.join(sorted(parts))})", str(name), "use a newer softgrad")
    return parts[name](**{key: tuple(value) if isinstance(value, list) else value for key, value in numbers.items()})
