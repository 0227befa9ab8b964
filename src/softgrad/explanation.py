"""One row on its way through a loss, step by step, in the user's own numbers: what `softgrad.explain` returns.

    scores z -> u = phi(z) -> exponentials, their sum, probabilities p -> l -> dl/dp, Jacobian dp/du -> dl/du = J' dl/dp
             -> L = w f(l) + terms -> dL/dz = phi' o (w f' dl/du + terms') -> held against finite differences

A step is there where the loss has it: a link without probabilities has no dl/dp, the identity is no curve. What a part does is told by
the formula in its own documentation.
"""

from __future__ import annotations

import inspect
import re
import textwrap
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from softgrad import arrays, differences
from softgrad.losses import Softmax, Temperature, cross_entropy
from softgrad.losses.loss import Evaluated, Loss, Rows
from softgrad.losses.part import Floats

WIDTH, CELL, NAME = 80, 10, 9  # columns of a line, of a number, of a name before the numbers
MOST = (WIDTH - 3 - NAME) // CELL  # classes that stand side by side
LARGE = 20.0  # scores from which on exp(u) is a number that nobody wants to see


@dataclass(frozen=True, eq=False)
class Step:
    """One step: vectors over classes or scores, single numbers, or a matrix, under a formula."""

    title: str
    formula: str = ""
    vectors: tuple[tuple[str, Floats], ...] = ()
    numbers: tuple[tuple[str, float], ...] = ()
    matrix: Floats | None = None
    note: str = ""


@dataclass(frozen=True, eq=False)
class Explanation:
    """Every number of one row's loss and gradient; `print` it, or read the attributes.

    scores z and target a as they entered, u behind the maps of the scores; exponentials exp(u) and their sum, and stable_exponentials
    exp(u - max u) and their stable_sum (softmax only); probabilities p, dl_dp and jacobian dp/du, chain = jacobian' dl_dp (None where the
    loss has none); ell = l and dl_du of the link; value = L and gradient = dL/dz; numeric, the gradient by finite differences, and
    largest_difference between the two; steps, as printed. rows and evaluated are what the loss itself worked with.
    """

    loss: Loss
    scores: Floats
    target: Floats
    u: Floats
    ell: float
    dl_du: Floats
    value: float
    gradient: Floats
    numeric: Floats
    probabilities: Floats | None
    jacobian: Floats | None
    evaluated: Evaluated = field(repr=False)
    rows: Rows = field(repr=False)

    @cached_property
    def exponentials(self) -> Floats | None:
        """exp(u), inf where it overflows; None for links other than softmax."""
        with np.errstate(over="ignore", under="ignore"):
            return np.exp(self.u) if isinstance(self.loss.link, Softmax) else None

    @cached_property
    def sum(self) -> float | None:
        """Sum of the exponentials."""
        return None if self.exponentials is None else float(self.exponentials.sum())

    @cached_property
    def stable_exponentials(self) -> Floats | None:
        """exp(u - max u)."""
        with np.errstate(under="ignore"):
            return np.exp(self.u - self.u.max()) if isinstance(self.loss.link, Softmax) else None

    @cached_property
    def stable_sum(self) -> float | None:
        """Sum of the stable exponentials, between 1 and C."""
        return None if self.stable_exponentials is None else float(self.stable_exponentials.sum())

    @cached_property
    def dl_dp(self) -> Floats | None:
        """Derivative of l = -sum_j a_j log p_j by the probabilities; -inf where a class that is asked for has probability 0."""
        if self.jacobian is None or self.probabilities is None:
            return None
        with np.errstate(divide="ignore"):
            return np.where(self.target > 0, -self.target / np.where(self.target > 0, self.probabilities, 1), 0.0)

    @cached_property
    def chain(self) -> Floats | None:
        """jacobian' dl_dp, which is dl_du; None also where dl_dp is infinite."""
        if self.jacobian is None or self.dl_dp is None or not np.isfinite(self.dl_dp).all():
            return None
        return self.jacobian.T @ self.dl_dp

    @property
    def largest_difference(self) -> float:
        """Between the gradient and finite differences."""
        return float(np.abs(self.gradient - self.numeric).max())

    @cached_property
    def steps(self) -> list[Step]:
        """The way of the row, in order."""
        return [*_scores(self), *_target(self), *_probabilities(self), *_link(self), *_outside(self), *_check(self)]

    def numbers(self) -> dict[str, Any]:
        """Every step as plain data, ready for JSON."""
        named = {"loss": repr(self.loss), "value": self.value, "gradient": self.gradient.tolist(), "numeric": self.numeric.tolist()}
        return named | {"largest_difference": self.largest_difference, "steps": [*map(_plain, self.steps)]}

    def __str__(self) -> str:
        shown, head = _shown(self), f"Loss of one row of {len(self.scores)} scores: L = {_number(self.value)}"
        return "\n\n".join([head, *(f"{k}. {_told(step, shown)}" for k, step in enumerate(self.steps, 1))])


