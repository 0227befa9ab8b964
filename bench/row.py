"""One line of the table: what was measured on each side, their ratio, and the bar it has to reach."""

from __future__ import annotations

import statistics
from dataclasses import dataclass, field
from typing import Any

MIB = 1 << 20


@dataclass(frozen=True)
class Peak:
    """Resident memory of a fresh process in bytes: before the call (libraries and data loaded) and at its highest during the call.

    before is 0 where the whole process is what was measured.
    """

    before: int
    highest: int

    @property
    def extra(self) -> int:
        return max(0, self.highest - self.before)


@dataclass(frozen=True)
class Measure:
    """All times of one side, and its memory."""

    name: str
    seconds: tuple[float, ...] = ()
    peak: Peak | None = None

    @property
    def median(self) -> float:
        return statistics.median(self.seconds)

    def cell(self) -> str:
        parts = [duration(self.median)] if self.seconds else []
        if self.peak is not None:
            parts.append(f"{'+' if self.peak.before else ''}{self.peak.extra / MIB:.1f} MiB")
        return f"{self.name}: {', '.join(parts)}"


@dataclass(frozen=True)
class Row:
    """A line of the table; `facts` hold every number behind it, for the JSON file."""

    work: str
    ours: str
    peer: str = ""
    ratio: float | None = None
    bar: str = ""
    met: bool | None = None
    note: str = ""
    facts: dict[str, Any] = field(default_factory=dict)


def faster(work: str, ours: Measure, peer: Measure, bar: float | None, note: str = "") -> Row:
    """Time of the peer over ours, at least `bar`; without a bar the ratio is only told."""
    ratio = peer.median / ours.median
    text, met = (f"at least {bar:g} x", ratio >= bar) if bar is not None else ("", None)
    return Row(work, ours.cell(), peer.cell(), ratio, text, met, note, facts(ours, peer))


def below(work: str, ours: Measure, value: float, limit: float, text: str, note: str = "") -> Row:
    """One number of ours, below a limit."""
    return Row(work, ours.cell(), "", None, text, value < limit, note, facts(ours) | {"value": value, "limit": limit})


def facts(*measures: Measure) -> dict[str, Any]:
    """The numbers of measures as JSON holds them."""
    return {
        m.name: {
            "median_seconds": m.median if m.seconds else None,
            "seconds": list(m.seconds),
            "memory": None if m.peak is None else {"before": m.peak.before, "highest": m.peak.highest, "extra": m.peak.extra},
        }
        for m in measures
    }


def duration(seconds: float) -> str:
    """Three figures: 48.3 ms, 7.61 s."""
    value, unit = (seconds, "s") if seconds >= 1 else (1e3 * seconds, "ms")
    return f"{value:.{2 if value < 10 else 1 if value < 100 else 0}f} {unit}"
