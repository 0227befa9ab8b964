"""Pictures that teach, one call each: they return matplotlib's Figure, and save it where a path is given.

What fits look like (loss curves, confusion, templates) is drawn by `softgrad fit`; these show what losses do.
"""

from softgrad.pictures.comparisons import softmax_against_hinge, squared_error_against_cross_entropy
from softgrad.pictures.margins import gradient_against_margin, loss_against_margin
from softgrad.pictures.probabilities import probabilities_against_temperature, regularisation
from softgrad.pictures.regions import decision_regions

__all__ = [
    "decision_regions",
    "gradient_against_margin",
    "loss_against_margin",
    "probabilities_against_temperature",
    "regularisation",
    "softmax_against_hinge",
    "squared_error_against_cross_entropy",
]
