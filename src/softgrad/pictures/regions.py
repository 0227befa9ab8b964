"""Which class a classifier gives to every point of a plane, and how sure it is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from softgrad import arrays, paper

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DOTS = 3000  # rows drawn at most


def decision_regions(
    classifier: Any, X: ArrayLike, y: ArrayLike, *, features: Sequence[str] = ("feature 0", "feature 1"), path: paper.Path = None
) -> Figure:
    """Draw the regions of the classes on data of two features; the surer the classifier, the deeper the colour.

    class of x: argmax_k p_k(x);   shade: how far max_k p_k lies above 1/K

    Parameters: classifier, anything fitted with `predict` and `classes_`; with `predict_proba` the shades are its probabilities. X (N, 2)
    and y (N,), rows drawn as dots; features, names of the axes; path to save the figure at. Returns the Figure.
    Raises SoftgradError for data of other than two features, and labels that are not one for each row.

    >>> import numpy as np, softgrad
    >>> X = np.random.default_rng(0).normal(size=(60, 2)) + np.repeat([[0, 0], [3, 0], [0, 3]], 20, axis=0)
    >>> clf = softgrad.SoftmaxClassifier().fit(X, np.repeat(["a", "b", "c"], 20))
    >>> figure = softgrad.pictures.decision_regions(clf, X, np.repeat(["a", "b", "c"], 20))
    >>> [text.get_text() for text in figure.axes[0].get_legend().get_texts()]
    ['a', 'b', 'c']
    """
    points, labels = arrays.matrix("decision_regions(X)", X, "(N, 2)"), np.asarray(y)
    if points.shape[1] != 2 or not len(points):
        arrays.refuse("decision_regions(X)", "must have rows of two features", f"shape {points.shape}", "choose two columns")
    if labels.shape != (len(points),):
        rule = f"must have one label for each of the {len(points)} rows"
        arrays.refuse("decision_regions(y)", rule, f"shape {labels.shape}", "pass shape (N,)")
    (x0, x1), classes = (_ticks(points[:, k]) for k in (0, 1)), list(classifier.classes_)
    plane = np.stack([a.ravel() for a in np.meshgrid(x0, x1)], axis=1).astype(points.dtype)
    p = _judged(classifier, plane)
    chosen = p.argmax(axis=1)
    figure = paper.sheet(7.4, 6.0)
    axes = figure.subplots()
    shape = (len(x1), len(x0))
    image = _shaded(p).reshape(*shape, 3)
    axes.imshow(image, extent=(x0[0], x0[-1], x1[0], x1[-1]), origin="lower", aspect="auto", interpolation="bilinear")
    for k in range(len(classes)):
        if 0 < np.count_nonzero(chosen == k) < len(chosen):
            ahead = p[:, k] - np.delete(p, k, axis=1).max(axis=1)
            axes.contour(x0, x1, ahead.reshape(shape), [0.0], colors="white", linewidths=1.4)
    drawn = np.arange(len(points)) if len(points) <= DOTS else np.sort(np.random.default_rng(0).permutation(len(points))[:DOTS])
    for k, name in enumerate(classes):
        rows = drawn[labels[drawn] == name]
        axes.scatter(*points[rows].T, s=22, color=_colour(k), edgecolors="white", linewidths=0.6, label=str(name))
    axes.set(xlabel=features[0], ylabel=features[1], xlim=(x0[0], x0[-1]), ylim=(x1[0], x1[-1]))
    axes.spines[:].set_visible(False)
    axes.legend(frameon=False, fontsize=9, loc="upper left", bbox_to_anchor=(1, 1), title="class", markerscale=1.3)
    right = float(np.mean(np.asarray(classifier.predict(points)) == labels))
    words = "Colour: the class given; the paler, the less sure. White: where two classes are level."
    paper.titled(figure, f"Regions of {len(classes)} classes: {right:.1%} of {len(points)} rows lie in their own", words)
    return paper.kept(figure, path)


def _ticks(x: NDArray[Any]) -> NDArray[np.float64]:
    margin = 0.07 * (float(np.ptp(x)) or 1.0)
    return np.linspace(float(x.min()) - margin, float(x.max()) + margin, 320)


def _judged(classifier: Any, plane: NDArray[Any]) -> NDArray[np.float64]:
    """Probabilities of the classes; of a classifier without, as if it were rather sure of what it predicts."""
    if hasattr(classifier, "predict_proba"):
        return np.asarray(classifier.predict_proba(plane), np.float64)
    chosen, K = np.searchsorted(classifier.classes_, classifier.predict(plane)), len(classifier.classes_)
    return np.where(chosen[:, None] == np.arange(K), 0.7, 0.3 / max(K - 1, 1))


def _colour(k: int) -> str:
    return paper.COLOURS[k % len(paper.COLOURS)]


def _shaded(p: NDArray[np.float64]) -> NDArray[np.float64]:
    """The colour of the largest class, mixed with white as its probability comes near 1/K."""
    least = 1 / p.shape[1]
    depth = (p.max(axis=1) - least) / max(1 - least, least)
    full = np.array([[int(_colour(k)[i : i + 2], 16) / 255 for i in (1, 3, 5)] for k in range(p.shape[1])])[p.argmax(axis=1)]
    return 1 - (0.06 + 0.5 * depth)[:, None] * (1 - full)
