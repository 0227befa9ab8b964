"""The softmax family of losses: one formula (`loss.py`), made of parts."""

from __future__ import annotations

from softgrad.losses.composed import compose
from softgrad.losses.curves import Focal, Generalized, Poly1, Symmetric, Taylor, Truncated
from softgrad.losses.distilled import Divergence, Teacher
from softgrad.losses.loss import Loss
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
from softgrad.losses.scores import Temperature
from softgrad.losses.sigmoid import Sigmoid
from softgrad.losses.softmax import Softmax, log_softmax, logsumexp, softmax, softmax_jacobian
from softgrad.losses.targets import Labels, ManyLabels, Smoothed, mixup
from softgrad.losses.terms import ConfidencePenalty, ZLoss
from softgrad.losses.weights import ManyWeights, Weights, effective_number_weights

__all__ = [
    "OHEM", "ConfidencePenalty", "Divergence", "Focal", "Generalized", "Labels", "Loss", "ManyLabels", "ManyWeights", "Poly1", "SelfPaced",
    "Sigmoid", "Smoothed", "SoftSelfPaced", "Softmax", "Symmetric", "Taylor", "Teacher", "Temperature", "TopK", "Truncated", "Weights",
    "ZLoss", "compose", "cross_entropy", "distillation", "effective_number_weights", "focal", "focal_posterior",
    "generalized_cross_entropy", "log_softmax", "logsumexp", "mixup", "poly1", "softmax", "softmax_jacobian", "symmetric_cross_entropy",
    "taylor_cross_entropy",
]  # fmt: skip
