"""The softmax family of losses: one formula (`loss.py`), made of parts."""

from __future__ import annotations

from softgrad.losses.angular import a_softmax, a_softmax_lambda, adacos_scale, arcface, combined_margin, cosface, l2_softmax, normface
from softgrad.losses.composed import compose
from softgrad.losses.curves import Focal, Generalized, Poly1, Symmetric, Taylor, Truncated
from softgrad.losses.distilled import Divergence, Teacher
from softgrad.losses.head import Cosine, Linear
from softgrad.losses.hierarchical import HXE, HierarchicalSoftmax
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
from softgrad.losses.scores import LabelMargin, PriorShift, Scale, SoftCap, Temperature
from softgrad.losses.sigmoid import Sigmoid
from softgrad.losses.softmax import Softmax, log_softmax, logsumexp, softmax, softmax_jacobian
from softgrad.losses.targets import Labels, ManyLabels, Smoothed, mixup
from softgrad.losses.terms import ConfidencePenalty, ZLoss
from softgrad.losses.tree import Tree
from softgrad.losses.weights import ManyWeights, Weights, effective_number_weights

__all__ = [
    "HXE", "OHEM", "AngularMargin", "ConfidencePenalty", "Cosine", "Divergence", "Focal", "Generalized", "HierarchicalSoftmax",
    "LabelMargin", "Labels", "Linear", "Loss", "ManyLabels", "ManyWeights", "Poly1", "PriorShift", "Scale", "SelfPaced", "Sigmoid",
    "Smoothed", "SoftCap", "SoftSelfPaced", "Softmax", "SphereMargin", "Symmetric", "Taylor", "Teacher", "Temperature", "TopK", "Tree",
    "Truncated", "Weights", "ZLoss",
    "a_softmax", "a_softmax_lambda", "adacos_scale", "adjusted_scores", "arcface", "balanced_softmax", "combined_margin", "compose",
    "cosface", "cross_entropy", "distillation", "effective_number_weights", "focal", "focal_posterior", "generalized_cross_entropy",
    "l2_softmax", "ldam", "log_softmax", "logit_adjusted", "logsumexp", "mixup", "normface", "poly1", "softmax", "softmax_jacobian",
    "symmetric_cross_entropy", "taylor_cross_entropy",
]  # fmt: skip
