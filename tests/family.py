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
OMEGA = (0.5, 2.0, 0.0, 1.3, 0.9)


@dataclass(frozen=True)
class Member:
    """make() the loss; reads as its link says; symmetric: classes may change places, scores and targets alike."""

    make: Callable[[], Loss]
    symmetric: bool = True
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
    "entmax": Member(lambda: losses.entmax()),
    "entmax, heavy tails": Member(lambda: losses.compose(losses.Entmax(0.6), losses.Smoothed(0.1))),
    "sparsemax, hot and weighted": Member(
        lambda: losses.compose(losses.Temperature(1.7), losses.Entmax(2.0), losses.Weights(OMEGA)), symmetric=False
    ),
    "binary": Member(lambda: losses.binary_cross_entropy()),
    "binary, weighted": Member(lambda: losses.binary_cross_entropy(OMEGA), symmetric=False),
    "sigmoid focal": Member(lambda: losses.sigmoid_focal()),
    "sigmoid focal, weighted": Member(lambda: losses.sigmoid_focal(0.7, None, OMEGA), symmetric=False),
    "asymmetric": Member(lambda: losses.asymmetric()),
    "asymmetric, hot": Member(lambda: losses.compose(losses.Asymmetric(1.0, 2.5, 0.0), losses.Temperature(1.7))),
    "zlpr": Member(lambda: losses.zlpr()),
    "zlpr, cold and weighted": Member(
        lambda: losses.compose(losses.ZLPR(), losses.Temperature(0.6), losses.ManyWeights(OMEGA)), symmetric=False
    ),
    "Crammer-Singer": Member(lambda: losses.crammer_singer()),
    "Weston-Watkins, weighted": Member(lambda: losses.weston_watkins(2.5, OMEGA), symmetric=False),
    "squared error": Member(lambda: losses.squared_error()),
    "squared error, smoothed and weighted": Member(
        lambda: losses.compose(losses.SquaredError(), losses.Smoothed(0.2), losses.Weights(OMEGA)), symmetric=False
    ),
    "Brier": Member(lambda: losses.brier()),
    "Brier, hot and weighted": Member(
        lambda: losses.compose(losses.Brier(), losses.Temperature(1.7), losses.Weights(OMEGA)), symmetric=False
    ),
    "bi-tempered": Member(lambda: losses.bi_tempered()),
    "bi-tempered, smoothed and weighted": Member(
        lambda: losses.compose(losses.BiTempered(0.5, 1.5), losses.Smoothed(0.1), losses.Weights(OMEGA)), symmetric=False
    ),
    "tempered": Member(lambda: losses.bi_tempered(0.6, 0.6)),
}
CASES = [(name, kind) for name, member in MEMBERS.items() for kind in member.kinds]
