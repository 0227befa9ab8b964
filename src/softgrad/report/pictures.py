"""Pictures of a fit: the loss curve, the confusion matrix, the weights of each class. PNG bytes, the same every time.

matplotlib is imported inside the functions and used through Figure objects: no window, no global state, safe in
threads. Colours: one blue for what is told, red-blue around white for signed numbers; both survive colour-blindness and
grey printing.
"""

from __future__ import annotations

import io
import math
import textwrap
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from softgrad import paper
from softgrad.arrays import SoftgradError
from softgrad.paper import BLUE, INK, SOFT

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MOST_TEMPLATES = 100  # more images on one sheet are too small to be read
STRENGTHS = {"C": "C (inverse strength of the penalty)", "reg": "strength of the penalty"}
MOST_NAMED = 160  # more class names along one axis lie over each other


def loss_curve(values: Sequence[float], *, title: str = "Objective against passes over the data") -> bytes:
    r"""Draw the objective after each pass, and its distance to the lowest value on a logarithmic axis; PNG bytes.

    values (P,): values[p - 1] after pass p. Raises SoftgradError when there is no value.

    >>> loss_curve([2.3, 1.1, 0.9])[:4]
    b'\x89PNG'
    """
    curve = np.asarray(values, dtype=np.float64)
    if curve.ndim != 1 or not curve.size:
        raise SoftgradError(f"loss_curve(values): one value per pass is needed, got shape {curve.shape}: pass clf.loss_curve_")
    passes, best = np.arange(1, len(curve) + 1), float(curve.min())
    figure = paper.sheet(9.2, 3.9)
    left, right = figure.subplots(1, 2)
    _line(left, passes, curve)
    left.set_ylabel("objective (mean loss + penalty)")
    left.set_title(f"last value {curve[-1]:.6g}", fontsize=10, color=SOFT, loc="left")
    above = curve > best
    if above.any():
        right.set_yscale("log")
        _line(right, passes[above], curve[above] - best)
    else:
        right.text(0.5, 0.5, "no pass above the lowest value", ha="center", va="center", transform=right.transAxes, color=SOFT)
        right.axis("off")
    right.set_ylabel("objective - lowest value")
    right.set_title("distance to the lowest value, log scale", fontsize=10, color=SOFT, loc="left")
    for axes in (left, right):
        axes.set_xlim(0, len(curve) + 1)
    figure.suptitle(title, fontsize=13, x=0.012, ha="left", weight="bold")
    return _png(figure)


def strengths(
    Cs: Sequence[float],
    log_losses: np.ndarray,
    held_out: np.ndarray,
    train: np.ndarray,
    *,
    chosen: float,
    name: str = "C",
    title: str = "Held-out rows against the strength of the penalty",
) -> bytes:
    r"""Draw log loss and accuracy against C on a logarithmic axis, bands from fold to fold, the chosen C marked; PNG bytes.

    Cs (K,) ascending, above 0; log_losses, held_out and train, the accuracies of rows held out and trained on, (F, K) each, NaN where left
    out; a band is mean +- standard deviation; name, C or reg. Raises SoftgradError when the sizes differ.

    >>> strengths([0.1, 1.0], np.array([[0.5, 0.4]]), np.array([[0.8, 0.9]]), np.array([[0.8, 1.0]]), chosen=1.0)[:4]
    b'\x89PNG'
    """
    x, parts = np.asarray(Cs, dtype=np.float64), [np.asarray(part, dtype=np.float64) for part in (log_losses, held_out, train)]
    if any(part.ndim != 2 or part.shape != (parts[0].shape[0], len(x)) for part in parts):
        came = ", ".join(str(part.shape) for part in parts)
        raise SoftgradError(f"strengths(log_losses, held_out, train): shape (F, {len(x)}) is needed, got {came}: one column for each C")
    figure = paper.sheet(10.4, 4.4)
    left, right = figure.subplots(1, 2)
    _band(left, x, parts[0], BLUE, "o", "held out")
    _band(right, x, 100 * parts[1], BLUE, "o", "held out")
    _band(right, x, 100 * parts[2], SOFT, "s", "trained on")
    for axes, what in ((left, "log loss of rows held out (nats)"), (right, "accuracy (%)")):
        axes.set(xscale="log", xlabel=STRENGTHS[name], ylabel=what)
        axes.axvline(chosen, color=INK, linewidth=1, linestyle=(0, (4, 3)), zorder=1)
        paper.plain(axes)
    at = int(np.flatnonzero(x == chosen)[0])
    means = [part[:, at].mean() for part in parts]
    left.set_title(f"chosen {name} = {chosen:g}: log loss {means[0]:.4f}", fontsize=10, color=SOFT, loc="left")
    right.set_title(f"there {means[1]:.2%} held out, {means[2]:.2%} trained on", fontsize=10, color=SOFT, loc="left")
    right.legend(frameon=False, fontsize=9, loc="best")
    figure.suptitle(title, fontsize=13, x=0.012, ha="left", weight="bold")
    bands = f"Bands: one standard deviation over {len(parts[0])} folds. " if len(parts[0]) > 1 else ""
    figure.supxlabel(f"{bands}Dashed: the chosen {name}.", fontsize=9, color=SOFT, x=0.012, ha="left")
    return _png(figure)


