"""softgrad: everything around the softmax loss. The front door: names only, each loaded when it is asked for.

It also says which room has the compiled row formulas (`plugged`): it lies a floor above the losses, which cannot fetch it themselves.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from softgrad import plugged

if TYPE_CHECKING:
    from softgrad import data, kernels, losses, pictures, stochastic
    from softgrad.arrays import SoftgradError
    from softgrad.classifier import SoftmaxClassifier
    from softgrad.classifier_cv import SoftmaxClassifierCV
    from softgrad.diagnosis import diagnose
    from softgrad.explanation import explain
    from softgrad.gradient_check import check_gradient
    from softgrad.hierarchical_classifier import HierarchicalClassifier
    from softgrad.kernels import reference
    from softgrad.linear_head import linear_value_and_grad
    from softgrad.losses import log_softmax, logsumexp, softmax, softmax_jacobian
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

PACKAGES = {
    "data": "data",
    "kernels": "kernels",
    "losses": "losses",
    "pictures": "pictures",
    "reference": "kernels.reference",
    "stochastic": "stochastic",
}
ROOMS = {
    "HierarchicalClassifier": "hierarchical_classifier",
    "MultiLabelClassifier": "multi_label",
    "SoftgradError": "arrays",
    "SoftmaxClassifier": "classifier",
    "SoftmaxClassifierCV": "classifier_cv",
    "check_gradient": "gradient_check",
    "diagnose": "diagnosis",
    "explain": "explanation",
    "linear_value_and_grad": "linear_head",
    "load": "saved_models",
    "log_softmax": "losses",
    "logsumexp": "losses",
    "softmax": "losses",
    "softmax_jacobian": "losses",
}
plugged.rooms.append("softgrad.kernels.native")


def __getattr__(name: str) -> Any:
    if name in PACKAGES:
        return importlib.import_module(f"softgrad.{PACKAGES[name]}")
    if name in ROOMS:
        return getattr(importlib.import_module(f"softgrad.{ROOMS[name]}"), name)
    raise AttributeError(f"module 'softgrad' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
