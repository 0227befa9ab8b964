"""Readers. `load(source)` gives a `Dataset`, `stream(source)` one whose rows stay on disk, `unlabelled(source)` bare rows. NumPy only."""

from softgrad.data.dataset import Dataset
from softgrad.data.door import load, stream, unlabelled

__all__ = ["Dataset", "load", "stream", "unlabelled"]
