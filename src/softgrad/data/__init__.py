"""Readers of labelled rows: `load(source)` gives a `Dataset`, `stream(source)` one whose rows stay on disk. Imports NumPy only."""

from softgrad.data.dataset import Dataset
from softgrad.data.door import load, stream

__all__ = ["Dataset", "load", "stream"]
