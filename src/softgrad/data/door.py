"""The door of the readers: looks at what `source` is and calls the one reader that knows it."""

from __future__ import annotations

import operator
import os
import re
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from softgrad.arrays import SoftgradError
from softgrad.data import cifar10, idx, libsvm, npy, npz, parquet, safetensors, shards, table
from softgrad.data.assemble import assemble, checked_rows
from softgrad.data.dataset import Dataset
from softgrad.data.digits import read_digits
from softgrad.data.reading import Parts, flatten_pictures, holdings, reading
from softgrad.row_source import AbstractRowSource

KINDS = "'digits', a folder with CIFAR-10 batches or IDX files (MNIST), an IDX images file, .npz, .npy with its labels, .csv or .tsv"

STREAMED = (
    "an .npy file with its labels, 'X.npy,y.npy', a folder of .npy shards, CIFAR-10 batches (.bin) or IDX files, an IDX images file, "
    ".libsvm, .parquet or .safetensors"
)
UNITS = {"": 1, "kb": 10**3, "mb": 10**6, "gb": 10**9, "kib": 1 << 10, "mib": 1 << 20, "gib": 1 << 30}
LEAST = 1 << 20  # bytes of a memory limit


def load(
    source: str | os.PathLike, label: str | int | None = None, test_size: float = 0.2, seed: int = 0, *, least_classes: int = 2
) -> Dataset:
    """Read a labelled data set, whatever common form it is in; `source` says which.

    - "digits": the handwritten digits of scikit-learn, 8 x 8;
    - a folder of CIFAR-10, binary or Python version (safe: no pickle can run code), or the folder above it;
    - a folder of IDX files as MNIST, Fashion-MNIST and EMNIST have them, gzipped or not, or the IDX images file itself;
    - `.npz` with X, y (or X_train, y_train, X_test, y_test, ...; the room `npz` lists the names, CSR rows included);
    - `.npy` with its labels beside it (NAME_labels.npy, labels.npy, y.npy, or y_a.npy for X_a.npy), or "X.npy,y.npy";
    - `.csv`, `.tsv` with numbers and one label column of text or whole numbers, with or without a header.

    `label` names the label column of a table, or counts it from 0; without it that is the column named label, target,
    class, y, labels or targets, else the last. Sets without a test split get a stratified one: `test_size` of the rows, by `seed`
    (none for 0). Rows of fewer than `least_classes` classes are refused: two to train on, one is enough to be predicted.
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
    return assemble(_read(os.fspath(source), label, call), call, test_size, seed, least_classes)


def stream(
    source: str | os.PathLike, label: str | int | None = None, memory_limit: str | int = "1GiB", *, least_classes: int = 2
) -> Dataset:
    """Open a labelled data set whose rows stay on disk: they are read anew, a block ahead, in every pass over them.

    - `.npy` with its labels beside it, or "X.npy,y.npy", named as for `load`; float16, bfloat16 (as NumPy stores it, V2) and all others;
    - a folder of `.npy` shards with their labels: X_1.npy and y_1.npy, A_X.npy and A_y.npy, or A.npy and A_labels.npy;
    - a folder of CIFAR-10 (binary version) or of IDX files that are not gzipped, or the IDX images file itself;
    - `.safetensors` with X and y (features, embeddings, ..., labels, target);
    - `.libsvm`, `.svmlight`, `.svm` text, as CSR rows; and `.parquet`, flat or with one column of lists, `label` naming the column of
      labels (extra `parquet`). Both are parsed once into a temporary file, which lies where TMPDIR says.

    The labels are in memory. memory_limit, bytes or text as "512MiB" or "2GB", bounds what passes and preconditioners hold of the
    rows at a time; labels, coefficients and the libraries come on top. A set without a test split of its own has no test rows here.
    X takes the place of an array in `SoftmaxClassifier` and `linear_value_and_grad`; X[i:j] are rows in memory. A pass has the bits that
    the same rows give from memory where the blocks are the same, which they are while none is larger than a 16th of the limit; so has a
    fit, where N >= D and its preconditioner fits into half the limit.
    Raises SoftgradError for a file that is not as it has to be, now or in any later pass, or that was changed in between.

    >>> import numpy as np, softgrad, tempfile, os
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     np.save(os.path.join(folder, "X.npy"), np.arange(12, dtype=np.float16).reshape(6, 2))
    ...     np.save(os.path.join(folder, "y.npy"), [0, 0, 0, 1, 1, 1])
    ...     data = stream(os.path.join(folder, "X.npy"), memory_limit="64MiB")
    ...     print(data, data.X, softgrad.SoftmaxClassifier().fit(data.X, data.y).score(data.X, data.y))
    Dataset('X': 6 + 0 rows, 2 features, 2 classes) FixedRows(6 x 2, float16) 1.0
    """
    if not isinstance(source, (str, os.PathLike)):
        raise SoftgradError(f"stream(source): source must be a path, found {type(source).__name__}; pass {STREAMED}")
    call = f"stream({os.fspath(source)!r})"
    if source == "digits":
        raise SoftgradError(f"{call}: source must be a path, found digits in memory; use load(), without a memory limit")
    limit = _bytes(call, memory_limit)
    parts = _open(os.fspath(source), label, call)
    parts.X = replace(parts.X, memory_limit=limit)
    if parts.X_test is not None:
        parts.X_test = replace(parts.X_test, memory_limit=limit)
    return assemble(parts, call, 0, 0, least_classes)


def unlabelled(source: str | os.PathLike, memory_limit: str | int | None = None) -> Any:
    r"""Read rows that nobody has labelled yet, as they are stored: `.npy`, or `.csv` and `.tsv` with features in all columns.

    Returns X (N, D), pictures in one row each; with a memory limit (`.npy` only) they stay on disk, as those of `stream` do.
    Raises SoftgradError for any other file, or one that is not as it has to be.

    >>> import os, tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = os.path.join(folder, "new.csv")
    ...     with open(path, "w") as file:
    ...         _ = file.write("height,width\n1,2\n3,4\n")
    ...     print(unlabelled(path))
    [[1. 2.]
     [3. 4.]]
    """
    path = Path(source).expanduser()
    call, kinds = f"unlabelled({str(path)!r})", (".npy", *table.DELIMITERS) if memory_limit is None else (".npy",)
    with reading(path):
        is_file = path.is_file()
    if not is_file or path.suffix.lower() not in kinds:
        came = f"found {path.name!r}" if is_file else f"found no such file in {Path.cwd()}"
        raise SoftgradError(f"{call}: the rows must be in one file that ends in {' or '.join(kinds)}, {came}; save them so")
    if memory_limit is not None:
        return replace(npy.on_disk(path)[0], memory_limit=_bytes(call, memory_limit))
    X = flatten_pictures(npy.array(path))[0] if path.suffix.lower() == ".npy" else table.read_features(path)
    return checked_rows(X, f"{call}: X")


def _bytes(call: str, limit: str | int) -> int:
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([kmg]i?b)?\s*", limit.lower()) if isinstance(limit, str) else None
    try:
        n = int(float(match[1]) * UNITS[match[2] or ""]) if match else operator.index(limit)  # type: ignore[arg-type]
    except TypeError:
        n = 0
    if n < LEAST:
        raise SoftgradError(f"{call}: memory_limit must be at least 1 MiB, in bytes or as '512MiB', '2GB', found {limit!r}; pass '1GiB'")
    return n


def _open(source: str, label: str | int | None, call: str) -> Parts:
    path = Path(source).expanduser()
    ending = path.suffix.lower()
    if label is not None and ending != ".parquet":
        raise SoftgradError(f"{call}: label= goes with .parquet only, found label={label!r}; leave it out")
    with reading(path):
        is_folder, is_file = path.is_dir(), path.is_file()
    if is_folder:
        return _open_folder(path, call)
    if not is_file and "," in source:
        return npy.read_pair(*_two_paths(source, call), npy.on_disk)
    if not is_file:
        raise SoftgradError(f"{call}: source must exist, found no such file or folder in {Path.cwd()}; pass {STREAMED}")
    if ending == ".parquet":
        return parquet.read_parquet(path, label)
    if ending in FILES:
        return FILES[ending](path)
    if ending not in {".npz", *table.DELIMITERS} and idx.is_idx(path):
        return idx.read_images_file(path, idx.on_disk)
    raise SoftgradError(f"{call}: the file must be of a kind that can be streamed, found {path.name!r}; pass {STREAMED}, or use load()")


FILES: dict[str, Callable[[Path], Parts]] = {
    ".npy": partial(npy.read_npy, rows=npy.on_disk),
    ".safetensors": safetensors.read_safetensors,
    **dict.fromkeys(libsvm.ENDINGS, libsvm.read_libsvm),
}
FOLDERS: tuple[Callable[[Path], Parts | None], ...] = (
    partial(cifar10.read_folder, batches_of=cifar10.on_disk),
    partial(idx.read_folder, rows=idx.on_disk),
    shards.read_folder,
)


def _open_folder(folder: Path, call: str) -> Parts:
    for read in FOLDERS:
        parts = read(folder)
        if parts is not None and not isinstance(parts.X, AbstractRowSource):
            raise SoftgradError(f"{call}: the binary version of CIFAR-10 can be streamed, found the Python version; use load()")
        if parts is not None:
            return parts
    raise SoftgradError(f"{call}: the folder must hold what can be streamed, found {holdings(folder)}; pass {STREAMED}")


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
