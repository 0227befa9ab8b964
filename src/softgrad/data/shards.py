"""A folder of .npy shards, rows and labels in pairs: how the features of many million pictures are kept.

| rows           | labels                         |
|----------------|--------------------------------|
| X_007.npy      | y_007.npy                      |
| part7_X.npy    | part7_y.npy                    |
| part7.npy      | part7_labels.npy               |

Shards are read in the order of the numbers in their names (shard 10 after shard 9). Those with "test" in their name are the test split
where others have "train" in theirs.
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from softgrad.data import npy
from softgrad.data.reading import Parts, reading, refusal
from softgrad.sources.fixed import FixedRows, joined


def read_folder(folder: Path) -> Parts | None:
    """Rows of all shards, left on disk, and their labels; None where the folder has no .npy files."""
    with reading(folder):
        names = {path.name for path in folder.iterdir() if path.suffix == ".npy"}
    if not names:
        return None
    pairs = {name: label for name in names for label in _label_names(name) if label in names and label != name}
    alone = sorted(names - pairs.keys() - set(pairs.values()))
    if alone or not pairs:
        raise refusal(
            folder,
            f"every shard must have its labels beside it, found none for {', '.join(alone[:4])}; call them y_1.npy for X_1.npy, "
            "A_y.npy for A_X.npy or A_labels.npy for A.npy",
        )
    train, test = split(sorted(pairs, key=by_number))
    X, y = _joined(folder, train, pairs)
    X_test, y_test = _joined(folder, test, pairs) if test else (None, None)
    return Parts(folder.resolve().name, X, y, X_test, y_test)


def _label_names(name: str) -> list[str]:
    stem = name.removesuffix(".npy")
    beside = [f"y{stem[1:]}.npy"] if stem[:1] in ("X", "x") else []
    return [*beside, *([f"{stem[:-2]}_y.npy"] if stem[-2:] in ("_X", "_x") else []), f"{stem}_labels.npy"]


def by_number(name: str) -> list[tuple[int, str]]:
    """Key that sorts shard 10 after shard 9."""
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d+)", name)]


def split(names: list[str]) -> tuple[list[str], list[str]]:
    """Names of the training and of the test files."""
    test = [name for name in names if "test" in name]
    train = [name for name in names if "test" not in name]
    return (train, test) if any("train" in name for name in train) else (names, [])


def _joined(folder: Path, names: list[str], pairs: dict[str, str]) -> tuple[FixedRows, np.ndarray]:
    parts, labels = [], []
    for name in names:
        parts.append(npy.on_disk(folder / name)[0])
        labels.append(npy.array(folder / pairs[name]))
        if len(labels[-1]) != len(parts[-1]):
            came = f"{len(parts[-1])} rows and {len(labels[-1])} labels"
            raise refusal(folder / name, f"a shard must have one label per row, found {came}; write the shard again")
    kinds = {y.dtype.kind for y in labels}
    if len(kinds - {"i", "u"}) > 0 and len(kinds) > 1:
        raise refusal(folder, f"labels of all shards must be of one kind, found {', '.join(sorted(kinds))}; save them all the same way")
    return joined(f"stream({str(folder)!r})", parts), np.concatenate(labels)
