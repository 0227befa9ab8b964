"""Tables in text, .csv and .tsv: columns of numbers and one column of labels.

Numbers are parsed by NumPy's C reader in one pass. Only when it stops, or a value is not finite, does the slow pass in
Python go through the rows again to name the row and the column.
"""

from __future__ import annotations

import csv
import math
import operator
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from softgrad.arrays import SoftgradError
from softgrad.data.reading import Parts, reading, refusal

DELIMITERS = {".csv": ",;\t", ".tsv": "\t"}
LABEL_NAMES = ("label", "target", "class", "y", "labels", "targets")
ENCODING = "utf-8-sig"  # Excel puts a byte order mark first


@dataclass(frozen=True)
class Form:
    """How a table is laid out: what the first row tells, and which column holds the labels."""

    delimiter: str
    names: tuple[str, ...] | None  # None: no header
    width: int
    label: int  # -1: none does
    skip: int  # lines up to the end of the header

    def column(self, number: int) -> str:
        """How messages call a column."""
        return f"column {number} (counted from 0)" if self.names is None else f"column {self.names[number]!r}"


def read_table(path: Path, label: str | int | None) -> Parts:
    """Read features float64 (N, D) and labels, text or whole numbers; a bad cell is named by row and column."""
    form = _form(path, label)
    codes: dict[str, int] = {}  # label text -> number, in order of appearance

    def code(text: str) -> int:
        text = text.strip()
        if _is_missing(text):
            raise ValueError("no label")
        return codes.setdefault(text, len(codes))

    table = _cells(path, form, {form.label: code})
    values = _label_values(path, form, list(codes))
    y = values[table[:, form.label].astype(np.int64)]
    parts = Parts(path.stem, np.delete(table, form.label, axis=1), y)
    if form.names is not None:
        parts.feature_names = form.names[: form.label] + form.names[form.label + 1 :]
        parts.label_name = form.names[form.label]
    return parts


def read_features(path: Path) -> np.ndarray:
    """A table without labels, all of it: float64 (N, D)."""
    return _cells(path, _form(path, None, labelled=False), {})


def column_names(path: Path) -> tuple[str, ...] | None:
    """What the header of a table calls its columns; None without one."""
    return _form(path, None, labelled=False).names


def _cells(path: Path, form: Form, converters: dict[int | str, Callable[[str], int]]) -> np.ndarray:
    with reading(path):
        try:
            table = np.loadtxt(
                path,
                np.float64,
                delimiter=form.delimiter,
                comments=None,
                quotechar='"',
                skiprows=form.skip,
                converters=converters,
                encoding=ENCODING,
                ndmin=2,
            )
        except UnicodeDecodeError:
            raise
        except ValueError:
            _name_bad_cell(path, form)
            raise
        # A sum is not finite where a term is not, and needs no N x D flags; a mere overflow of it names no cell
        with np.errstate(all="ignore"):
            finite = np.isfinite(table.sum())
        if not finite or table.shape[1] != form.width:
            _name_bad_cell(path, form)
    return table


def _form(path: Path, label: str | int | None, *, labelled: bool = True) -> Form:
    with reading(path):
        with path.open(encoding=ENCODING, newline="") as file:
            first_line = next((line for line in file if line.strip()), "")
        choices = DELIMITERS[path.suffix.lower()]
        delimiter = max(choices, key=lambda mark: len(next(csv.reader([first_line], delimiter=mark), [])))
        rows = _numbered_rows(path, delimiter)
        skip, first = next(rows, (0, []))
        second = next(rows, None)
    if not first:
        raise refusal(path, "a table must have rows, found an empty file; check how it was written")
    names = tuple(cell.strip() for cell in first) if _is_header(first, label) else None
    if names is not None and second is None:
        raise refusal(path, f"a table must have rows, found only the header {names[:4]}; add the rows")
    if len(first) < 2 and labelled:
        raise refusal(path, "a table must have features and a label, found 1 column; separate columns by comma, semicolon or tab")
    column = _label_column(path, names, len(first), label) if labelled else -1
    return Form(delimiter, names, len(first), column, skip if names else 0)


