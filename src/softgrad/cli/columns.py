"""Columns of a table, matched by their names with those that a model was fitted on."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from softgrad.arrays import SoftgradError
from softgrad.cli import console

TABLES = (".csv", ".tsv")


def header(source: str) -> tuple[str, ...] | None:
    """What a table calls its columns; None where they have no names."""
    from softgrad.data.table import column_names

    path = Path(source).expanduser()
    return column_names(path) if path.suffix.lower() in TABLES and path.is_file() else None


def order(source: str, names: Sequence[str] | None, fitted: Sequence[str] | None) -> list[int] | None:
    """The number of each column that the fit had; None where they lie as they did, or where names do not say.

    Raises SoftgradError where only some are known.
    """
    if not names or not fitted or list(names) == list(fitted) or len(set(fitted)) < len(fitted):
        return None
    if not set(names) & set(fitted):
        console.say("warning: no column has a name that it had in the fit; they are taken in their order")
        return None
    missing, more = list((Counter(fitted) - Counter(names)).elements()), list((Counter(names) - Counter(fitted)).elements())
    if missing or more:
        came = " and ".join(["is without " + few(missing)] * bool(missing) + ["has also " + few(more)] * bool(more))
        raise SoftgradError(f"SOURCE: columns must be those of the fit, {source} {came}: rename, add or drop columns")
    return [names.index(name) for name in fitted]


def few(names: Sequence[str]) -> str:
    """The first of many names."""
    return ", ".join(map(repr, names[:5])) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
