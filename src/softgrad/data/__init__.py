"""Readers of labelled rows behind one name: `load(source)` gives a `Dataset`. Imports NumPy only."""

from softgrad.data.dataset import Dataset
from softgrad.data.door import load

__all__ = ["Dataset", "load"]