def _numbered_rows(path: Path, delimiter: str) -> Iterator[tuple[int, list[str]]]:
    """Rows that are not blank, each with the number of its last line."""
    with path.open(encoding=ENCODING, newline="") as file:
        reader = csv.reader(file, delimiter=delimiter)
        for row in reader:
            if row:
                yield reader.line_num, row


def _is_header(first: list[str], label: str | int | None) -> bool:
    """Whether the first row holds names.

    It does where no cell is a number, where the numbers count the columns beside one label name (0, 1, 2, label), and
    where it only counts at least four columns from 0, as pandas does for a table without names.
    """
    cells = [cell.strip() for cell in first]
    if isinstance(label, str) and label in cells:
        return True
    numbers = [cell for cell in cells if _is_number(cell)]
    if not numbers:
        return True
    others = [cell for cell in cells if not _is_number(cell)]
    counted = [[str(start + k) for k in range(len(numbers))] for start in (0, 1)]
    if not others:
        return len(numbers) > 3 and numbers == counted[0]
    return len(numbers) > 1 and numbers in counted and len(others) == 1 and others[0].lower() in LABEL_NAMES


def _is_number(cell: str) -> bool:
    """As NumPy's reader takes them; Python's float also takes 1_000."""
    try:
        float(cell)
    except ValueError:
        return False
    return "_" not in cell


def _is_missing(label: str) -> bool:
    return label == "" or label.lower() == "nan"


def _label_column(path: Path, names: tuple[str, ...] | None, width: int, label: str | int | None) -> int:
    if label is None:
        lower = [name.lower() for name in names or ()]
        return next((lower.index(name) for name in LABEL_NAMES if name in lower), width - 1)
    call = f"load({str(path)!r}, label={label!r})"
    if isinstance(label, str):
        if names is None:
            raise SoftgradError(f"{call}: a column name needs a header, found none; pass the number of the column, from 0")
        if names.count(label) != 1:
            raise SoftgradError(
                f"{call}: label must name one column, found {names.count(label)} of that name among "
                f"{', '.join(map(repr, names[:12]))}{', ...' if width > 12 else ''}; pass one of them or its number"
            )
        return names.index(label)
    try:
        number = operator.index(label)
    except TypeError:
        raise SoftgradError(f"{call}: label must be a name or a number, found {type(label).__name__}; pass one") from None
    if not -width <= number < width:
        raise SoftgradError(f"{call}: label must be a column from 0 to {width - 1}, found {number}; negative counts from the end")
    return number % width


def _name_bad_cell(path: Path, form: Form) -> None:
    """Raise for the first row of another width, cell without a finite number, or label that is missing."""
    row_number = 0
    for line, row in _numbered_rows(path, form.delimiter):
        if line <= form.skip:
            continue
        row_number += 1
        place = f"row {row_number} (line {line} of the file)"
        if len(row) != form.width:
            raise refusal(path, f"every row must have {form.width} columns, found {len(row)} in {place}; repair the row")
        for number, cell in enumerate(row):
            if number == form.label and _is_missing(cell.strip()):
                raise refusal(
                    path,
                    f"every row must have a label, found {cell!r} in {place}, {form.column(number)}; fill it in or drop the row",
                )
            if number != form.label and not (_is_number(cell) and math.isfinite(float(cell))):
                what = f"{cell[:40]!r}" if cell.strip() else "an empty cell"
                if "," in cell and _is_number(cell.replace(",", ".", 1)):
                    raise refusal(path, f"numbers must have decimal points, found {what} in {place}, {form.column(number)}; write them so")
                raise refusal(
                    path,
                    f"features must be finite numbers, found {what} in {place}, {form.column(number)}; "
                    "repair or drop it, or name the label column with label=",
                )


def _label_values(path: Path, form: Form, texts: list[str]) -> np.ndarray:
    """Label of each code: whole numbers where all texts are such (1, 1.0, 1e0 are one class), else the texts."""
    if not all(map(_is_number, texts)):
        return np.array(texts)
    values = []
    for text in texts:
        if not float(text).is_integer() or abs(float(text)) >= 2.0**53:
            raise refusal(
                path,
                f"labels must be text or whole numbers, found {text!r} in {form.column(form.label)}; name the label column with label=",
            )
        values.append(int(float(text)))
    return np.array(values, np.int64)
