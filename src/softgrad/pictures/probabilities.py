"""What temperature and the penalty do to probabilities."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from softgrad import arrays, paper
from softgrad.losses import softmax

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from softgrad.data.dataset import Dataset

Floats = NDArray[np.float64]


def probabilities_against_temperature(
    scores: ArrayLike = (1.0, 2.0, 3.0), temperatures: Sequence[float] = (0.5, 1.0, 2.0), *, path: paper.Path = None
) -> Figure:
    """Draw the probabilities of a row of scores against temperature, and their numbers at some temperatures.

    p = softmax(z / T): T -> 0 tends to the largest score alone, T -> inf to 1/C each

    Parameters: scores (C,), C at most 24; temperatures whose numbers are shown; path to save the figure at. Returns the Figure.
    Raises SoftgradError for scores that are no row, and temperatures that are not above 0.

    >>> import softgrad
    >>> figure = softgrad.pictures.probabilities_against_temperature([1.0, 2.0, 3.0])
    >>> [text.get_text() for text in figure.axes[1].texts][:3]
    ['0.016', '0.090', '0.186']
    """
    z = _row("probabilities_against_temperature(scores)", scores)
    shown = [arrays.number("probabilities_against_temperature(temperatures)", T, 0, open_low=True) for T in temperatures]
    figure = paper.sheet(11, 4.3)
    left, right = figure.subplots(1, 2, width_ratios=(1.35, 1))
    T = np.geomspace(0.1, 20, 300)
    p = np.stack([softmax(z, temperature=t) for t in T])
    for j in range(len(z)):
        left.plot(T, p[:, j], **paper.style(j))
    for t in shown:
        left.plot([t] * len(z), softmax(z, temperature=t), "o", color=paper.INK, markersize=4.5, zorder=3)
    left.axhline(1 / len(z), color=paper.SOFT, linewidth=1.1, linestyle=(0, (4, 3)), zorder=1)
    left.set(xscale="log", xlim=(T[0], T[-1]), ylim=(-0.02, 1.02), xlabel="temperature T", ylabel="probability")
    left.set_xticks([0.1, 0.5, 1, 2, 5, 20], labels=["0.1", "0.5", "1", "2", "5", "20"], minor=False)
    left.minorticks_off()
    paper.plain(left)
    paper.name_lines(left, [f"z = {x:g}" for x in z], p[-1].tolist())
    paper.said(left, f"cold: the largest takes all; hot: all tend to 1/{len(z)}")
    _bars(right, z, np.stack([softmax(z, temperature=t) for t in shown]), [f"T = {t:g}" for t in shown])
    paper.said(right, "the order of the classes never changes")
    paper.titled(figure, f"Heat flattens, cold decides: softmax of ({', '.join(f'{x:g}' for x in z)}) / T")
    return paper.kept(figure, path)


def regularisation(
    scores: ArrayLike = (1.0, -2.0, 0.0), data: Dataset | None = None, Cs: Sequence[float] | None = None, *, path: paper.Path = None
) -> Figure:
    """Draw what a penalty does to probabilities: scores that shrink by half, and classifiers from strong to weak penalty.

    p = softmax(s z), s = 1, 1/2, 1/4;   penalty |W|^2 / 2 C N: small C keeps W, and with it all scores, small

    Parameters: scores (C,) for the left panel; data, with X, y, X_test, y_test (default: the digits), and Cs, the inverse strengths that
    a `SoftmaxClassifier` is fitted with (default: 8 from 1e-6 to 10); path to save the figure at. Returns the Figure.

    >>> import softgrad
    >>> figure = softgrad.pictures.regularisation(Cs=[1e-4, 1e-2])
    >>> [axes.get_ylabel() for axes in figure.axes]
    ['probability', 'share of the held-out rows (%)']
    """
    from softgrad.classifier import SoftmaxClassifier
    from softgrad.data import load

    z = _row("regularisation(scores)", scores)
    data = load("digits") if data is None else data
    strengths = np.geomspace(1e-6, 10, 8) if Cs is None else np.sort(np.asarray(Cs, float))
    fits = [SoftmaxClassifier(C=float(C), tol=1e-3).fit(data.X, data.y) for C in strengths]
    p = [clf.predict_proba(data.X_test) for clf in fits]
    accuracy = [100 * float(clf.score(data.X_test, data.y_test)) for clf in fits]
    figure = paper.sheet(11, 4.3)
    left, right = figure.subplots(1, 2, width_ratios=(1, 1.25))
    _bars(left, z, np.stack([softmax(s * z) for s in (1, 0.5, 0.25)]), ["scores", "half of them", "a quarter"])
    paper.said(left, f"({', '.join(f'{x:g}' for x in z)}): smaller scores, flatter probabilities")
    sure = [100 * float(np.max(rows, axis=1).mean()) for rows in p]
    for k, (name, line) in enumerate({"confidence": sure, "accuracy": accuracy}.items()):
        right.plot(strengths, line, marker="o", markersize=4.5, label=name, clip_on=False, zorder=3, **paper.style(k))
    right.fill_between(strengths, sure, accuracy, color=paper.GRID, zorder=0.5)
    right.set(xscale="log", xlabel="C: inverse strength of the penalty", ylabel="share of the held-out rows (%)", ylim=(0, 103))
    right.set_xlim(strengths[0], strengths[-1])
    right.minorticks_off()
    paper.plain(right)
    paper.name_lines(right, ["confidence", "accuracy"], [sure[-1], accuracy[-1]])
    paper.said(right, f"{data.name}: a strong penalty is too modest, none is too sure")
    paper.titled(figure, "A penalty flattens probabilities; it seldom changes who wins")
    return paper.kept(figure, path)


def _row(argument: str, scores: ArrayLike) -> Floats:
    z = arrays.floats(argument, scores).astype(np.float64)
    if z.ndim != 1 or not 2 <= len(z) <= len(paper.COLOURS) * len(paper.DASHES) or not np.isfinite(z).all():
        arrays.refuse(argument, "must be one row of 2 to 24 finite scores", arrays.shown(scores), "pass a few scores")
    return z


def _bars(axes: Axes, z: Floats, p: Floats, names: Sequence[str]) -> None:
    """Groups of bars, one for each row of p, the probabilities of scores z, with their numbers."""
    width = 0.84 / p.shape[1]
    for j in range(p.shape[1]):
        x = np.arange(len(p)) + (j - (p.shape[1] - 1) / 2) * width
        axes.bar(x, p[:, j], 0.92 * width, color=paper.style(j)["color"], label=f"{z[j]:g}")
        for at, value in zip(x, p[:, j], strict=True):
            axes.text(at, value + 0.012, f"{value:.3f}", ha="center", fontsize=8.5 if p.shape[1] <= 4 else 6, color=paper.INK)
    axes.set_xticks(range(len(p)), labels=list(names))
    axes.set(ylabel="probability", ylim=(0, 1.02), xlim=(-0.55, len(p) - 0.3))
    paper.plain(axes)
    axes.grid(axis="x", visible=False)
    axes.tick_params(axis="x", length=0)
    axes.legend(frameon=False, fontsize=9, loc="upper right", handlelength=1, ncols=-(-p.shape[1] // 8), title="score")
