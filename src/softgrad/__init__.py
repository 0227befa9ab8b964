"""softgrad: everything around the softmax loss. The front door: names only, found when they are asked for.

It also hands the compiled row formulas to the losses (importing `kernels` does), which lie a floor below and cannot fetch them.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from softgrad import kernels, losses
from softgrad.arrays import SoftgradError
from softgrad.linear_head import linear_value_and_grad
from softgrad.losses import log_softmax, logsumexp, softmax, softmax_jacobian

if TYPE_CHECKING:
    from softgrad import data, pictures, stochastic
    from softgrad.classifier import SoftmaxClassifier
    from softgrad.classifier_cv import SoftmaxClassifierCV
    from softgrad.diagnosis import diagnose
    from softgrad.explanation import explain
    from softgrad.gradient_check import check_gradient
    from softgrad.hierarchical_classifier import HierarchicalClassifier
    from softgrad.kernels import reference
    from softgrad.multi_label import MultiLabelClassifier
    from softgrad.saved_models import load

__version__ = "0.1.0"

__all__ = [
    "HierarchicalClassifier",
    "MultiLabelClassifier",
    "SoftgradError",
    "SoftmaxClassifier",
    "SoftmaxClassifierCV",
    "check_gradient",
    "data",
    "diagnose",
    "explain",
    "kernels",
    "linear_value_and_grad",
    "load",
    "log_softmax",
    "logsumexp",
    "losses",
    "pictures",
    "reference",
    "softmax",
    "softmax_jacobian",
    "stochastic",
]

# found when asked for: classifiers load SciPy and scikit-learn, the others are not needed by those who train
_LATER = {
    "HierarchicalClassifier": "hierarchical_classifier",
    "MultiLabelClassifier": "multi_label",
    "SoftmaxClassifier": "classifier",
    "SoftmaxClassifierCV": "classifier_cv",
    "check_gradient": "gradient_check",
    "diagnose": "diagnosis",
    "explain": "explanation",
    "load": "saved_models",
}


def __getattr__(name: str) -> Any:
    if name in ("data", "pictures", "stochastic"):
        return importlib.import_module(f"softgrad.{name}")
    if name == "reference":
        return importlib.import_module("softgrad.kernels.reference")
    if name in _LATER:
        return getattr(importlib.import_module(f"softgrad.{_LATER[name]}"), name)
    raise AttributeError(f"module 'softgrad' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
