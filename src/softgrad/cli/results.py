"""The folder of a fit: checked before the fit, filled after it, every file whole or absent.

metrics.json (sweep.json of a sweep) is removed first and written when all other numbers are there: where it lies, all files beside it
belong to the same fit. The pictures follow; whoever interrupts them has a whole fit with fewer of them.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from softgrad.arrays import SoftgradError
from softgrad.atomic import PREFIX, SUFFIX, replacing, sweep, write_text
from softgrad.cli import console

LAST = ("metrics.json", "sweep.json")
OPTIONAL = ("loss_curve.png", "confusion.png", "templates.png", "sweep.png")


def default_folder(name: str) -> str:
    """softgrad-NAME with what a file system may not like turned into dashes."""
    return "softgrad-" + (re.sub(r"[^\w.]+", "-", name).strip("-.") or "fit")


def expect_writable(folder: Path, option: str = "--out") -> None:
    """Raise SoftgradError when `folder` can neither be written to nor be made; changes nothing."""
    nearest = folder.absolute()
    while not os.path.lexists(nearest):
        nearest = nearest.parent
    if not nearest.is_dir():
        raise SoftgradError(f"{option}: must be a folder, got {folder}, where {nearest} is a file: give another one")
    if not os.access(nearest, os.W_OK | os.X_OK):
        raise SoftgradError(f"{option}: must be writable, got {folder}, where {nearest} is not: give another one")


class Results:
    """The folder that a fit writes to: made, tried out and swept when constructed.

    Raises SoftgradError or OSError when nothing can be written there.
    """

    def __init__(self, folder: Path) -> None:
        expect_writable(folder)
        self.folder = folder
        self.written: list[str] = []
        self._made = not folder.exists()
        folder.mkdir(parents=True, exist_ok=True)
        sweep(folder)
        try_out = folder / f"{PREFIX}try{SUFFIX}"
        write_text(try_out, "")  # permissions alone do not tell: full disks, read-only mounts
        try_out.unlink()

    def place(self, name: str) -> Path:
        """Path of a file in the folder, noted as written."""
        self.written.append(name)
        return self.folder / name

    def drop(self) -> None:
        """Take the folder away again where this fit made it and nothing came of it."""
        if self._made:
            with contextlib.suppress(OSError):  # not empty: something did come of it
                self.folder.rmdir()

    def begin(self) -> None:
        """Take away what a former fit told about itself, and what this one may not write again."""
        for name in (*LAST, *OPTIONAL):
            with contextlib.suppress(FileNotFoundError):
                (self.folder / name).unlink()

    def numbers(self, curve: Sequence[float], measured: Any) -> None:
        """Write loss_curve.csv and confusion.csv."""
        lines = [f"{k},{float(value)!r}" for k, value in enumerate(curve, start=1)]
        write_text(self.place("loss_curve.csv"), "\n".join(["pass,loss", *lines, ""]))
        write_text(self.place("confusion.csv"), measured.csv())

    def pictures(self, dataset: Any, classifier: Any, curve: Sequence[float], measured: Any, part: str, scale: float) -> None:
        """Write the pictures; templates for images only."""
        from softgrad.report import pictures

        name = dataset.name
        self.picture("loss_curve.png", pictures.loss_curve(curve, title=f"{name}: objective against passes"))
        title = f"{name}: confusion of the {part} rows"
        self.picture("confusion.png", pictures.confusion_matrix(measured.counts, measured.classes, title=title))
        if dataset.image_shape is not None:
            seen = [dataset.classes[number] for number in classifier.classes_]
            title = f"{name}: weights of each class"
            sheet = pictures.weight_templates(classifier.coef_, seen, dataset.image, scale=scale, title=title)
            self.picture("templates.png", sheet)

    def finish(self, metrics: dict[str, Any], name: str = "metrics.json") -> None:
        """Write the numbers, after all other files that hold some."""
        write_text(self.place(name), console.as_json(metrics) + "\n")

    def picture(self, name: str, png: bytes) -> None:
        """Write one picture."""
        with replacing(self.place(name)) as file:
            file.write(png)