def _band(axes: Axes, x: np.ndarray, values: np.ndarray, colour: str, marker: str, label: str) -> None:
    """Mean of the folds, and how far they spread; infinite ones leave a gap."""
    values = np.where(np.isfinite(values), values, np.nan)
    mean, spread = values.mean(axis=0), values.std(axis=0)
    axes.fill_between(x, mean - spread, mean + spread, color=colour, alpha=0.18, linewidth=0)
    axes.plot(x, mean, color=colour, linewidth=1.8, marker=marker, markersize=4.5, label=label)


def grid_map(rows: Sequence[Mapping[str, Any]], strength: str = "C", *, title: str = "Accuracy of held-out rows") -> bytes:
    r"""Draw the accuracy of a grid as a map, learning rates down, strengths across, the first row of the table framed; PNG bytes.

    rows, with learning_rate, C or reg (which, says strength), validation_accuracy and status; those that diverged are marked.

    >>> rows = [{"learning_rate": rate, "C": C, "validation_accuracy": C * rate, "status": "done"} for rate in (1, 2) for C in (0.1, 0.2)]
    >>> grid_map(rows)[:4]
    b'\x89PNG'
    """
    from matplotlib.patches import Rectangle

    rates, values = (sorted({row[name] for row in rows}) for name in ("learning_rate", strength))
    shares = np.full((len(rates), len(values)), np.nan)
    for row in rows:
        if row["status"] != "diverged":
            shares[rates.index(row["learning_rate"]), values.index(row[strength])] = row["validation_accuracy"]
    figure = paper.sheet(max(1.0 * len(values) + 2.6, 6.5), max(0.62 * len(rates) + 2.0, 3.4))
    axes = figure.subplots()
    image = axes.imshow(100 * shares, cmap="Blues", aspect="auto", interpolation="nearest")
    low, high = (np.nanmin(shares), np.nanmax(shares)) if not np.isnan(shares).all() else (0.0, 1.0)
    for i, j in np.ndindex(shares.shape):
        words = "diverged" if np.isnan(shares[i, j]) else f"{shares[i, j]:.2%}"
        axes.text(j, i, words, ha="center", va="center", fontsize=10, color="white" if shares[i, j] > (low + high) / 2 else INK)
    at = values.index(rows[0][strength]) - 0.5, rates.index(rows[0]["learning_rate"]) - 0.5
    axes.add_patch(Rectangle(at, 1, 1, fill=False, edgecolor="#c2410c", linewidth=2.5))
    axes.set_xticks(range(len(values)), labels=[f"{value:g}" for value in values])
    axes.set_yticks(range(len(rates)), labels=[f"{rate:g}" for rate in rates])
    axes.set(xlabel=STRENGTHS[strength], ylabel="learning rate")
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0)
    _bar(figure, image, axes, "accuracy (%)")
    axes.set_title(title, fontsize=13, weight="bold", loc="left")
    figure.supxlabel("Framed: the best.", fontsize=9, color=SOFT, x=0.012, ha="left")
    return _png(figure)