def explain(scores: ArrayLike, label: ArrayLike, *, loss: Loss | None = None, temperature: float = 1.0) -> Explanation:
    """Every step from one row of scores to its loss and gradient, in the row's own numbers; print it, or read its attributes.

    p = exp(u) / sum exp(u), u = z / T;   L = -log p_y;   dL/dp = -y / p;   dp/du = diag(p) - p p';   dL/dz = (p - y) / T

    Parameters: scores (C,); label, a class number from 0 on, or (C,) what the loss reads else: shares of classes, yes or no for each. loss,
    any of `softgrad.losses` (default: cross-entropy), whose every part is shown; temperature T > 0 divides the scores before anything else.
    Returns an `Explanation`. The loss is that of the row as it counts in a sum: with its class weight. Raises SoftgradError for scores that
    are no row, labels that the loss cannot read, and rows that do not count.

    >>> import softgrad
    >>> told = softgrad.explain([1.0, 2.0, 3.0], 1)
    >>> print(round(told.sum, 4), told.probabilities.round(3), round(told.value, 4))
    30.1929 [0.09  0.245 0.665] 1.4076
    >>> told.gradient.round(3), told.largest_difference < 1e-11
    (array([ 0.09 , -0.755,  0.665]), True)
    """
    T = arrays.number("explain(temperature)", temperature, 1e-300)
    loss = cross_entropy() if loss is None else loss
    if not isinstance(loss, Loss):
        arrays.refuse("explain(loss)", "must be a loss of softgrad.losses", arrays.shown(loss), "compose one, or use check_gradient")
    loss = loss if T == 1 else replace(loss, scores=(Temperature(T), *loss.scores))
    z = arrays.floats("explain(scores)", scores).astype(np.float64)
    if z.ndim != 1 or not len(z):
        arrays.refuse("explain(scores)", "must be one row (C,)", f"shape {z.shape}", "pass the scores of one row")
    rows = loss.prepare("explain", z[None], np.asarray(label)[None], None, "label")
    if loss.link.broken(rows.z).any():
        arrays.bad_scores("explain(scores)", 0)
    if not rows.r[0]:
        arrays.refuse("explain(label)", "must be that of a row that counts", arrays.shown(label), "pass a label that is not ignored")
    value, gradient = loss.value_and_grad(rows.z, np.asarray(label)[None], reduction="sum")
    fixed, h = replace(loss, mining=None), differences.step_for(np.finfo(np.float64).eps)
    numeric = differences.slopes(lambda x: fixed(x[None], np.asarray(label)[None], reduction="sum"), z, h)
    if loss.mining is not None:  # a rule among the rows, here for one; what it gives is held fixed
        rows = replace(rows, r=loss.mined(rows.r, fixed(rows.z, np.asarray(label)[None], reduction="none")))
        numeric *= rows.r[0]
    at = Evaluated(loss, rows)
    p = _probabilities_of(loss, at)
    J = _jacobian(loss, at, p) if p is not None and loss.link.likelihood else None
    return Explanation(loss, z, at.a[0], at.u[0][0] + at.u[1][0], float(at.ell[0]), at.g[0], value, gradient[0], numeric, p, J, at, rows)


def _probabilities_of(loss: Loss, at: Evaluated) -> Floats | None:
    try:
        return loss.link.probabilities(at.u)[0]
    except arrays.SoftgradError:  # the link's own word that it has none
        return None


