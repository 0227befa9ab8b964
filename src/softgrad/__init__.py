"""softgrad: everything around the softmax loss. The front door: names only, found when they are asked for.

It also hands the compiled row formulas to the losses (importing `kernels` does), which lie a floor below and cannot fetch them.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from softgrad import kernels, losses
from softgrad.arrays import SoftgradError
from softgrad.kernels import reference
from softgrad.losses import log_softmax, logsumexp, softmax, softmax_jacobian
from softgrad.objective import linear_value_and_grad

if TYPE_CHECKING:
    from softgrad import data, stochastic
    from softgrad.classifier import SoftmaxClassifier
    from softgrad.classifier_cv import SoftmaxClassifierCV
    from softgrad.hierarchical_classifier import HierarchicalClassifier
    from softgrad.multi_label import MultiLabelClassifier
    from softgrad.saved_models import load

__version__ = "0.1.0"

__all__ = [
    "HierarchicalClassifier",
    "MultiLabelClassifier",
    "SoftgradError",
    "SoftmaxClassifier",
    "SoftmaxClassifierCV",
    "data",
    "kernels",
    "linear_value_and_grad",
    "load",
    "log_softmax",
    "logsumexp",
    "losses",
    "reference",
    "softmax",
    "softmax_jacobian",
    "stochastic",
]

# these load SciPy and scikit-learn
_LATER = {
    "SoftmaxClassifier": "classifier", "SoftmaxClassifierCV": "classifier_cv", "MultiLabelClassifier": "multi_label",
    "HierarchicalClassifier": "hierarchical_classifier", "load": "saved_models",
}  # fmt: skip


def __getattr__(name: str) -> Any:
    if name in ("data", "stochastic"):
        return importlib.import_module(f"softgrad.{name}")
    if name in _LATER:
        return getattr(importlib.import_module(f"softgrad.{_LATER[name]}"), name)
    raise AttributeError(f"module 'softgrad' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
