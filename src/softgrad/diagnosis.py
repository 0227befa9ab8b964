"""Where a loss learns from its rows, and where it does not: what `softgrad.diagnose` returns.

saturation   g_i = dL_i/dz, saturated: |g_i| < bound;   margin m_i = z_y - max_{j != y} z_j
dilution     shares |g_ij| / sum_{k != y} |g_ik| of the wrong classes, strongest first; exp of their entropy: how many they are as good as
calibration  ECE = sum_b n_b / N |accuracy_b - confidence_b|, bins of equal width, confidence = max p
clipping     rows with |g_i| > max_norm

Losses that ask yes or no of every class (y_ij in {0, 1}) are seen the same way, with

margin       m_i = min_j (2 y_ij - 1) u_ij, the label that is worst off: a row is right where all its labels are
dilution     over the absent classes, y_ij = 0; absences: sum over these |g_ij| / sum_j |g_ij|, what is left of the present ones beside them
calibration  of p_ij against y_ij, over all rows and classes
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from softgrad import arrays, paper
from softgrad.losses.loss import Loss, log_probabilities, predicted
from softgrad.losses.sigmoid import softplus

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Floats = NDArray[np.float64]
QUANTILES = (0.0, 0.05, 0.25, 0.5, 0.75, 0.95, 1.0)
DOTS = 4000  # rows drawn at most


class Words(NamedTuple):
    """What the parts of a diagnosis are called: of losses that ask for one class, and of those that ask yes or no of every class."""

    margin: str
    doubt: str
    classes: str
    shared: str
    sure: str
    largest: str
    true: str
    counted: str


ONE_CLASS = Words(
    "score of the label - largest other", "1 - p_y", "wrong", "{} wrong classes",
    "confidence", "confidence: largest probability", "accuracy", "rows",
)  # fmt: skip
YES_OR_NO = Words(
    "score of the label that is worst off", "1 - p of every label's truth", "absent", "absent classes",
    "probability of yes", "probability of yes", "share of yes", "answers",
)  # fmt: skip


@dataclass(frozen=True, eq=False)
class Calibration:
    """Confidence against accuracy: ece, accuracy and mean confidence; counts, confidences and accuracies of the bins, NaN where empty."""

    ece: float
    accuracy: float
    confidence: float
    counts: NDArray[Any]
    confidences: Floats
    accuracies: Floats


@dataclass(frozen=True, eq=False)
class Diagnosis:
    """Saturation, error dilution, calibration and clipping of some rows; `print` it, or draw its `picture`.

    margins, norms and right (n,) of the rows that count, and their weights; saturated, the share of rows whose gradient is below `bound`;
    saturation_margin, the smallest margin of those (NaN if there are none); saturated_wrong, the share of rows that are wrong and yet
    below it: they are lost; certain, the share of rows with 1 - p_y below the bound. dilution (C - 1,), the mean share of the gradient of
    the wrong classes that goes to the k strongest; effective, how many wrong classes that is as good as. calibration, None where the loss
    has no probabilities, as then `certain`. quantiles of the norms, rows uncounted by weight; clipped, the share of rows above `max_norm`.
    Of yes or no for each class: dilution (C,) over the absent classes, absences their mean share of the whole gradient (else None), the
    calibration of yes: accuracy is how often it was.
    """

    classes: int
    bound: float
    max_norm: float
    margins: Floats
    norms: Floats
    right: NDArray[np.bool_]
    weights: Floats
    saturated: float
    saturated_wrong: float
    saturation_margin: float
    certain: float | None
    dilution: Floats
    effective: float
    calibration: Calibration | None
    quantiles: dict[float, float]
    clipped: float
    absences: float | None = None

    def __str__(self) -> str:
        return "\n".join(f"{name:<13}{words}" for name, words in _told(self))

    @property
    def words(self) -> Words:
        """The names of its parts."""
        return ONE_CLASS if self.absences is None else YES_OR_NO

    def picture(self, path: paper.Path = None) -> Figure:
        """Four panels: gradients against margins, dilution, calibration, clipping; saved if a path is given."""
        figure = paper.sheet(11, 7.8)
        panels = figure.subplots(2, 2).ravel()
        for axes, draw in zip(panels, (_draw_saturation, _draw_dilution, _draw_calibration, _draw_clipping), strict=True):
            draw(axes, self)
        paper.titled(figure, f"Where the loss learns: {len(self.norms)} rows, {self.classes} classes")
        return paper.kept(figure, path)


def diagnose(
    loss: Loss,
    scores: ArrayLike,
    targets: ArrayLike,
    *,
    sample_weight: ArrayLike | None = None,
    bound: float = 1e-3,
    max_norm: float = 1.0,
    bins: int = 15,
) -> Diagnosis:
    """Saturation, error dilution, calibration and clipping of a loss on some rows.

    g_i = dL_i/dz; saturated: |g_i| < bound; dilution: share of |g_ij|, j != y, in the strongest; ECE = sum_b n_b/N |acc_b - conf_b|

    Parameters: loss of `softgrad.losses`; scores (N, C), C at least 2; targets, classes (N,) or shares of them (N, C), whose largest then
    counts as the label, or yes and no for each class (N, C), yes above 1/2; bound of gradients and of 1 - p_y; max_norm that a row's
    gradient would be clipped at; bins of equal width of the confidence, the last one with 1 in it. Rows count by their weights; those that
    do not are not read.
    Returns a `Diagnosis`. Raises SoftgradError as the loss does. A label by itself: its column of scores and of targets.
    Reference: Guo et al. 2017, arXiv 1706.04599 (calibration).

    >>> import softgrad
    >>> found = softgrad.diagnose(softgrad.losses.cross_entropy(), [[9.0, 0.0, 0.0], [1.0, 0.0, 0.5], [0.0, 2.0, 1.0]], [0, 0, 0])
    >>> print(found)
    saturation   33.3 % of rows have a gradient below 0.001, from a margin of 9 on; 0.0 % though wrong
                 33.3 % of rows have 1 - p_y below 0.001
    dilution     of the gradient of 2 wrong classes 61.8 % goes to the strongest; they are as good as 1.9
    calibration  confidence 0.7238, accuracy 0.6667: ECE 0.3863 in 15 bins, overconfident
    clipping     gradient norms: median 0.6104, 95 % below 1.099, largest 1.153; a max-norm of 1 clips 33.3 % of rows
    """
    if not isinstance(loss, Loss):
        arrays.refuse("diagnose(loss)", "must be a loss of softgrad.losses", arrays.shown(loss), "compose one")
    bound = arrays.number("diagnose(bound)", bound, 0, open_low=True)
    max_norm = arrays.number("diagnose(max_norm)", max_norm, 0, open_low=True)
    bins = arrays.whole("diagnose(bins)", bins, 1)
    z = arrays.scores("diagnose(scores)", scores)
    rows = loss.prepare("diagnose", z, targets, sample_weight)
    classes, many = loss.link.classes(z.shape[1]), loss.link.reads == "many"
    if classes < 2 - many or not rows.r.any():
        arrays.refuse("diagnose(scores)", "must have two classes and a row that counts", f"shape {z.shape}", "pass more of them")
    counted = rows.r > 0
    z, y = z[counted].astype(np.float64), rows.y[counted]
    _, g = loss.value_and_grad(z, y, reduction="none")
    w, norms = rows.r[counted] / rows.r.sum(), np.sqrt((g**2).sum(axis=1))
    seen = (_yes_or_no if many else _one_class)(loss, z, y, g, w, bins)
    below = norms < bound
    certain = None if seen.doubt is None else float(w @ (seen.doubt < bound))
    smallest = float(seen.margins[below].min()) if below.any() else np.nan
    saturation = (float(w @ below), float(w @ (below & ~seen.right)), smallest, certain)
    quantiles = dict(zip(QUANTILES, np.quantile(norms, QUANTILES).tolist(), strict=True))
    rest = (*seen.dilution, seen.calibration, quantiles, float(w @ (norms > max_norm)), seen.absences)
    return Diagnosis(classes, bound, max_norm, seen.margins, norms, seen.right, w, *saturation, *rest)


class Seen(NamedTuple):
    """What follows from how a link reads its targets; doubt is 1 - p of what is right."""

    margins: Floats
    right: NDArray[np.bool_]
    doubt: Floats | None
    dilution: tuple[Floats, float]
    calibration: Calibration | None
    absences: float | None


def _one_class(loss: Loss, z: Floats, y: NDArray[Any], g: Floats, w: Floats, bins: int) -> Seen:
    label, classes, each = y if y.ndim == 1 else y.argmax(axis=1), loss.link.classes(z.shape[1]), np.arange(len(z))
    log_p = _log_probabilities(loss, z)
    compared = log_p if z.shape[1] != classes and log_p is not None else z
    doubt = None if log_p is None else -np.expm1(log_p[each, label])
    calibration = None if log_p is None else _calibration(np.exp(log_p.max(axis=1)), log_p.argmax(axis=1) == label, w, bins)
    wrong = np.arange(g.shape[1]) != label[:, None]
    dilution = _dilution(g, wrong, w, classes - 1) if g.shape[1] == classes else (np.full(classes - 1, np.nan), np.nan)
    return Seen(_margins(compared, label), compared.argmax(axis=1) == label, doubt, dilution, calibration, None)


def _yes_or_no(loss: Loss, z: Floats, y: NDArray[Any], g: Floats, w: Floats, bins: int) -> Seen:
    C = z.shape[1]
    yes = y > 0.5 if y.ndim == 2 else np.arange(C) == y[:, None]
    u, lo = predicted(loss, z)
    margins = np.where(yes, u + lo, -(u + lo)).min(axis=1)
    size = np.abs(g)
    total, absent = size.sum(axis=1), np.where(yes, 0.0, size).sum(axis=1)
    some = total > 0
    absences = float(w[some] @ (absent[some] / total[some]) / w[some].sum()) if some.any() else np.nan
    p = loss.link.probabilities((u, lo))
    calibration = _calibration(p.ravel(), yes.ravel(), np.repeat(w / C, C), bins)
    return Seen(margins, margins > 0, np.exp(-softplus(margins)), _dilution(g, ~yes, w, C), calibration, absences)


def _log_probabilities(loss: Loss, z: Floats) -> Floats | None:
    try:
        return log_probabilities(loss, z)
    except arrays.SoftgradError:  # the link's own word that it has none
        return None


def _margins(z: Floats, label: NDArray[Any]) -> Floats:
    others = z.copy()
    others[np.arange(len(z)), label] = -np.inf
    return z[np.arange(len(z)), label] - others.max(axis=1)


def _dilution(g: Floats, wrong: NDArray[np.bool_], w: Floats, most: int) -> tuple[Floats, float]:
    """Mean share of the k strongest wrong classes, k = 1.., and how many classes the gradient is as good as; rows without any left out."""
    size = np.sort(np.where(wrong, np.abs(g), 0.0), axis=1)[:, ::-1][:, :most]
    total = size.sum(axis=1)
    some = total > 0
    if not some.any():
        return np.full(size.shape[1], np.nan), np.nan
    shares, w = size[some] / total[some, None], w[some] / w[some].sum()
    entropy = -(shares * np.log(np.where(shares > 0, shares, 1))).sum(axis=1)
    return w @ shares.cumsum(axis=1), float(w @ np.exp(entropy))


def _calibration(confidence: Floats, right: NDArray[np.bool_], w: Floats, bins: int) -> Calibration:
    """A confidence of 0 lies in the first bin, one of 1 in the last."""
    b = np.minimum((confidence * bins).astype(int), bins - 1)
    counts, sure, hits = (np.bincount(b, x, bins) for x in (w, w * confidence, w * right))
    with np.errstate(invalid="ignore"):
        confidences, accuracies = sure / counts, hits / counts
    ece = float(np.abs(hits - sure).sum())
    return Calibration(ece, float(w @ right), float(w @ confidence), counts, confidences, accuracies)


def _told(d: Diagnosis) -> list[tuple[str, str]]:
    at = f", from a margin of {d.saturation_margin:.3g} on" if d.saturated else ""
    wrong = f"; {100 * d.saturated_wrong:.1f} % though wrong"
    told = [("saturation", f"{100 * d.saturated:.1f} % of rows have a gradient below {d.bound:g}{at}{wrong}")]
    if d.certain is not None:
        told.append(("", f"{100 * d.certain:.1f} % of rows have {d.words.doubt} below {d.bound:g}"))
    if np.isfinite(d.effective):
        few = f", {100 * d.dilution[2]:.1f} % to the strongest 3" if d.classes > 4 else ""
        one = f"of the gradient of {d.words.shared.format(len(d.dilution))} {100 * d.dilution[0]:.1f} % goes to the strongest{few}"
        told.append(("dilution", f"{one}; they are as good as {d.effective:.1f}"))
    if d.absences is not None and np.isfinite(d.absences):
        told.append(("", f"{100 * d.absences:.1f} % of the whole gradient is of absent classes"))
    if (c := d.calibration) is not None:
        way = "overconfident" if c.confidence > c.accuracy else "underconfident"
        bins = f"ECE {c.ece:.4f} in {len(c.counts)} bins, {way}"
        told.append(("calibration", f"{d.words.sure} {c.confidence:.4f}, {d.words.true} {c.accuracy:.4f}: {bins}"))
    norms = f"median {d.quantiles[0.5]:.4g}, 95 % below {d.quantiles[0.95]:.4g}, largest {d.quantiles[1.0]:.4g}"
    return [*told, ("clipping", f"gradient norms: {norms}; a max-norm of {d.max_norm:g} clips {100 * d.clipped:.1f} % of rows")]


# ---- the picture ----------------------------------------------------------------------------------------------------


def _draw_saturation(axes: Axes, d: Diagnosis) -> None:
    drawn = np.arange(len(d.norms)) if len(d.norms) <= DOTS else np.sort(np.random.default_rng(0).permutation(len(d.norms))[:DOTS])
    for right, colour, name in ((True, paper.BLUE, "right"), (False, paper.RED, "wrong")):
        k = drawn[d.right[drawn] == right]
        axes.scatter(d.margins[k], np.maximum(d.norms[k], 1e-300), s=11, color=colour, alpha=0.4, linewidths=0, label=name, rasterized=True)
    floor = max(d.quantiles[0.05] / 10, 1e-12)
    axes.set(yscale="log", xlabel=f"margin: {d.words.margin}", ylabel="norm of the row's gradient")
    axes.set_ylim(min(floor, d.bound / 10), 3 * max(d.quantiles[1.0], d.bound))
    axes.axhline(d.bound, color=paper.INK, linewidth=1, linestyle=(0, (4, 3)))
    _beside(axes, f"bound {d.bound:g}", (float(d.margins.min()), d.bound), (0, -11))
    for handle in axes.legend(frameon=False, fontsize=9, loc="lower left", markerscale=1.8).legend_handles:
        handle.set_alpha(1.0)  # type: ignore[union-attr] - of a scatter
    paper.plain(axes)
    paper.said(axes, f"Saturation: {d.saturated:.1%} of rows have no gradient, {d.saturated_wrong:.1%} though wrong")


def _draw_dilution(axes: Axes, d: Diagnosis) -> None:
    paper.plain(axes)
    wrong, many = d.words.classes, len(d.dilution)
    axes.set(xlabel=f"strongest {wrong} classes counted", ylabel=f"share of the {wrong} classes' gradient (%)", ylim=(0, 104))
    if not np.isfinite(d.effective):
        paper.said(axes, "Dilution: no row has a gradient by classes")
        return
    k = np.arange(1, min(many, 20) + 1)
    axes.plot(k, 100 * d.dilution[: len(k)], color=paper.BLUE, linewidth=1.9, marker="o", markersize=4.5)
    axes.plot(k, 100 * k / many, color=paper.SOFT, linewidth=1.2, linestyle=(0, (4, 3)))
    middle = k[len(k) // 2]
    _beside(axes, "if all counted the same", (middle, 100 * middle / many), (8, -12))
    axes.set_xticks(k if len(k) <= 10 else k[::2])
    paper.said(axes, f"Dilution: {d.dilution[0]:.0%} goes to the strongest; {many} classes count as {d.effective:.1f}")


def _draw_calibration(axes: Axes, d: Diagnosis) -> None:
    paper.plain(axes)
    axes.set(xlabel=d.words.largest, ylabel=d.words.true, xlim=(0, 1.01), ylim=(0, 1.03))
    if (c := d.calibration) is None:
        paper.said(axes, "Calibration: the loss has no probabilities")
        return
    axes.plot([0, 1], [0, 1], color=paper.SOFT, linewidth=1.2, linestyle=(0, (4, 3)))
    some = c.counts > 0
    x, y, share = c.confidences[some], c.accuracies[some], c.counts[some]
    axes.vlines(x, np.minimum(x, y), np.maximum(x, y), color=paper.RED, linewidth=2.2, alpha=0.55)
    axes.scatter(x, y, s=18 + 500 * share, color=paper.BLUE, alpha=0.85, linewidths=0, zorder=3, clip_on=False)
    _beside(axes, "perfect", (0.1, 0.1), (6, -11))
    _beside(axes, f"area: share of {d.words.counted}", (0.02, 0.96), (0, 0))
    paper.said(axes, f"Calibration: {d.words.sure} {c.confidence:.3f}, {d.words.true} {c.accuracy:.3f}, ECE {c.ece:.3f}")


def _draw_clipping(axes: Axes, d: Diagnosis) -> None:
    order: Any = np.argsort(d.norms)
    norms, above = d.norms[order], 100 * (1 - np.cumsum(d.weights[order]))
    axes.plot(np.maximum(norms, 1e-300), np.maximum(above, 0), color=paper.BLUE, linewidth=1.9, drawstyle="steps-post")
    axes.set(xscale="log", xlabel="max-norm that rows' gradients are clipped at", ylabel="rows clipped (%)", ylim=(0, 104))
    highest = max(d.quantiles[1.0], d.max_norm)
    axes.set_xlim(max(d.quantiles[0.05] / 10, 1e-5 * highest), 3 * highest)
    axes.axvline(d.max_norm, color=paper.INK, linewidth=1, linestyle=(0, (4, 3)))
    _beside(axes, f"max-norm {d.max_norm:g}", (d.max_norm, 96), (-4, 0), ha="right")
    paper.plain(axes)
    paper.said(axes, f"Clipping at {d.max_norm:g} touches {d.clipped:.1%} of rows; median norm {d.quantiles[0.5]:.2g}")


def _beside(axes: Axes, words: str, place: tuple[float, float], points: tuple[float, float], **details: Any) -> None:
    axes.annotate(words, place, points, textcoords="offset points", fontsize=9, color=paper.SOFT, **details)