def confusion_matrix(counts: np.ndarray, classes: Sequence[str], *, title: str = "Confusion matrix") -> bytes:
    r"""Draw a confusion matrix; PNG bytes: each row shaded by shares of its true class, counts printed where they fit.

    counts (K, K), row = true class; classes K names. The shade follows the square root of the share, so that mistakes
    of a few percent are seen beside a full diagonal. Raises SoftgradError when the sizes differ.

    >>> confusion_matrix(np.array([[3, 1], [0, 4]]), ["cat", "dog"])[:4]
    b'\x89PNG'
    """
    from matplotlib.colors import PowerNorm

    counts, K = np.asarray(counts), len(classes)
    if counts.shape != (K, K) or not K:
        raise SoftgradError(
            f"confusion_matrix(counts): shape (K, K) is needed for {K} classes, got {counts.shape}: pass Confusion.counts and .classes"
        )
    names = [_short(name, 28) for name in classes]
    cell = float(np.clip(7.0 / K, 0.17 if K <= MOST_NAMED else 0.0, 0.62))  # inches; names stay legible while they are shown
    margin = 0.8 + (0.075 if K <= 24 else 0.06) * max(map(len, names)) * (K <= MOST_NAMED)
    side = max(K * cell, 2.4)
    figure = paper.sheet(side + margin + 1.3, side + 0.75 * margin + 0.9)  # slanted names need less height than width
    axes = figure.subplots()
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    image = axes.imshow(shares, cmap="Blues", norm=PowerNorm(0.5, 0.0, 1.0), interpolation="nearest")
    _name_axes(axes, names, 9 if K <= 24 else 6.5, 72 * side / K)
    _print_counts(axes, counts, shares, 72 * side / K)
    axes.set_xlabel("predicted class")
    axes.set_ylabel("true class")
    right = np.trace(counts) / max(counts.sum(), 1)
    axes.set_title(title, fontsize=13, weight="bold", loc="left", pad=22)
    told = f"{counts.sum()} rows, {right:.1%} right"
    axes.annotate(told, (0, 1), (0, 6), "axes fraction", "offset points", fontsize=10, color=SOFT, va="bottom")
    bar = _bar(figure, image, axes, "share of the true class (square-root shade)", ticks=[0, 0.01, 0.05, 0.25, 0.5, 1.0])
    bar.ax.set_yticklabels(["0", "1 %", "5 %", "25 %", "50 %", "100 %"])
    return _png(figure)


