"""The softmax family of losses: one formula (`loss.py`), made of parts."""

from __future__ import annotations

from softgrad.losses.angular import a_softmax, a_softmax_lambda, adacos_scale, arcface, combined_margin, cosface, l2_softmax, normface
from softgrad.losses.bi_tempered import BiTempered
from softgrad.losses.composed import compose
from softgrad.losses.curves import Focal, Generalized, Poly1, Symmetric, Taylor, Truncated
from softgrad.losses.distilled import Divergence, Teacher
from softgrad.losses.entmax import Entmax, entmax_alpha_slopes, entmax_probabilities
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
from softgrad.losses.softmax import Softmax, log_softmax, logsumexp, softmax, softmax_jacobian
from softgrad.losses.squared import Brier, SquaredError
from softgrad.losses.targets import Labels, ManyLabels, Smoothed, mixup
from softgrad.losses.terms import ConfidencePenalty, ZLoss
from softgrad.losses.tree import Tree
from softgrad.losses.weights import ManyWeights, Weights, effective_number_weights
from softgrad.losses.zlpr import ZLPR

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
