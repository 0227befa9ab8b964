"""IDX files, the format of MNIST and its relatives: a big-endian header, then the values; plain or gzipped.

Reference: Y. LeCun, C. Cortes, C. Burges, the MNIST database ("the IDX file format"),
http://yann.lecun.com/exdb/mnist/
"""

from __future__ import annotations

import gzip
import math
import re
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, cast

import numpy as np

from softgrad.arrays import SoftgradError
from softgrad.data.reading import Opener, Parts, Pictures, flatten_pictures, pictures, reading, refusal
from softgrad.sources.file import remember
from softgrad.sources.fixed import FixedRows, Stretch

TYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}

# train-images-idx3-ubyte[.gz], train-images.idx3-ubyte, emnist-balanced-test-labels-idx1-ubyte.gz, ...
NAMES = re.compile(r"(?P<set>.*?)(?P<split>train|t10k|test)[-_](?P<kind>images|labels)[-_.]idx\d?([-_.]?ubyte)?(\.gz)?")

# Fashion-MNIST's files hold numbers only; its authors (Xiao, Rasul, Vollgraf 2017) publish the names beside them.
FASHION = ("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot")


def is_idx(path: Path) -> bool:
    """Whether a file is IDX: by its name, else by its first bytes."""
    if NAMES.fullmatch(path.name) or re.search(r"[-_.]idx\d?([-_.]?ubyte)?(\.gz)?$", path.name):
        return True
    with reading(path), path.open("rb") as file:
        head = file.read(4)
    return len(head) == 4 and head[:2] == b"\0\0" and head[2] in TYPES and 0 < head[3] < 8


def read_folder(folder: Path, rows: Opener | None = None) -> Parts | None:
    """Read the IDX set of a folder or of `raw` in it; None where there is none, SoftgradError where there are more."""
    for place in (folder, folder / "raw"):
        with reading(place):
            names = sorted(entry.name for entry in place.iterdir()) if place.is_dir() else []
        matches = [match for match in map(NAMES.fullmatch, names) if match]
        # Plain sorts before .gz and wins: people unzip beside the original
        train = {m["set"]: m.string for m in reversed(matches) if (m["split"], m["kind"]) == ("train", "images")}
        if len(train) > 1:
            raise refusal(
                place,
                f"the folder must hold one IDX set, found {len(train)}: {', '.join(sorted(train.values()))}; "
                "pass the images file of the one you want",
            )
        if train:
            return read_images_file(place / train.popitem()[1], rows)
        if matches:
            found = ", ".join(match.string for match in matches)
            raise refusal(
                place,
                f"an IDX set must have its training images, found {found}; add train-images-idx3-ubyte or pass an images file",
            )
    return None


def read_images_file(path: Path, rows: Opener | None = None) -> Parts:
    """Read the set of an IDX images file, rows by `rows`: its labels and, for a training file, its test files are found beside it.

    EMNIST stores its pictures column by column, which `Dataset.image` undoes. Fashion-MNIST has no names in its files:
    where the folder's name has "fashion" in it, the ten classes get its authors' names; other classes are called as
    their labels.
    """
    if "images" not in path.name:
        raise refusal(path, f"the IDX file must be the one of the images, found {path.name!r}; pass that one")
    rows = rows or _into_memory
    X, image_shape, layout = rows(path)
    y = _read_labels(path)
    X_test = y_test = None
    test = [path.name.replace("train", split) for split in ("t10k", "test")] if "train" in path.name else []
    if test_path := _beside(path, test):
        X_test, y_test = rows(test_path)[0], _read_labels(test_path)
    if path.name.startswith("emnist") and image_shape and len(image_shape) == 2:
        image_shape, layout = image_shape[::-1], "columns"
    return Parts(_name(path), X, y, X_test, y_test, _fashion_names(path, y), image_shape, layout)


def _into_memory(path: Path) -> Pictures:
    return flatten_pictures(read_idx(path))


def on_disk(path: Path) -> Pictures:
    """Rows of an IDX file, left where they are."""
    file = remember(path)
    with reading(path), path.open("rb") as opened:
        if opened.read(2) == b"\x1f\x8b":
            raise refusal(path, "a file is streamed as it lies on disk, found a gzipped one; gunzip it first, or load() it")
        opened.seek(0)
        shape, stored, start = _header(path, opened)
    width = math.prod(shape[1:])
    if file.size != (size := start + shape[0] * width * stored.itemsize):
        raise _wrong_length(path, f"shape {shape}", size, file.size)
    rows = FixedRows((Stretch(file, start, shape[0], width * stored.itemsize),), width, stored)
    return rows, *pictures(shape)