def weight_templates(
    coef: np.ndarray, classes: Sequence[str], image: Callable[[np.ndarray], np.ndarray], *, scale: float = 1.0, title: str = ""
) -> bytes:
    r"""Draw the weights of each class as an image, all classes on ONE symmetric scale; PNG bytes.

    coef (K, D), or (1, D) for two classes, whose weights are then shown as -coef/2 and coef/2; classes K names; image
    turns a vector (D,) into (H, W) or (H, W, 3); scale multiplies the weights (features that count as divided by 255
    have weights 255 times as large). Gray images: red raises the score, blue lowers it, white is zero. Colour images:
    [-m, m] is mapped to [0, 1] in each channel, so that mid-gray is zero. Raises SoftgradError when the sizes differ.

    >>> weight_templates(np.eye(4), list("abcd"), lambda vector: vector.reshape(2, 2))[:4]
    b'\x89PNG'
    """
    coef = np.asarray(coef, dtype=np.float64) * scale
    if coef.shape[0] == 1 and len(classes) == 2:
        coef = np.concatenate([-coef, coef]) / 2  # the symmetric softmax with the same probabilities
    if coef.ndim != 2 or len(coef) != len(classes):
        raise SoftgradError(
            f"weight_templates(coef): one row per class is needed, got {coef.shape} for {len(classes)} classes: "
            "pass clf.coef_ and the names of clf.classes_"
        )
    shown = [image(weights) for weights in coef[:MOST_TEMPLATES]]
    most = float(max(np.abs(weights).max() for weights in shown)) or 1.0
    columns = min(len(shown), math.ceil(math.sqrt(2 * len(shown))))
    inches = max(9.5 / columns, 0.9)  # width of one template; all lengths on the sheet are in widths of one template
    tall, name_size = shown[0].shape[0] / shown[0].shape[1], 11 if columns <= 6 else 8
    step = (1.05, tall + 2.1 * name_size / 72 / inches)
    size = (columns * step[0], math.ceil(len(shown) / columns) * step[1])
    gray = shown[0].ndim == 2
    figure = paper.sheet(max(size[0] * inches, 4.5) + 0.9 * gray, size[1] * inches + 1.0)
    axes = figure.subplots()
    for k, (weights, name) in enumerate(zip(shown, classes, strict=False)):
        left, bottom = k % columns * step[0], (k // columns + 1) * step[1]
        drawn = _template(axes, weights, most, (left, left + 1, bottom, bottom - tall))
        words = _short(name, max(int(105 * inches / name_size), 5))
        axes.text(left + 0.5, bottom - tall - 0.06 / inches, words, fontsize=name_size, ha="center", va="bottom")
    axes.set(xlim=(0, size[0]), ylim=(size[1], 0), aspect="equal")
    axes.axis("off")
    if gray:
        _bar(figure, drawn, axes, "weight")
    axes.set_title(title or "Weights of each class", fontsize=13, weight="bold", loc="left")
    letters = int(figure.get_figwidth() * 13)
    figure.supxlabel(_caption(not gray, most, scale, len(shown), len(classes), letters), fontsize=9, color=SOFT, x=0.012, ha="left")
    return _png(figure)


def _template(axes: Axes, weights: np.ndarray, most: float, extent: tuple[float, float, float, float]) -> Any:
    if weights.ndim == 3:
        return axes.imshow((weights + most) / (2 * most), interpolation="nearest", extent=extent)
    return axes.imshow(weights, cmap="RdBu_r", vmin=-most, vmax=most, interpolation="nearest", extent=extent)


def _bar(figure: Figure, drawn: Any, axes: Axes, label: str, **details: Any) -> Any:
    bar = figure.colorbar(drawn, ax=axes, shrink=0.8, aspect=28, pad=0.02, **details)
    bar.set_label(label)
    bar.ax.tick_params(length=3)
    for spine in bar.ax.spines.values():
        spine.set_visible(False)
    return bar


def _caption(colour: bool, most: float, scale: float, shown: int, classes: int, letters: int) -> str:
    one = f"One scale for all classes: -{most:.3g} to {most:.3g}" + (f" per feature / {scale:g}." if scale != 1 else ".")
    how = (
        "Mid-gray is zero; a brighter channel raises the class's score where the image is bright in it, a darker one lowers it."
        if colour
        else "Red raises the class's score where the image is bright, blue lowers it, white is zero."
    )
    some = f" The first {shown} of {classes} classes." if shown < classes else ""
    return "\n".join(textwrap.wrap(one + " " + how + some, letters))


def _png(figure: Figure) -> bytes:
    stored = io.BytesIO()
    figure.savefig(stored, format="png", metadata={"Software": "softgrad"})  # no date, no library version: same picture, same bytes
    return stored.getvalue()


def _line(axes: Axes, x: np.ndarray, y: np.ndarray) -> None:
    from matplotlib.ticker import MaxNLocator

    axes.plot(x, y, color=BLUE, linewidth=1.8, marker="o" if len(x) <= 60 else None, markersize=3.5)
    axes.set_xlabel("passes over the data")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=8))
    paper.plain(axes)


def _name_axes(axes: Axes, names: list[str], size: float, cell: float) -> None:
    """Class names of `size` points at cells of `cell` points, turned only where they would touch each other."""
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0)
    if len(names) > MOST_NAMED:  # numbers of classes, matplotlib's own choice of ticks
        return
    numbers = range(len(names))
    axes.set_yticks(numbers, labels=names, fontsize=size)
    axes.set_xticks(numbers, labels=names, fontsize=size)
    if 0.65 * size * max(map(len, names)) < cell:
        return
    slanted = cell > 1.6 * size
    for label in axes.get_xticklabels():
        label.set(rotation=40 if slanted else 90, ha="right", va="top" if slanted else "center", rotation_mode="anchor")


def _print_counts(axes: Axes, counts: np.ndarray, shares: np.ndarray, cell: float) -> None:
    """Print each count into its cell of `cell` points, or nothing when the longest one would not fit legibly."""
    size = min(cell / (0.68 * len(str(counts.max()))), 0.5 * cell, 11.0)
    if size < 5:
        return
    for i, j in zip(*np.nonzero(counts), strict=True):
        axes.text(j, i, str(counts[i, j]), ha="center", va="center", fontsize=size, color="white" if shares[i, j] > 0.35 else INK)


def _short(name: str, most: int) -> str:
    name = " ".join(str(name).replace("$", r"\$").split())  # $ would begin a formula
    return name if len(name) <= most else name[: most - 1] + "…"