def _jacobian(loss: Loss, at: Evaluated, p: Floats) -> Floats:
    """dp_j/du = -p_j times the gradient of -log p_j, which any likelihood has: its loss for the label j."""
    K = len(p)
    u = (np.repeat(at.u[0], K, axis=0), np.repeat(at.u[1], K, axis=0))
    return -p[:, None] * loss.link.value_gradient(u, np.eye(K), 1 - np.eye(K))[1]


# ---- the steps ------------------------------------------------------------------------------------------------------


def _scores(e: Explanation) -> list[Step]:
    steps = [Step("Scores", vectors=(("z", e.scores),))]
    u, y = (e.rows.z, np.zeros_like(e.rows.z)), e.rows.y
    for phi in e.loss.scores:
        u = phi.forward(u, y)
        steps.append(Step(_name(phi), _says(phi), (("u", u[0][0] + u[1][0]),)))
    return steps


def _target(e: Explanation) -> list[Step]:
    hard = np.count_nonzero(e.target) == 1 and e.target.max() == 1
    title, formula = ("Target", "a_j = [j = label]") if hard else (f"Target: {_name(e.loss.targets)}", _says(e.loss.targets))
    weighed = e.loss.weights.omega(len(e.target)) if len(set(e.loss.weights.omega(len(e.target)))) > 1 else None
    return [Step(title, formula, (*((("omega", weighed),) if weighed is not None else ()), ("a", e.target)))]


def _probabilities(e: Explanation) -> list[Step]:
    steps = []
    if e.exponentials is not None and e.stable_exponentials is not None:
        told = Step("Exponentials", "e_j = exp(u_j)", (("exp(u)", e.exponentials),), (("sum", e.sum or 0.0),))
        if np.abs(e.u[np.isfinite(e.u)]).max() > LARGE:
            note = "exp overflows: the largest score is subtracted first, which changes nothing in p." if np.isinf(e.sum or 0.0) else ""
            less = Step("The same, the largest score subtracted", "e_j = exp(u_j - max u)", (("u - max", e.u - e.u.max()),))
            stable = replace(less, vectors=(*less.vectors, ("exp", e.stable_exponentials)), numbers=(("sum", e.stable_sum or 0.0),))
            steps = [replace(told, note=note), stable]
        else:
            steps = [told]
    if e.probabilities is not None:
        steps.append(Step("Probabilities", "p_j = e_j / sum" if steps else "", (("p", e.probabilities),)))
    return steps


def _link(e: Explanation) -> list[Step]:
    own = "l = -sum_j a_j log p_j" if e.jacobian is not None else _says(e.loss.link)
    steps = [Step(f"Loss: {_name(e.loss.link)}", own, numbers=(("l", e.ell),))]
    if e.jacobian is None or e.dl_dp is None:
        return [*steps, Step("Its derivative by the scores", vectors=(("dl/du", e.dl_du),))]
    steps.append(Step("Its derivative by the probabilities", "dl/dp_j = -a_j / p_j", (("dl/dp", e.dl_dp),)))
    formula = "J_jk = dp_j/du_k" + (" = p_j ([j = k] - p_k)" if e.exponentials is not None else "")
    steps.append(Step("Jacobian of the probabilities", formula, matrix=e.jacobian))
    if e.chain is None:
        note = "A probability is 0 in float64: the chain would be 0 times infinity, its closed form is not."
        return [*steps, Step("Derivative by the scores", _closed(e), (("dl/du", e.dl_du),), note=note)]
    vectors = (("J' dl/dp", e.chain), ("dl/du", e.dl_du))
    return [*steps, Step("Chain rule: derivative by the scores", f"J' dl/dp{_closed(e)}", vectors, (("sum", float(e.dl_du.sum())),))]


def _closed(e: Explanation) -> str:
    return " = p sum(a) - a" if e.exponentials is not None else ""


