"""The door of the readers: looks at what `source` is and calls the one reader that knows it."""

from __future__ import annotations

import operator
import os
from pathlib import Path

from softgrad.arrays import SoftgradError
from softgrad.data import cifar10, idx, npy, npz, table
from softgrad.data.assemble import assemble
from softgrad.data.dataset import Dataset
from softgrad.data.digits import read_digits
from softgrad.data.reading import Parts, holdings, reading

KINDS = "'digits', a folder with CIFAR-10 batches or IDX files (MNIST), an IDX images file, .npz, .npy with its labels, .csv or .tsv"


def load(source: str | os.PathLike, label: str | int | None = None, test_size: float = 0.2, seed: int = 0) -> Dataset:
    """Read a labelled data set, whatever common form it is in; `source` says which.

    - "digits": the handwritten digits of scikit-learn, 8 x 8;
    - a folder of CIFAR-10, binary or Python version (safe: no pickle can run code), or the folder above it;
    - a folder of IDX files as MNIST, Fashion-MNIST and EMNIST have them, gzipped or not, or the IDX images file itself;
    - `.npz` with X, y (or X_train, y_train, X_test, y_test, ...; the room `npz` lists the names, CSR rows included);
    - `.npy` with its labels beside it (NAME_labels.npy, labels.npy, y.npy, or y_a.npy for X_a.npy), or "X.npy,y.npy";
    - `.csv`, `.tsv` with numbers and one label column of text or whole numbers, with or without a header.

    `label` names the label column of a table, or counts it from 0; without it that is the column named label, target,
    class or y, else the last. Sets without a test split get a stratified one: `test_size` of the rows, by `seed`
    (none for 0).
    Raises SoftgradError, a ValueError, that names the file and the place when anything in it is not as it has to be.

    >>> data = load("digits")
    >>> data
    Dataset('digits': 1438 + 359 rows, 64 features, 10 classes)
    >>> data.X.dtype, data.image(data.X[0]).shape, data.classes[:3], data.own_test
    (dtype('uint8'), (8, 8), ('0', '1', '2'), False)
    """
    if not isinstance(source, (str, os.PathLike)):
        raise SoftgradError(f"load(source): source must be a name or a path, found {type(source).__name__}; pass {KINDS}")
    call = f"load({os.fspath(source)!r})"
    _check_split(call, test_size, seed)
    return assemble(_read(os.fspath(source), label, call), call, test_size, seed)


def _check_split(call: str, test_size: float, seed: int) -> None:
    try:
        good = 0 <= test_size < 1
    except TypeError:
        good = False
    if not good:
        raise SoftgradError(f"{call}: test_size must be a number of at least 0 and below 1, found {test_size!r}; the default is 0.2")
    try:
        good = operator.index(seed) >= 0
    except TypeError:
        good = False
    if not good:
        raise SoftgradError(f"{call}: seed must be a whole number of at least 0, found {seed!r}; the default is 0")


def _read(source: str, label: str | int | None, call: str) -> Parts:
    path = Path(source).expanduser()
    is_table = path.suffix.lower() in table.DELIMITERS
    if label is not None and not is_table:
        raise SoftgradError(f"{call}: label= goes with a .csv or .tsv table only, found label={label!r}; leave it out")
    if source == "digits":
        return read_digits()
    with reading(path):
        is_folder, is_file = path.is_dir(), path.is_file()
    if is_folder:
        return _read_folder(path, call)
    if not is_file and "," in source:
        return npy.read_pair(*_two_paths(source, call))
    if not is_file:
        raise SoftgradError(f"{call}: source must exist, found no such file or folder in {Path.cwd()}; pass {KINDS}")
    if is_table:
        return table.read_table(path, label)
    return _read_file(path, call)


def _two_paths(source: str, call: str) -> tuple[Path, Path]:
    paths = [Path(part.strip()).expanduser() for part in source.split(",")]
    if len(paths) != 2 or any(path.suffix.lower() != ".npy" for path in paths):
        raise SoftgradError(f"{call}: a source with a comma must be 'X.npy,y.npy', found {len(paths)} parts; pass {KINDS}")
    return paths[0], paths[1]


def _read_folder(folder: Path, call: str) -> Parts:
    for read in (cifar10.read_folder, idx.read_folder):
        parts = read(folder)
        if parts is not None:
            return parts
    raise SoftgradError(
        f"{call}: the folder must hold CIFAR-10 batches (data_batch_1.bin or data_batch_1) or IDX files "
        f"(train-images-idx3-ubyte[.gz]), found {holdings(folder)}; unpack archives first, or pass one file"
    )


def _read_file(path: Path, call: str) -> Parts:
    if path.suffix.lower() == ".npz":
        return npz.read_npz(path)
    if path.suffix.lower() == ".npy":
        return npy.read_npy(path)
    if cifar10.is_batch(path):
        raise SoftgradError(f"{call}: CIFAR-10 is read as a folder, found one batch of it; pass {str(path.parent)!r}")
    if idx.is_idx(path):
        return idx.read_images_file(path)
    raise SoftgradError(f"{call}: the kind of the file must be known, found {path.name!r}; pass {KINDS}")
