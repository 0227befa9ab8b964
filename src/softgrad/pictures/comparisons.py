"""Softmax beside other ways to judge scores: the hinge, which is content at a margin, and squared error, which gives up when it is sure."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from softgrad import arrays, paper
from softgrad.losses import cross_entropy

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Floats = NDArray[np.float64]


def softmax_against_hinge(*, path: paper.Path = None) -> Figure:
    """Draw softmax and hinge loss of scores (10, s, s), class 0 true: the hinge is 0 from a margin of 1 on, softmax never.

    hinge: sum_{j != y} max(0, z_j - z_y + 1);   softmax: -log p_y

    Parameters: path to save the figure at. Returns the Figure, with the two samples (10, -10, -10) and (10, 9, 9) marked: both have a
    hinge of 0, and cross-entropies of 4e-9 and 0.55.

    >>> import softgrad
    >>> figure = softgrad.pictures.softmax_against_hinge()
    >>> sorted(line.get_label() for line in figure.axes[0].lines if not line.get_label().startswith("_"))
    ['hinge', 'softmax']
    """
    s = np.linspace(-12, 12, 481)
    scores = np.stack([np.full_like(s, 10), s, s], axis=1)
    figure = paper.sheet(11, 4.3)
    left, right = figure.subplots(1, 2)
    value, g = cross_entropy().value_and_grad(scores, np.zeros(len(s), int), reduction="none")
    hinge = 2 * np.maximum(0, s - 9)
    for axes, softmax, other in ((left, value, hinge), (right, -g[:, 0], 2.0 * (s > 9))):
        for k, (name, line) in enumerate({"softmax": softmax, "hinge": other}.items()):
            axes.plot(s, line, label=name, **paper.style(k))
        axes.axvspan(9, 12, color=paper.GRID, alpha=0.6, linewidth=0, zorder=0)
        axes.set(xlabel="score s of the two wrong classes, that of the true one is 10", xlim=(-12, 12))
        paper.plain(axes)
    left.set(ylabel="loss", ylim=(-0.15, 4.2))
    right.set(ylabel="pull on the true class: -dL/dz", ylim=(-0.07, 2.15), yticks=(0, 0.5, 1, 1.5, 2))
    for at, place in ((-10.0, (-11.5, 0.75)), (9.0, (-2.2, 1.6))):  # the article's two samples
        height, line = cross_entropy()([[10.0, at, at]], [0]), {"arrowstyle": "-", "color": paper.SOFT, "linewidth": 0.9}
        words = f"(10, {at:g}, {at:g})\nhinge {2 * max(0.0, at - 9):g}, softmax {height:.2f}"
        left.annotate(words, (at, height), place, fontsize=9, color=paper.INK, arrowprops=line)
        left.plot([at], [height], "o", color=paper.INK, markersize=5, zorder=3)
    paper.said(left, "two samples that the hinge cannot tell apart")
    paper.said(right, "the hinge pulls all or nothing, softmax by what is missing")
    left.legend(frameon=False, fontsize=9, loc="upper left")
    paper.titled(figure, "Softmax goes on where the hinge is content", "Grey: less than the margin of 1 that the hinge asks for.")
    return paper.kept(figure, path)


def squared_error_against_cross_entropy(start: float = 6.0, rate: float = 1.0, steps: int = 60, *, path: paper.Path = None) -> Figure:
    """Draw both losses of one logistic output a = sigma(z) whose target is 0, their gradients, and what they learn from a bad start.

    cross-entropy: dL/dz = a - y;   squared error (a - y)^2 / 2: dL/dz = (a - y) a (1 - a), next to nothing where a is sure and wrong

    Parameters: start, the score that gradient descent with this rate begins from, and how many steps it takes; path to save the figure
    at. Returns the Figure. Raises SoftgradError for numbers out of range: start in [-8, 8], rate above 0, a step at least.

    >>> import softgrad
    >>> figure = softgrad.pictures.squared_error_against_cross_entropy()
    >>> [axes.get_xlabel() for axes in figure.axes]
    ['score z', 'score z', 'steps of gradient descent']
    """
    start = arrays.number("squared_error_against_cross_entropy(start)", start, -8, 8)
    rate = arrays.number("squared_error_against_cross_entropy(rate)", rate, 0, open_low=True)
    steps = arrays.whole("squared_error_against_cross_entropy(steps)", steps, 1)
    z = np.linspace(-8, 8, 321)
    figure = paper.sheet(12.4, 4.2)
    panels = figure.subplots(1, 3)
    for k, (name, judge) in enumerate({"cross-entropy": _crossed, "squared error": _squared}.items()):
        value, g = judge(z)
        panels[0].plot(z, value, label=name, **paper.style(k))
        panels[1].plot(z, g, label=name, **paper.style(k))
        walked = [start]
        for _ in range(steps):
            walked.append(walked[-1] - rate * float(judge(np.array([walked[-1]]))[1][0]))
        panels[2].plot(range(steps + 1), 1 / (1 + np.exp(-np.array(walked))), label=name, **paper.style(k))
        at = float(judge(np.array([start]))[1][0])
        panels[1].plot([start], [at], "o", color=paper.INK, markersize=5, zorder=3)
        panels[1].annotate(f"{at:.4f}", (start, at), (-4, 9 if k else -14), textcoords="offset points", fontsize=9, ha="right")
    for axes, ylabel, words in zip(
        panels, ("loss", "gradient dL/dz", "output a, wanted: 0"), (
            "both rise, one flattens", f"at z = {start:g}, sure and wrong", f"from z = {start:g}, rate {rate:g}",
        ), strict=True,
    ):  # fmt: skip
        axes.set(xlabel="score z", ylabel=ylabel, xlim=(-8, 8), xticks=range(-8, 9, 4))
        paper.plain(axes)
        paper.said(axes, words)
    panels[2].set(xlabel="steps of gradient descent", ylim=(-0.03, 1.05), xlim=(0, steps), xticks=range(0, steps + 1, max(1, steps // 4)))
    panels[0].legend(frameon=False, fontsize=9, loc="upper left")
    paper.titled(figure, "Squared error gives up where it is sure and wrong; cross-entropy does not")
    return paper.kept(figure, path)


def _crossed(z: Floats) -> tuple[Floats, Floats]:
    """Cross-entropy of a logistic output with the target 0: softmax of the scores (0, z), the first one true."""
    value, g = cross_entropy().value_and_grad(np.stack([np.zeros_like(z), z], axis=1), np.zeros(len(z), int), reduction="none")
    return value, g[:, 1]


def _squared(z: Floats) -> tuple[Floats, Floats]:
    a = 1 / (1 + np.exp(-z))
    return a**2 / 2, a * a * (1 - a)