def _outside(e: Explanation) -> list[Step]:
    """What acts on the link's loss: curve, terms, weight; and the way back through the maps of the scores."""
    loss, at, steps = e.loss, e.evaluated, []
    f, f1, _ = (float(x[0]) for x in loss.curve.derivatives(at.ell))
    curved = not loss.curve.linear or f != e.ell
    if curved:
        steps.append(Step(f"Curve: {_name(loss.curve)}", _says(loss.curve), numbers=(("f(l)", f), ("f'(l)", f1))))
    for term in loss.terms:
        t, t1 = term.value_gradient(at.u)
        steps.append(Step(f"Term: {_name(term)}", _says(term), (("dt/du", t1[0]),), (("t", float(t[0])),)))
    if loss.mining is not None:
        steps.append(Step(f"Mining: {_name(loss.mining)}", _says(loss.mining), numbers=(("v", float(e.rows.r[0])),)))
    if not (curved or loss.terms or loss.scores) and at.w[0] == 1:
        return steps
    weighed = [(at.w[0], "f(l)" if curved else "l"), *((at.whole[0], "t") for _ in loss.terms)]
    formula = " + ".join(name if w == 1 else f"{w:g} {name}" for w, name in weighed)
    vectors = (("du/dz", np.broadcast_to(at.slope, e.rows.z.shape)[0]),) if loss.scores else ()
    back = "dL/dz = du/dz o dL/du" if loss.scores else "dL/dz = dL/du"
    return [*steps, Step("All together", f"L = {formula};  {back}", (*vectors, ("dL/dz", e.gradient)), (("L", e.value),))]


def _check(e: Explanation) -> list[Step]:
    vectors, formula = (("dL/dz", e.gradient), ("numeric", e.numeric)), "(L(z - 2h) - 8 L(z - h) + 8 L(z + h) - L(z + 2h)) / 12 h"
    return [Step("Check against finite differences", formula, vectors, (("largest difference", e.largest_difference),))]


# ---- as text --------------------------------------------------------------------------------------------------------


def _name(part: Any) -> str:
    return arrays.shown(part).removesuffix("()")


def _says(part: Any) -> str:
    """A part's formula: the first sentence of its documentation, or the paragraph after it where that has the equals sign; no paper."""
    text = re.sub(r"\s\([^()]*\b(19|20)\d\d\b[^()]*\)", "", inspect.getdoc(type(part)) or "")
    sentence, *more = (" ".join(paragraph.split()) for paragraph in text.split("\n\n"))
    sentence = sentence.split(". ")[0].rstrip(".")
    return more[0] if more and "=" not in sentence and "=" in more[0] else sentence


def _shown(e: Explanation) -> dict[int, NDArray[np.intp]]:
    """Which entries are printed of a vector of some length: all, or those that the gradient moves most, or the target asks for."""
    of_classes, of_scores = (np.argsort(-np.abs(x), kind="stable")[:MOST] for x in (e.target, e.gradient))
    return {len(e.target): np.sort(of_classes)} | {len(e.u): np.sort(of_scores)}


def _told(step: Step, shown: dict[int, NDArray[np.intp]]) -> str:
    lines = [step.title, *textwrap.wrap(step.formula, WIDTH - 3)]
    lengths = [len(v) for _, v in step.vectors] or ([step.matrix.shape[1]] if step.matrix is not None else [])
    if lengths:
        columns = shown[lengths[0]]
        head = f"({len(columns)} of {lengths[0]})" if len(columns) < lengths[0] else ""
        lines.append(f"{head:<{NAME}}" + "".join(f"{k:>{CELL}}" for k in columns))
        lines += [f"{name:<{NAME}}" + _cells(v[columns]) for name, v in step.vectors]
        if step.matrix is not None:
            lines += [f"{f'dp_{j}':<{NAME}}" + _cells(step.matrix[j, columns]) for j in shown[step.matrix.shape[0]]]
    lines += [f"{name:<{NAME}}{' ' * (len(name) >= NAME)}{_number(x):>{CELL if len(name) < NAME else 0}}" for name, x in step.numbers]
    return "\n   ".join(lines + textwrap.wrap(step.note, WIDTH - 3))


def _cells(vector: Floats) -> str:
    return "".join(f"{_number(x):>{CELL}}" for x in vector.tolist())


def _number(x: float) -> str:
    if x == 0 or 1e-3 <= abs(x) < 1e4:
        return f"{x + 0:.4f}"
    return f"{x:.2e}" if 1e-99 < abs(x) < 1e99 else f"{x:.1e}"


def _plain(step: Step) -> dict[str, Any]:
    one = {"step": step.title, "formula": step.formula} | {name: v.tolist() for name, v in step.vectors} | dict(step.numbers)
    return one | ({} if step.matrix is None else {"matrix": step.matrix.tolist()}) | ({"note": step.note} if step.note else {})
