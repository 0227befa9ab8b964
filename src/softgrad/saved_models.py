"""The door for model files: which classifier wrote one is told in it."""

from __future__ import annotations

import os
from pathlib import Path

from softgrad import arrays, model_file
from softgrad.classifier import SoftmaxClassifier
from softgrad.hierarchical_classifier import HierarchicalClassifier
from softgrad.losses.described import build
from softgrad.multi_label import MultiLabelClassifier

FILE = "model.safetensors"  # in the folder of a fit
KINDS = {kind.__name__: kind for kind in (SoftmaxClassifier, MultiLabelClassifier, HierarchicalClassifier)}


def load(path: str | os.PathLike[str]) -> SoftmaxClassifier | MultiLabelClassifier | HierarchicalClassifier:
    """The classifier that a `save` wrote, or that lies in the folder of a `softgrad fit`; runs no code from the file.

    Returns a fitted classifier of the kind that was saved (of a SoftmaxClassifierCV, the SoftmaxClassifier that it chose) with metadata_.
    Raises SoftgradError for a file that is no such model, OSError where there is none.

    >>> import numpy as np, softgrad, tempfile, os
    >>> model = softgrad.SoftmaxClassifier().fit([[0.0], [1.0], [2.0]], ["a", "b", "b"])
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     model.save(os.path.join(folder, "m.safetensors"))
    ...     print(softgrad.load(os.path.join(folder, "m.safetensors")).predict([[5.0]]))
    ['b']
    """
    path = Path(arrays.path("load(path)", path))
    if path.is_dir():
        path = path / FILE
    tensors, described = model_file.read(path)
    try:
        kind = KINDS[described.get("estimator", "SoftmaxClassifier")]
        model = kind(**(described["parameters"] | {"C": float(described["parameters"]["C"])}))
        model.restore(tensors, described, build(described["loss"]))
    except (KeyError, TypeError, ValueError, IndexError) as error:
        rule = "must describe a classifier that this version knows"
        raise arrays.SoftgradError(f"load(path): {path} {rule}; got {error!r}; save it again with its classifier's save.") from error
    return model
