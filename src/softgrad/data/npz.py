"""Arrays in one .npz file, by the names that people give them; dense rows, pictures or CSR rows.

| what | names, in any case |
|---|---|
| rows | X, data, features, images; of a split: X_train or train_X, X_test or test_X, ... |
| labels | y, label, labels, target, targets; of a split: y_train or train_y, ... |
| class names | classes (text by class number, or the label values in order), or a list in NAME_classes.json beside it |
| CSR rows | train_indptr, train_indices, train_data, train_labels; n_features, n_classes; the same with test_ |
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from softgrad.data.reading import Parts, flatten_pictures, reading, refusal

ROWS = ("x", "data", "features", "images")
LABELS = ("y", "label", "labels", "target", "targets")
SPARSE = ("indptr", "indices", "data", "labels")


def read_npz(path: Path) -> Parts:
    """Rows and labels of an .npz file; raises SoftgradError on unknown or ambiguous names, object arrays and damage."""
    # Opened here: np.load leaves a file of its own open when the zip directory is damaged
    with reading(path), path.open("rb") as file:
        if (begin := file.read(6))[:2] != b"PK":
            other = f"{begin!r} at its beginning; save it with np.savez, or get a whole copy"
            came = "one array; call it .npy" if begin == b"\x93NUMPY" else other
            raise refusal(path, f"an .npz file must be a zip of arrays, found {came}")
        file.seek(0)
        with np.load(file, allow_pickle=False) as archive:
            names = {name.lower(): name for name in archive.files}
            if len(names) < len(archive.files):
                raise refusal(path, f"names must differ in more than case, found {archive.files}; rename one")
            read = _read_sparse if "train_indptr" in names else _read_dense
            parts = read(path, archive, names)
            if "classes" in names:
                parts.classes = _array(path, archive, names["classes"])
    if "classes" not in names:
        parts.classes = _listed_classes(path) or parts.classes
    return parts


def _array(path: Path, archive: Any, name: str) -> np.ndarray:
    with reading(path):
        try:
            return archive[name]
        except ValueError as error:
            if "allow_pickle" not in str(error):
                raise
            raise refusal(
                path,
                f"arrays must hold numbers or text, found objects in {name!r}, which could run code when "
                "opened; save it with a plain dtype, as y.astype(str)",
            ) from None


def _read_dense(path: Path, archive: Any, names: dict[str, str]) -> Parts:
    found = {}
    for part, words in (("X", ROWS), ("y", LABELS)):
        found[part] = _one_of(path, names, words, words)
        for split in ("train", "test"):
            found[part, split] = _one_of(path, names, [f"{w}_{split}" for w in words] + [f"{split}_{w}" for w in words], words)
    X_name, y_name = found["X", "train"] or found["X"], found["y", "train"] or found["y"]
    X_test_name, y_test_name = found["X", "test"], found["y", "test"]
    if X_name is None or y_name is None or (X_test_name is None) != (y_test_name is None):
        raise refusal(
            path,
            f"the file must hold rows (X or X_train; {', '.join(ROWS[1:])}) and labels (y or y_train; "
            f"{', '.join(LABELS[1:])}), each split with both, found "
            f"{', '.join(names.values()) or 'no arrays'}; rename them",
        )
    X, image_shape, layout = flatten_pictures(_array(path, archive, X_name))
    parts = Parts(path.stem, X, _array(path, archive, y_name), image_shape=image_shape, layout=layout)
    if X_test_name is not None and y_test_name is not None:
        parts.X_test = flatten_pictures(_array(path, archive, X_test_name))[0]
        parts.y_test = _array(path, archive, y_test_name)
    return parts


def _one_of(path: Path, names: dict[str, str], wanted: Any, words: tuple[str, ...]) -> str | None:
    matches = [names[name] for name in wanted if name in names]
    if len(matches) > 1:
        raise refusal(
            path,
            f"only one array may go by the names {', '.join(words)}, found {', '.join(matches)}; save a file with the one you want",
        )
    return matches[0] if matches else None


def _read_sparse(path: Path, archive: Any, names: dict[str, str]) -> Parts:
    splits = ["train", "test"] if "test_indptr" in names else ["train"]
    missing = [f"{split}_{what}" for split in splits for what in SPARSE if f"{split}_{what}" not in names]
    if missing:
        raise refusal(path, f"CSR rows must come with {', '.join(missing)}, found none; add them")
    arrays = {key: _array(path, archive, names[key]) for split in splits for what in SPARSE for key in [f"{split}_{what}"]}
    with reading(path):
        if "n_features" in names:
            n_features = int(_array(path, archive, names["n_features"]))
        else:
            n_features = 1 + max(int(arrays[f"{split}_indices"].max(initial=-1)) for split in splits)
    parts = Parts(path.stem, _csr(path, arrays, "train", n_features), arrays["train_labels"])
    if "test" in splits:
        parts.X_test, parts.y_test = _csr(path, arrays, "test", n_features), arrays["test_labels"]
    if "n_classes" in names:
        with reading(path):
            parts.classes = [str(number) for number in range(int(_array(path, archive, names["n_classes"])))]
    return parts


def _csr(path: Path, arrays: dict[str, np.ndarray], split: str, n_features: int) -> Any:
    from scipy.sparse import csr_array

    indptr, indices, data = (arrays[f"{split}_{what}"] for what in SPARSE[:3])
    with reading(path):
        try:
            rows = csr_array((data, indices, indptr), shape=(len(indptr) - 1, n_features))
            rows.check_format(full_check=True)
        except ValueError as error:
            raise refusal(
                path,
                f"{split}_indptr, _indices and _data must make CSR rows of {n_features} features, found "
                f"that they do not: {' '.join(str(error).split())}; save the arrays of one scipy csr matrix",
            ) from error
    if indptr[-1] != len(data):  # scipy cuts the rest off without a word
        raise refusal(
            path,
            f"{split}_indptr must end in the number of values, {len(data)}, found {indptr[-1]}; save the arrays of one scipy csr matrix",
        )
    return rows


def _listed_classes(path: Path) -> list[str] | None:
    listing = path.with_name(f"{path.stem}_classes.json")
    with reading(listing):
        if not listing.is_file():
            return None
        classes = json.loads(listing.read_text(encoding="utf-8"))
    if not isinstance(classes, list) or not classes or not all(isinstance(name, str) for name in classes):
        raise refusal(listing, "class names must be a JSON list of text; repair or remove the file")
    return classes
