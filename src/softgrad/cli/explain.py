"""`softgrad explain`: every step of one row's loss and gradient, in the user's own numbers."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from dataclasses import fields
from typing import Any

from softgrad import losses
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
    """The loss that words tell of: one name of a loss, or a name for each of its parts.

    NAME, NAME:NUMBER,... or NAME:FIELD=NUMBER,...; numbers of a list stand between /. A name that both a loss and a part have is the loss's
    where it stands alone. SystemExit(2) for a name that is neither.
    """
    parts = {_plain(part.__name__): part for kind in (ONE | SEVERAL).values() for part in known(kind)}
    named = {_plain(name): make for name in losses.__all__ if _makes_a_loss(make := getattr(losses, name))}
    names = [_plain(word.partition(":")[0]) for word in words]
    if len(words) == 1 and names[0] in named:
        return _made(words[0], named[names[0]], _numbers_of(named[names[0]]))
    for name, word in zip(names, words, strict=True):
        if name not in parts:
            alone = f"a loss stands alone ({', '.join(sorted(make.__name__ for make in named.values()))}), "
            together = f"parts go together ({', '.join(sorted(parts))})"
            console.say(f"error: --loss: {alone}{together}; got {word}")
            raise SystemExit(2)
    made = zip(words, (parts[name] for name in names), strict=True)
    return compose(*(_made(word, part, [field.name for field in fields(part)]) for word, part in made))


def _plain(name: str) -> str:
    return name.lower().replace("-", "").replace("_", "")


def _makes_a_loss(make: Any) -> bool:
    return inspect.isfunction(make) and make is not compose and make.__annotations__.get("return") == "Loss"


def _numbers_of(make: Callable[..., Any]) -> list[str]:
    """Names of its numbers; those that are passed on are cross-entropy's."""
    own = inspect.signature(make).parameters.values()
    names = [p.name for p in own if p.kind is not p.VAR_KEYWORD]
    return names if len(names) == len(own) else [*names, *inspect.signature(losses.cross_entropy).parameters]


def _made(word: str, make: Callable[..., Any], names: list[str]) -> Any:
    name, _, told = word.partition(":")
    given: dict[str, Any] = {}
    for place, text in enumerate(told.split(",") if told else ()):
        field, is_named, value = text.rpartition("=")
        field = field if is_named else (names[place] if place < len(names) else "")
        if field not in names:
            refuse("--loss", f"{make.__name__} has the numbers {', '.join(names) or '(none)'}", text, "name one of these")
        given[field] = tuple(map(_value, value.split("/"))) if "/" in value else _value(value)
    try:
        return make(**given)
    except TypeError:
        refuse("--loss", f"{make.__name__} needs {', '.join(names)}", word, f"write {name}:{names[0] if names else ''}=1")


def _value(text: str) -> Any:
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text
