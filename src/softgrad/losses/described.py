"""A loss as plain data and back: the names of its parts and their numbers, for model files and reports."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from softgrad.arrays import refuse
from softgrad.losses.loss import AbstractCurve, AbstractLink, AbstractScores, AbstractTargets, AbstractWeights, Loss

KINDS = {"link": AbstractLink, "scores": AbstractScores, "curve": AbstractCurve, "targets": AbstractTargets, "weights": AbstractWeights}


def describe(loss: Loss) -> dict[str, Any]:
    """Names and numbers of a loss's parts, ready for JSON."""
    described = {name: _part(getattr(loss, name)) for name in KINDS if name != "scores"}
    return described | {"scores": [_part(part) for part in loss.scores]}


def _part(part: Any) -> list[Any]:
    return [type(part).__name__, {f.name: getattr(part, f.name) for f in fields(part)}]


def build(described: dict[str, Any]) -> Loss:
    """The loss that `describe` told of. Parts are found by name among the library's own; nothing else is ever called."""
    parts = {name: _made(kind, described[name]) for name, kind in KINDS.items() if name != "scores"}
    return Loss(scores=tuple(_made(AbstractScores, one) for one in described["scores"]), **parts)


def _made(kind: type, described: list[Any]) -> Any:
    name, numbers = described
    known = {part.__name__: part for part in kind.__subclasses__() if part.__module__.startswith("softgrad.losses.")}
    if name not in known:
        refuse("load(path)", f"the loss must be made of parts known here ({', '.join(sorted(known))})", str(name), "use a newer softgrad")
    return known[name](**{key: tuple(value) if isinstance(value, list) else value for key, value in numbers.items()})
