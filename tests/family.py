"""The family: every loss and part of the library in at least one composition, each with the targets that it reads.

The laws of test_family.py run over all of them. A part that stands in none makes a test red. Parts that hold a number for each class are
made for C = 5 classes; other numbers of scores (trees) say their own.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from softgrad import losses
from softgrad.losses.loss import Loss

C = 5
COUNTS = (500, 40, 7, 90, 230)
OMEGA = (0.5, 2.0, 0.0, 1.3, 0.9)
TREE = losses.Tree((-1, -1, 0, 0, 1, -1, 3, 3, 4, 4))  # leaves 2; 5; 6, 7; 8, 9: under nodes of two, three and one level
LEAVES = (0.5, 2.0, 0.0, 1.3, 0.9, 1.1)
PRIOR = (0.1, 0.2, 0.0, 0.3, 0.4)
PARTS = (losses.Temperature(1.3), losses.Focal(2.0), losses.Smoothed(0.1), losses.Weights(OMEGA), losses.ConfidencePenalty(0.1))


@dataclass(frozen=True)
class Member:
    """make() the loss; reads as its link says; symmetric: classes may change places, scores and targets alike; by_row: whether and
    how a row counts does not depend on the others; smooth: nothing that moves with the scores is held fixed in the gradient.
    """

    make: Callable[[], Loss]
    symmetric: bool = True
    by_row: bool = True
    smooth: bool = True
    n_scores: int = C

    @property
    def reads(self) -> str:
        loss = self.make()
        return "labels" if loss.targets.gives == "labels" else loss.link.reads

    def rows(self, kind: str = "labels", n: int = 7, seed: int = 21):
        """Scores z (n, n_scores) of a few units, targets of a kind, weights r (n,), directions v like z."""
        rng, classes = np.random.default_rng([seed, n]), self.make().link.classes(self.n_scores)
        z = 2 * rng.normal(size=(n, self.n_scores))
        y = {
            "labels": lambda: rng.integers(classes, size=n),
            "distributions": lambda: rng.dirichlet(np.ones(classes), n),
            "many": lambda: (rng.uniform(size=(n, classes)) < 0.4).astype(float),
        }[kind]()
        return z, y, rng.uniform(0.5, 2, n), rng.normal(size=z.shape)

    @property
    def kinds(self) -> list[str]:
        """Kinds of targets that it takes."""
        return ["labels"] if self.reads == "labels" else ["labels", self.reads]


MEMBERS = {
    "cross-entropy": Member(lambda: losses.cross_entropy()),
    "smoothed": Member(lambda: losses.cross_entropy(label_smoothing=0.1)),
    "hot and weighted": Member(lambda: losses.cross_entropy(temperature=1.7, class_weight=OMEGA), symmetric=False),
    "labels only": Member(lambda: losses.compose(losses.Labels())),
    "scaled": Member(lambda: losses.compose(losses.Scale(2.5))),
    "capped": Member(lambda: losses.compose(losses.SoftCap(3.0))),
    "capped, hot": Member(lambda: losses.compose(losses.Temperature(0.7), losses.SoftCap(2.0), losses.Smoothed(0.1))),
    "prior": Member(lambda: losses.logit_adjusted(COUNTS, 1.3), symmetric=False),
    "prior, capped": Member(lambda: losses.compose(losses.SoftCap(4.0), losses.PriorShift(COUNTS)), symmetric=False),
    "ldam": Member(lambda: losses.ldam(COUNTS, s=3.0, head=losses.Linear()), symmetric=False),
    "ldam, weighted": Member(
        lambda: losses.compose(losses.LabelMargin((0.1, 0.2, 0.5, 0.3, 0.0)), losses.Weights(OMEGA), losses.Smoothed(0.2)), symmetric=False
    ),
    "cosface": Member(lambda: losses.compose(losses.AngularMargin(m3=0.35), losses.Scale(4.0))),
    "arcface": Member(lambda: losses.compose(losses.AngularMargin(m2=0.5), losses.Scale(4.0))),
    "combined margin": Member(lambda: losses.compose(losses.AngularMargin(0.9, 0.4, 0.15), losses.Scale(4.0), losses.Smoothed(0.1))),
    "sphereface": Member(lambda: losses.compose(losses.SphereMargin(4, 2.0), losses.Scale(4.0))),
    "smoothed by a prior": Member(lambda: losses.compose(losses.Smoothed(0.2, PRIOR)), symmetric=False),
    "focal": Member(lambda: losses.focal()),
    "focal, gamma 0.5": Member(lambda: losses.focal(0.5, label_smoothing=0.1)),
    "focal, weighted": Member(lambda: losses.focal(5.0, temperature=1.3, class_weight=OMEGA), symmetric=False),
    "poly-1": Member(lambda: losses.compose(losses.Labels(), losses.Poly1(1.0))),
    "poly-1, 2": Member(lambda: losses.poly1(2.0)),
    "poly-1, -1": Member(lambda: losses.poly1(-1.0)),
    "generalised": Member(lambda: losses.generalized_cross_entropy()),
    "truncated": Member(lambda: losses.compose(losses.Truncated(0.1))),
    "Taylor": Member(lambda: losses.taylor_cross_entropy(3)),
    "symmetric": Member(lambda: losses.symmetric_cross_entropy()),
    "symmetric, convex": Member(lambda: losses.compose(losses.Labels(), losses.Symmetric(6.0, 0.1))),
    "z-loss": Member(lambda: losses.compose(losses.ZLoss(0.5))),
    "confidence penalty": Member(lambda: losses.compose(losses.ConfidencePenalty(0.1))),
    "focal, two terms": Member(
        lambda: losses.compose(losses.Temperature(0.8), losses.Focal(1.0), losses.ZLoss(0.01), losses.ConfidencePenalty(0.3),
                               losses.Smoothed(0.1), losses.Weights(OMEGA)), symmetric=False),
    "divergence": Member(lambda: losses.compose(losses.Divergence())),
    "distillation": Member(lambda: losses.distillation(4.0)),
    "top 3": Member(lambda: losses.compose(losses.TopK(3)), by_row=False),
    "mined": Member(lambda: losses.compose(losses.OHEM(0.3, 2, threshold=0.4), *PARTS), by_row=False, symmetric=False),
    "self-paced": Member(lambda: losses.compose(losses.SelfPaced(2.0), losses.Poly1(-0.5))),
    "softly self-paced": Member(lambda: losses.compose(losses.SoftSelfPaced(4.0)), smooth=False),
    "arcface of vectors": Member(lambda: losses.arcface(4.0, 0.4)),
    "binary": Member(lambda: losses.compose(losses.Sigmoid())),
    "binary, weighted": Member(lambda: losses.compose(losses.Sigmoid(), losses.ManyWeights(OMEGA)), symmetric=False),
    "hierarchical": Member(lambda: losses.compose(losses.HierarchicalSoftmax(TREE)), symmetric=False, n_scores=10),
    "hierarchical, hot, smoothed and weighted": Member(
        lambda: losses.compose(losses.HierarchicalSoftmax(TREE), losses.Temperature(1.7), losses.Smoothed(0.1), losses.Weights(LEAVES)),
        symmetric=False, n_scores=10,
    ),
    "HXE": Member(lambda: losses.compose(losses.HXE(TREE, 0.4)), symmetric=False, n_scores=6),
    "HXE, smoothed and weighted": Member(
        lambda: losses.compose(losses.HXE(TREE, 0.4), losses.Smoothed(0.1), losses.Weights(LEAVES)), symmetric=False, n_scores=6,
    ),
}  # fmt: skip
CASES = [(name, kind) for name, member in MEMBERS.items() for kind in member.kinds]
