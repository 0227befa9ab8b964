"""Losses and their pull against the margin m, for scores (m/2, -m/2) and the first class true: the whole family on one sheet."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Mapping
from dataclasses import MISSING, fields
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from softgrad import arrays, paper
from softgrad.losses import cross_entropy
from softgrad.losses.composed import ONE, SEVERAL, compose
from softgrad.losses.described import known
from softgrad.losses.loss import Loss
from softgrad.losses.margins import AbstractMargin

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Floats = NDArray[np.float64]
PLAIN = "cross-entropy"
EXAMPLES: dict[Any, Any] = {"float": 2.0, "tuple[float, ...]": (2.0, 1.0)}  # numbers that have no default, by their type
VISIBLE = 0.02  # losses nearer to cross-entropy are one line with it
YES_OR_NO = "Links that ask yes or no of each class by itself"
KINDS = {
    "curve": "Curves: another price for the same probability",
    "link": "Links that compare a class with the others",
    "scores": "Maps of the scores: before anything else is done with them",
    "targets": "Targets: labels that are less sure of themselves",
    "terms": "Terms: what is added to cross-entropy",
}


def loss_against_margin(losses: Mapping[str, Loss] | None = None, *, path: paper.Path = None) -> Figure:
    """Draw losses against the margin: what a row costs that is wrong (left), undecided (0), right (right).

    L(m), scores (m/2, -m/2), label 0

    Parameters: losses by name (default: the whole family, each part of the library alone beside cross-entropy, one panel for each kind);
    path to save the figure at, .png, .svg or .pdf. Returns the Figure. Raises SoftgradError for what is no loss.

    >>> import softgrad
    >>> figure = softgrad.pictures.loss_against_margin({"smoothed": softgrad.losses.cross_entropy(label_smoothing=0.1)})
    >>> [line.get_label() for line in figure.axes[0].lines if not line.get_label().startswith("_")]
    ['cross-entropy', 'smoothed']
    """
    figure = _drawn(_panels(losses), lambda loss, m: _along(loss, m)[0], "loss", (0.0, 7.0))
    paper.titled(figure, "What a row costs: loss against the margin", "Margin: score of the true class - score of the other one.")
    return paper.kept(figure, path)


def gradient_against_margin(losses: Mapping[str, Loss] | None = None, *, path: paper.Path = None) -> Figure:
    """Draw how strongly a row pulls at its margin: a loss that lets go of rows, right or wrong, is seen at once.

    -dL/dm = (g_1 - g_0) / 2, scores (m/2, -m/2), label 0

    Parameters, errors and return: as `loss_against_margin`.

    >>> import softgrad
    >>> figure = softgrad.pictures.gradient_against_margin()
    >>> len(figure.axes) >= 1
    True
    """
    figure = _drawn(_panels(losses), lambda loss, m: _along(loss, m)[1], "pull on the margin: -dL/dm", (-0.4, 1.4))
    words = "Margin: score of the true class - score of the other one. Below 0 the row is wrong; a pull of 0 learns nothing from it."
    paper.titled(figure, "What a row still teaches: gradient against the margin", words)
    return paper.kept(figure, path)


def _panels(losses: Mapping[str, Loss] | None) -> dict[str, dict[str, Loss]]:
    if losses is None:
        return family()
    for name, loss in losses.items():
        if not isinstance(loss, Loss):
            came = f"{name}: {arrays.shown(loss)}"
            arrays.refuse("loss_against_margin(losses)", "must be losses of softgrad.losses", came, "compose one")
    return {"": dict(losses)}


def family() -> dict[str, dict[str, Loss]]:
    """Every part of the library, alone, by kind, with default numbers or examples; not those that look like cross-entropy."""
    m = np.linspace(-3, 3, 7)
    reference = _along(cross_entropy(), m)[0]
    found: dict[str, dict[str, Loss]] = {}
    for kind, title in KINDS.items():
        for part in known((ONE | SEVERAL)[kind]):
            name, loss = _alone(part)
            if loss is not None and np.abs(_along(loss, m)[0] - reference).max() > VISIBLE:
                found.setdefault(YES_OR_NO if loss.link.reads == "many" else title, {})[name] = loss
    return found


def _alone(part: Any) -> tuple[str, Loss | None]:
    """The loss of one part with its default numbers, or examples where it has none, if it can be asked about two classes."""
    needed = [f for f in fields(part) if f.default is MISSING and f.type in EXAMPLES]
    if issubclass(part, AbstractMargin):
        return "", None  # acts on cosines, not on scores as large as these
    try:
        made = part(**{f.name: EXAMPLES[str(f.type)] for f in needed})
        loss = compose(made)
        _along(loss, np.zeros(1))
    except (TypeError, arrays.SoftgradError):  # other numbers are missing, or other parts
        return "", None
    return arrays.shown(made).removesuffix("()"), loss


def _along(loss: Loss, m: Floats) -> tuple[Floats, Floats]:
    """L and -dL/dm at margins m."""
    y = np.tile([1.0, 0.0], (len(m), 1)) if loss.link.reads == "many" else np.zeros(len(m), int)
    value, g = loss.value_and_grad(np.stack([m / 2, -m / 2], axis=1), y, reduction="none")
    return value, (g[:, 1] - g[:, 0]) / 2


def _drawn(panels: dict[str, dict[str, Loss]], f: Callable[[Loss, Floats], Floats], what: str, ends: tuple[float, float]) -> Figure:
    m = np.linspace(-6, 6, 481)
    columns = min(len(panels), 2)
    rows = -(-len(panels) // columns)
    figure = paper.sheet(7.0 * columns, 3.7 * rows + 0.7)
    for k, (title, losses) in enumerate(panels.items()):
        axes = figure.add_subplot(rows, columns, k + 1)
        lines = {PLAIN: f(cross_entropy(), m)} | {name: f(loss, m) for name, loss in losses.items()}
        styles = {name: paper.style(number) for number, name in enumerate(losses)}
        styles[PLAIN] = {"color": paper.SOFT, "linewidth": 3.4, "alpha": 0.55, "zorder": 1.5}
        drawn: list[Floats] = []
        for name, line in sorted(lines.items(), key=lambda named: -named[1][0]):  # the legend from the top down, as the lines begin
            axes.plot(m, line, label=textwrap.fill(name, 26, break_long_words=False), **styles[name])
            if any(np.allclose(line, other, atol=1e-3) for other in drawn):
                axes.lines[-1].set_linestyle(paper.DASHES[1])  # so that the twin below it is seen
            drawn.append(line)
        low, high = max(ends[0], min(0.0, *map(np.min, drawn))), min(ends[1], max(map(np.max, drawn)))
        axes.axvline(0, color=paper.INK, linewidth=0.8)
        axes.set(xlabel="margin", ylabel=what, xlim=(-6, 6), ylim=(low - 0.02 * high, 1.03 * high))
        axes.legend(frameon=False, fontsize=9, loc="upper left", bbox_to_anchor=(1, 1.02), handlelength=1.8)
        paper.plain(axes)
        paper.said(axes, title)
    return figure
