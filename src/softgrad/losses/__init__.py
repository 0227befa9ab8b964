"""The softmax family of losses: one formula (`loss.py`), made of parts. A room is loaded when one of its names is asked for."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

# at once: every loss needs this room, and its name is taken by one of the functions
from softgrad.losses.softmax import Softmax, log_softmax, logsumexp, softmax, softmax_jacobian

if TYPE_CHECKING:
    from softgrad.losses.angular import a_softmax, a_softmax_lambda, adacos_scale, arcface, combined_margin, cosface, l2_softmax, normface
    from softgrad.losses.composed import compose
    from softgrad.losses.curves import Focal, Generalized, Poly1, Symmetric, Taylor, Truncated
    from softgrad.losses.distilled import Divergence, Teacher
    from softgrad.losses.head import Cosine, Linear
    from softgrad.losses.hierarchical import HXE, HierarchicalSoftmax
    from softgrad.losses.hinge import CrammerSinger, WestonWatkins
    from softgrad.losses.links_named import (
        asymmetric,
        bi_tempered,
        binary_cross_entropy,
        brier,
        crammer_singer,
        entmax,
        sigmoid_focal,
        sparsemax,
        squared_error,
        weston_watkins,
        zlpr,
    )
    from softgrad.losses.longtail import adjusted_scores, balanced_softmax, ldam, logit_adjusted
    from softgrad.losses.loss import Loss
    from softgrad.losses.margins import AngularMargin, SphereMargin
    from softgrad.losses.mining import OHEM, SelfPaced, SoftSelfPaced, TopK
    from softgrad.losses.named import (
        cross_entropy,
        distillation,
        focal,
        focal_posterior,
        generalized_cross_entropy,
        poly1,
        symmetric_cross_entropy,
        taylor_cross_entropy,
    )
    from softgrad.losses.sampled import SampledGradient, sampled_softmax
    from softgrad.losses.scores import LabelMargin, PriorShift, Scale, SoftCap, Temperature
    from softgrad.losses.sigmoid import Asymmetric, Sigmoid, SigmoidFocal
    from softgrad.losses.squared import Brier, SquaredError
    from softgrad.losses.targets import Labels, ManyLabels, Smoothed, mixup
    from softgrad.losses.terms import ConfidencePenalty, ZLoss
    from softgrad.losses.tree import Tree
    from softgrad.losses.tsallis import Entmax, entmax_alpha_slopes, entmax_probabilities
    from softgrad.losses.two_temperatures import BiTempered
    from softgrad.losses.weights import ManyWeights, Weights, effective_number_weights
    from softgrad.losses.zero_bounded import ZLPR

__all__ = [
    "HXE", "OHEM", "ZLPR", "AngularMargin", "Asymmetric", "BiTempered", "Brier", "ConfidencePenalty", "Cosine", "CrammerSinger",
    "Divergence", "Entmax", "Focal", "Generalized", "HierarchicalSoftmax", "LabelMargin", "Labels", "Linear", "Loss", "ManyLabels",
    "ManyWeights", "Poly1", "PriorShift", "SampledGradient", "Scale", "SelfPaced", "Sigmoid", "SigmoidFocal", "Smoothed", "SoftCap",
    "SoftSelfPaced", "Softmax", "SphereMargin", "SquaredError", "Symmetric", "Taylor", "Teacher", "Temperature", "TopK", "Tree",
    "Truncated", "Weights", "WestonWatkins", "ZLoss",
    "a_softmax", "a_softmax_lambda", "adacos_scale", "adjusted_scores", "arcface", "asymmetric", "balanced_softmax", "bi_tempered",
    "binary_cross_entropy", "brier", "combined_margin", "compose", "cosface", "crammer_singer", "cross_entropy", "distillation",
    "effective_number_weights", "entmax", "entmax_alpha_slopes", "entmax_probabilities", "focal", "focal_posterior",
    "generalized_cross_entropy", "l2_softmax", "ldam", "log_softmax", "logit_adjusted", "logsumexp", "mixup", "normface", "poly1",
    "sampled_softmax", "sigmoid_focal", "softmax", "softmax_jacobian", "sparsemax", "squared_error", "symmetric_cross_entropy",
    "taylor_cross_entropy", "weston_watkins", "zlpr",
]  # fmt: skip

ROOMS = {
    "angular": ("a_softmax", "a_softmax_lambda", "adacos_scale", "arcface", "combined_margin", "cosface", "l2_softmax", "normface"),
    "composed": ("compose",),
    "curves": ("Focal", "Generalized", "Poly1", "Symmetric", "Taylor", "Truncated"),
    "distilled": ("Divergence", "Teacher"),
    "head": ("Cosine", "Linear"),
    "hierarchical": ("HXE", "HierarchicalSoftmax"),
    "hinge": ("CrammerSinger", "WestonWatkins"),
    "links_named": (
        "asymmetric", "bi_tempered", "binary_cross_entropy", "brier", "crammer_singer", "entmax", "sigmoid_focal", "sparsemax",
        "squared_error", "weston_watkins", "zlpr",
    ),
    "longtail": ("adjusted_scores", "balanced_softmax", "ldam", "logit_adjusted"),
    "loss": ("Loss",),
    "margins": ("AngularMargin", "SphereMargin"),
    "mining": ("OHEM", "SelfPaced", "SoftSelfPaced", "TopK"),
    "named": (
        "cross_entropy", "distillation", "focal", "focal_posterior", "generalized_cross_entropy", "poly1", "symmetric_cross_entropy",
        "taylor_cross_entropy",
    ),
    "sampled": ("SampledGradient", "sampled_softmax"),
    "scores": ("LabelMargin", "PriorShift", "Scale", "SoftCap", "Temperature"),
    "sigmoid": ("Asymmetric", "Sigmoid", "SigmoidFocal"),
    "squared": ("Brier", "SquaredError"),
    "targets": ("Labels", "ManyLabels", "Smoothed", "mixup"),
    "terms": ("ConfidencePenalty", "ZLoss"),
    "tree": ("Tree",),
    "tsallis": ("Entmax", "entmax_alpha_slopes", "entmax_probabilities"),
    "two_temperatures": ("BiTempered",),
    "weights": ("ManyWeights", "Weights", "effective_number_weights"),
    "zero_bounded": ("ZLPR",),
}  # fmt: skip
_ROOM_OF = {name: room for room, names in ROOMS.items() for name in names}


def __getattr__(name: str) -> Any:
    if name not in _ROOM_OF:
        raise AttributeError(f"module 'softgrad.losses' has no attribute {name!r}")
    return getattr(importlib.import_module(f"softgrad.losses.{_ROOM_OF[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
