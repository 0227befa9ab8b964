"""`softgrad explain`: every step of one row's loss and gradient, in the user's own numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from typing import Any

from softgrad.arrays import refuse
from softgrad.cli import console
from softgrad.cli.parser import Arguments
from softgrad.explanation import explain as explained
from softgrad.losses import Loss, compose
from softgrad.losses.composed import ONE, SEVERAL
from softgrad.losses.described import known


def explain(arguments: Arguments) -> None:
    """Run the verb."""
    told = explained(arguments.scores, arguments.label, loss=loss_of(arguments.loss), temperature=arguments.temperature)
    print(console.as_json(told.numbers()) if arguments.json else told)


def loss_of(words: Sequence[str]) -> Loss:
    """The loss that words tell of: NAME, NAME:NUMBER,... or NAME:FIELD=NUMBER,..., one for each part; numbers of a list stand between /."""
    parts = {part.__name__.lower(): part for kind in (ONE | SEVERAL).values() for part in known(kind)}
    return compose(*(_part(word, parts) for word in words))


def _part(word: str, parts: dict[str, type]) -> Any:
    name, _, told = word.partition(":")
    part = parts.get(name.lower().replace("-", "").replace("_", ""))
    if part is None:
        refuse("--loss", f"parts are {', '.join(sorted(parts))}", name, "choose among these")
    names = [field.name for field in fields(part)]
    given: dict[str, Any] = {}
    for place, text in enumerate(told.split(",") if told else ()):
        field, is_named, value = text.rpartition("=")
        field = field if is_named else (names[place] if place < len(names) else "")
        if field not in names:
            refuse("--loss", f"{part.__name__} has the numbers {', '.join(names) or '(none)'}", text, "name one of these")
        given[field] = tuple(map(_value, value.split("/"))) if "/" in value else _value(value)
    try:
        return part(**given)
    except TypeError:
        refuse("--loss", f"{part.__name__} needs {', '.join(names)}", word, f"write {name}:{names[0] if names else ''}=1")


def _value(text: str) -> Any:
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text