def _folder(path: Path) -> Path:
    """Find the folder that names the set: torchvision puts the files one deeper, into `raw`."""
    folder = path.resolve().parent
    return folder.parent if folder.name == "raw" else folder


def _name(path: Path) -> str:
    match = NAMES.fullmatch(path.name)
    return (match["set"].strip("-_.") if match else "") or _folder(path).name


def _fashion_names(path: Path, y: np.ndarray) -> tuple[str, ...] | None:
    fits = "fashion" in _folder(path).name.lower() and y.dtype.kind in "iu" and y.size and y.min() >= 0 and y.max() <= 9
    return FASHION if fits else None


def _beside(path: Path, names: list[str]) -> Path | None:
    """Find the first of the names that lies beside path, gzipped or not."""
    for name in names:
        plain = name.removesuffix(".gz")
        for choice in (path.with_name(plain), path.with_name(plain + ".gz")):
            with reading(choice):
                if choice.is_file():
                    return choice
    return None


def _read_labels(images: Path) -> np.ndarray:
    name = images.name.replace("images", "labels")
    path = _beside(images, [name.replace("idx3", "idx1"), name])
    if path is None:
        raise refusal(
            images,
            f"the labels must lie beside the images, found no {name.replace('idx3', 'idx1')}[.gz]; put the labels file there",
        )
    labels = read_idx(path)
    if labels.ndim != 1:
        raise refusal(path, f"labels must have one dimension, found {labels.ndim}; it is not a labels file")
    return labels


@contextmanager
def _opened(path: Path) -> Iterator[BinaryIO]:
    """Open the bytes of a file, gunzipped where its first bytes say so, whatever it is called."""
    with reading(path), path.open("rb") as file:
        zipped = file.read(2) == b"\x1f\x8b"
        file.seek(0)
        yield cast("BinaryIO", gzip.GzipFile(fileobj=file)) if zipped else file


def read_idx(path: Path) -> np.ndarray:
    """Read one IDX file in native byte order; raises SoftgradError on a bad magic number and on a wrong length."""
    with _opened(path) as file:
        shape, dtype, start = _header(path, file)
        size = math.prod(shape) * dtype.itemsize  # in Python integers: a damaged header overflows NumPy's
        values = _bytes(file, size)
        beyond = len(file.read(1)) if len(values) == size else 0
    if len(values) + beyond != size:
        raise _wrong_length(path, f"shape {shape}", start + size, start + len(values) + beyond)
    return values.view(dtype).reshape(shape).astype(dtype.newbyteorder("="), copy=False)


def _header(path: Path, file: BinaryIO) -> tuple[tuple[int, ...], np.dtype, int]:
    """Shape, type, and where the values begin; the file stands there."""
    head = file.read(4)
    if len(head) < 4 or head[:2] != b"\0\0" or head[2] not in TYPES or head[3] == 0:
        raise refusal(
            path,
            "an IDX file must begin with 00 00, a type and a number of dimensions, found "
            f"{head.hex(' ') or 'no bytes'} (bad magic); the file is damaged or no IDX file",
        )
    start = 4 + 4 * head[3]
    axes = file.read(start - 4)
    if len(axes) < start - 4:
        raise _wrong_length(path, f"{head[3]} dimensions", start, 4 + len(axes))
    return struct.unpack(f">{head[3]}I", axes), np.dtype(TYPES[head[2]]), start


def _wrong_length(path: Path, header: str, expected: int, found: int) -> SoftgradError:
    more = " or more" if found > expected else ""
    return refusal(
        path,
        f"the header says {header}, so the file must have {expected} bytes (unzipped), found {found}{more}; "
        "it is truncated or damaged, get it again",
    )


def _bytes(file: BinaryIO, size: int) -> np.ndarray:
    """Read `size` bytes, or all there are; uint8.

    The buffer grows by what really arrives, so that a damaged header cannot ask for more memory than the file fills.
    """
    buffer, found = np.empty(min(size, 1 << 26), np.uint8), 0
    while found < size:
        if found == len(buffer):
            buffer.resize(min(size, 2 * found), refcheck=False)
        got = file.readinto(buffer.data[found:])  # type: ignore[attr-defined]
        if not got:
            break
        found += got
    return buffer[:found]
