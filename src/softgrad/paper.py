"""What pictures are drawn on: sheets, colours, plain axes, names beside lines, files. The same bytes every time.

matplotlib is imported inside the functions and used through Figure objects: no window, no global state, safe in threads.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INK, SOFT, BLUE, RED, GRID = "#222222", "#6b6b6b", "#1f5fa8", "#c8453b", "#e4e4e4"
COLOURS = (BLUE, RED, "#d99a1c", "#2a8f7a", "#7b52a8", "#8a5a44", "#5aa7d6", "#d46fa3")  # told apart by the colour-blind, and in grey
DASHES = ("-", (0, (5, 2)), (0, (1, 1.5)))  # for more lines than there are colours
DPI = 144
Path: TypeAlias = "str | os.PathLike[str] | None"


def sheet(width: float, height: float) -> Figure:
    """An empty white figure, inches."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=DPI, layout="constrained", facecolor="white")
    FigureCanvasAgg(figure)
    return figure


def plain(axes: Axes) -> None:
    """A light grid behind the lines, no frame."""
    axes.grid(color=GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def titled(figure: Figure, title: str, words: str = "") -> None:
    """The point of the whole sheet, below it what one has to know to read it, and some air between its panels."""
    figure.suptitle(title, fontsize=13, x=0.012, ha="left", weight="bold", color=INK)
    figure.set_layout_engine("constrained", h_pad=0.09, w_pad=0.09)
    if words:
        figure.supxlabel(words, fontsize=9, color=SOFT, x=0.012, ha="left")


def said(axes: Axes, words: str) -> None:
    """The point of one panel."""
    axes.set_title(words, fontsize=10, color=SOFT, loc="left")


def style(k: int) -> dict[str, Any]:
    """Colour and dash of line k."""
    return {"color": COLOURS[k % len(COLOURS)], "linestyle": DASHES[k // len(COLOURS) % len(DASHES)], "linewidth": 1.9}


def name_lines(axes: Axes, names: Sequence[str], heights: Sequence[float], *, size: float = 9, gap: float = 0.062) -> None:
    """Names right of the axes, where line k ends at heights[k] of its data, moved apart so that none touches another."""
    low, high = axes.get_ylim()
    ends = np.clip((np.asarray(heights, float) - low) / (high - low), 0, 1)
    order = np.argsort(ends, kind="stable")
    places = ends[order]
    for _ in range(200):  # neighbours that are too close move apart by half of what is missing
        missing = np.maximum(gap - np.diff(places), 0) / 2
        places[1:] += missing
        places[:-1] -= missing
        places += max(0.0, -places[0]) if places[0] < 0 else min(0.0, 1 - places[-1])
    for k, place in zip(map(int, order), places.tolist(), strict=True):
        axes.annotate(
            names[k], (1, ends[k]), (1.035, place), "axes fraction", "axes fraction", fontsize=size, color=style(k)["color"], va="center",
            arrowprops={"arrowstyle": "-", "color": style(k)["color"], "linewidth": 0.7, "shrinkA": 1, "shrinkB": 0, "relpos": (0, 0.5)},
        )  # fmt: skip


def kept(figure: Figure, path: Path) -> Figure:
    """The figure, saved if there is a path to save it at; no date and no version in the file."""
    if path is not None:
        kind = os.fspath(path).rpartition(".")[2].lower()
        metadata = {"png": {"Software": "softgrad"}, "svg": {"Date": None}, "pdf": {"CreationDate": None}}.get(kind)
        figure.savefig(path, metadata=metadata)
    return figure
