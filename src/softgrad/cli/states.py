"""Where the state of a sweep lies while it runs: a file for each of its runs, taken away when all results are written."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class States:
    """Files sweep*.ckpt of a folder: one for all fits that share their passes, or one for each fold and one for the last fit."""

    folder: Path

    def of(self, part: str = "") -> Path:
        """The file of a part of the sweep, or of all of it."""
        return self.folder / f"sweep{part and '-'}{part}.ckpt"

    @property
    def files(self) -> list[Path]:
        """Those that are there."""
        return sorted(self.folder.glob("sweep*.ckpt"))

    def remove(self) -> None:
        """Take them away."""
        for file in self.files:
            file.unlink(missing_ok=True)

    def seconds(self) -> float:
        """Seconds that went into them so far; raises SoftgradError for a damaged one."""
        from softgrad.checkpoint import seconds

        return sum(map(seconds, self.files))
