"""Parts put together into a loss, each in its place; what makes no sense together is refused."""

from __future__ import annotations

from typing import Any

from softgrad.arrays import refuse, shown
from softgrad.losses.curves import Identity
from softgrad.losses.head import Linear
from softgrad.losses.loss import Loss
from softgrad.losses.margins import AbstractMargin
from softgrad.losses.part import (
    AbstractCurve,
    AbstractHead,
    AbstractLink,
    AbstractMining,
    AbstractScores,
    AbstractTargets,
    AbstractTerm,
    AbstractWeights,
)
from softgrad.losses.softmax import Softmax
from softgrad.losses.targets import Labels, ManyLabels, Smoothed
from softgrad.losses.weights import ManyWeights, Weights

ONE = {
    "link": AbstractLink, "curve": AbstractCurve, "targets": AbstractTargets, "weights": AbstractWeights, "head": AbstractHead,
    "mining": AbstractMining,
}  # fmt: skip
SEVERAL = {"scores": AbstractScores, "terms": AbstractTerm}
DEFAULTS: dict[str, AbstractTargets] = {"labels": Labels(), "distributions": Smoothed(), "many": ManyLabels()}
MEANS = {"labels": "one class for each row", "distributions": "classes or shares of classes", "many": "yes or no for each class"}


def compose(*parts: Any) -> Loss:
    """A loss made of parts: link, maps of the scores, curve, targets, weights, terms, mining; whatever is not named is cross-entropy's.

    L_i = f(l(phi_k(... phi_1(z_i)), q_i)) + sum_k t_k

    Parameters: parts of `softgrad.losses`, in any order; maps of the scores act in the order they are named. At most one link, one curve,
    one kind of targets, of weights, of mining, one head. Returns a `Loss`. Raises SoftgradError for two parts of one kind, and for pairs
    that make no sense: a curve or a term without a softmax to speak of, targets that the link cannot read, margins without cosines.

    >>> from softgrad import losses
    >>> loss = losses.compose(losses.Temperature(2.0), losses.Smoothed(0.1))
    >>> print(round(loss([[1.0, 2.0, 3.0]], [1]), 4))
    1.1803
    """
    placed: dict[str, Any] = {name: [] for name in (*ONE, *SEVERAL)}
    for part in parts:
        kind = next((name for name, abstract in (ONE | SEVERAL).items() if isinstance(part, abstract)), None)
        if kind is None:
            refuse("compose(parts)", "must be parts of softgrad.losses", shown(part), "pass e.g. losses.Temperature(2.0)")
        placed[kind].append(part)
    for name in ONE:
        if len(placed[name]) > 1:
            came = " and ".join(type(part).__name__ for part in placed[name])
            refuse("compose(parts)", f"there can be one part of the kind '{name}'", came, "leave one out")
    link, curve, targets, weights, head, mining = (placed[name][0] if placed[name] else None for name in ONE)
    link = Softmax() if link is None else link
    targets = DEFAULTS[link.reads] if targets is None else targets
    weights = (ManyWeights() if link.reads == "many" else Weights()) if weights is None else weights
    scores, terms = (tuple(placed[name]) for name in SEVERAL)
    return checked(Loss(link, scores, curve or Identity(), targets, weights, head or Linear(), terms, mining))


def checked(loss: Loss) -> Loss:
    """The loss, if its parts go together."""
    link = type(loss.link).__name__
    if not loss.curve.linear and not loss.link.likelihood:
        refuse("compose(parts)", "a curve acts on -log of a probability", f"{type(loss.curve).__name__} on {link}", "drop one of them")
    if loss.terms and not isinstance(loss.link, Softmax):
        came = f"{type(loss.terms[0]).__name__} with {link}"
        refuse("compose(parts)", "a term speaks of a softmax's sum or probabilities", came, "drop one of them")
    if loss.targets.gives not in (loss.link.reads, "labels" if loss.link.reads == "distributions" else ""):
        came, rule = f"{type(loss.targets).__name__} with {link}", f"{link} reads {MEANS[loss.link.reads]}"
        refuse("compose(parts)", rule, came, f"use {type(DEFAULTS[loss.link.reads]).__name__}")
    if loss.weights.many != (loss.link.reads == "many"):
        came, weighs = f"{type(loss.weights).__name__} with {link}", "ManyWeights" if loss.link.reads == "many" else "Weights"
        refuse("compose(parts)", f"{link} counts by {weighs}", came, "use that")
    return with_fitting_scores(loss)


def with_fitting_scores(loss: Loss) -> Loss:
    """The loss, if its maps of scores find what they act on: one class for each row, and cosines."""
    link = type(loss.link)
    one_score_a_class = loss.link.reads != "many" and link.classes is AbstractLink.classes
    for k, phi in enumerate(loss.scores):
        came = f"{type(phi).__name__} with {link.__name__}"
        if phi.by_label and not one_score_a_class:
            refuse("compose(parts)", "a margin acts on the score of a row's one class", came, "drop one of them")
        if isinstance(phi, AbstractMargin) and k > 0:
            came = f"{type(phi).__name__} after {type(loss.scores[k - 1]).__name__}"
            refuse("compose(parts)", "a margin on angles acts on cosines", came, "name it before the other maps of scores")
        if isinstance(phi, AbstractMargin) and not (loss.head.linear or loss.head.unit_classes):
            rule = "a margin on angles needs class vectors of one length"
            refuse("compose(parts)", rule, f"{type(phi).__name__} with {loss.head}", "normalise classes too")
    return loss
