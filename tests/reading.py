"""What the tests of the readers share: the form of a refusal, and names of classes."""

from __future__ import annotations

import gzip
import struct
from typing import Any

import numpy as np
import pytest

from softgrad.arrays import SoftgradError
from softgrad.data import load
from softgrad.data.idx import TYPES

ROWS = np.arange(24, dtype=np.float16).reshape(8, 3)
LABELS = np.array([0, 1] * 4)
NAMES = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]


def refused(source, *words, **options):
    """The message of the refusal, which is one line and holds all the words."""
    with pytest.raises(SoftgradError) as caught:
        load(source, **options)
    message = str(caught.value)
    assert "\n" not in message
    assert message.startswith("load(")
    assert ";" in message  # what to do comes after it
    for word in words:
        assert word in message, message
    return message


def save(path, **arrays: Any):
    """np.savez, whose own keyword allow_pickle keeps a type checker from seeing ** as arrays."""
    np.savez(path, **arrays)


def cifar_rows(n, seed=0):
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, (n, 32, 32, 3), np.uint8), (np.arange(n) % 10).astype(np.uint8)


def write_binary(folder, batches=(1, 2), n=20, test=True, meta=True):
    folder.mkdir(exist_ok=True, parents=True)
    pictures, labels = [], []
    for name in [f"data_batch_{k}.bin" for k in batches] + ["test_batch.bin"] * test:
        images, y = cifar_rows(n, seed=len(pictures))
        planes = images.transpose(0, 3, 1, 2).reshape(n, -1)
        (folder / name).write_bytes(np.hstack([y[:, None], planes]).tobytes())
        pictures.append(images)
        labels.append(y)
    if meta:
        (folder / "batches.meta.txt").write_text("\n".join(NAMES) + "\n\n")
    return pictures, labels


def idx_bytes(array):
    code = next(code for code, kind in TYPES.items() if np.dtype(kind).newbyteorder("=") == array.dtype)
    head = bytes([0, 0, code, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape)
    return head + array.astype(TYPES[code]).tobytes()


def write_idx(path, array):
    path.write_bytes(idx_bytes(array))


def write_mnist(folder, pattern="{}-{}-idx{}-ubyte", train="train", test: str | None = "t10k", n=30, dtype=np.uint8):
    folder.mkdir(exist_ok=True, parents=True)
    rng = np.random.default_rng(0)
    sets = {}
    for split in filter(None, (train, test)):
        X, y = rng.integers(0, 100, (n, 4, 3)).astype(dtype), (np.arange(n) % 10).astype(np.uint8)
        for kind, array, rank in (("images", X, 3), ("labels", y, 1)):
            content = idx_bytes(array)
            (folder / pattern.format(split, kind, rank)).write_bytes(gzip.compress(content) if pattern.endswith(".gz") else content)
        sets[split] = X, y
        n = 20
    return sets
