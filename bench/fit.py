"""Whole fits to the same relative gap, against scikit-learn's LogisticRegression; and the memory of one from bytes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from bench import gap, memory, peers
from bench.problems import Problem, load
from bench.row import MIB, Measure, Peak, Row, facts, faster
from bench.timing import Side, Sides, alternate

OURS, PEER, PEER64 = "softgrad", "scikit-learn", "scikit-learn float64"
LONG = 20.0  # seconds of a peer's fit beyond which it is timed once
ENOUGH = 12  # iterations of scikit-learn after which its memory grows no more: L-BFGS-B takes its workspace at the start


@dataclass(frozen=True)
class Case:
    """A problem, the gap to reach, the bar, and tol of the fit that finds f*, in float64 where the gap asks for it."""

    problem: str
    gap: float
    bar: float
    tol: float
    note: str = ""
    known: float | None = None  # objective on the full data

    def best(self, small: bool) -> gap.Best:
        """f* of the problem."""
        return gap.best(self.problem, small, self.tol, self.gap < 1e-5)


CIFAR10 = Case("cifar10", 1e-6, 20, 1e-7, "aim 40 x", 1.647719)
CASES = {
    "fit-cifar10": CIFAR10,
    "fit-fashion-mnist": Case("fashion_mnist", 1e-4, 8, 1e-6, "aim 15 x"),
    "fit-banking77": Case("banking77", 1e-4, 2, 1e-6),
    "fit-onet": Case("onet", 1e-4, 2, 1e-6),
}


def sides(problem: str, small: bool, raw: bool, iterations: dict[str, int]) -> Sides:
    """Fits of a problem with so many iterations: the sides that are named there."""
    return _sides(load(problem, small, raw), iterations)


def _sides(problem: Problem, iterations: dict[str, int]) -> Sides:
    def sklearn(X: Any, name: str) -> Side:
        return Side(lambda: peers.sklearn_fit(X, problem.y, problem.C, iterations[name]))

    found = {OURS: Side(lambda: gap.softgrad_fit(problem, iterations[OURS])), PEER: sklearn(problem.X, PEER)}
    if PEER64 in iterations:
        found[PEER64] = sklearn(problem.X.astype(np.float64), PEER64)
    return found


def runner(case: Case) -> Any:
    """The work of a case."""
    return lambda small: run(case, small)


def run(case: Case, small: bool) -> Iterator[Row]:
    """Time to the gap on both sides, then memory."""
    problem, best = load(case.problem, small), case.best(small)
    if best.bound > 0.1 * case.gap * best.value:
        raise AssertionError(f"f* of {case.problem} may be {best.bound:.1e} too high for a gap of {case.gap:g}; lower its tol")
    iterations, repeat, judged = _iterations(problem, best.value * (1 + case.gap))
    models: dict[str, Any] = {}
    times = alternate(_sides(problem, iterations), repeat, models.__setitem__, warm=False)
    told = {name: _quality(problem, models[name], best.value) | {"iterations": iterations[name]} for name in models}
    _check(case, told, (OURS, judged))
    peaks = _peaks(case, small, False, iterations)
    m = {name: Measure(name, times[name], peaks[name]) for name in iterations}
    work = f"fit {case.problem} {problem.X.shape[0]} x {problem.X.shape[1]}, C = {problem.C:.4g}, to a gap of {case.gap:g}"
    row = faster(work, m[OURS], m[judged], case.bar, _note(case, small, best, told))
    row.facts.update({"best": best.value, "bound": best.bound, "gradient_norm": best.gradient_norm, "quality": told})
    yield row
    if judged != PEER:
        note = f"in float32 scikit-learn ends by itself at a gap of {told[PEER]['gap']:.1e}; softgrad's time is that to {case.gap:g}"
        yield faster(f"fit {case.problem}, scikit-learn in float32", m[OURS], m[PEER], None, note)


def _iterations(problem: Problem, goal: float) -> tuple[dict[str, int], dict[str, int], str]:
    """Iterations and repetitions of each side; and the peer that gets to the goal: in float32, or, if that ends before, in float64."""
    ours, watched = gap.softgrad_iterations(problem, goal), {PEER: gap.sklearn_iterations(problem, problem.X, goal)}
    judged = PEER
    if not watched[PEER].reached:
        judged = PEER64
        watched[PEER64] = gap.sklearn_iterations(problem, problem.X.astype(np.float64), goal)
    if ours is None or not watched[judged].reached:
        who = OURS if ours is None else PEER
        raise AssertionError(f"{who} ended before the objective was {goal:.9g} on {problem.name}: no time to compare")
    repeat = {name: 1 if seen.seconds > LONG else 3 for name, seen in watched.items()}
    return {OURS: ours} | {name: seen.iterations for name, seen in watched.items()}, {OURS: 3} | repeat, judged


def _check(case: Case, told: dict[str, dict[str, float]], names: tuple[str, ...]) -> None:
    late = {name: told[name] for name in names if told[name]["gap"] > case.gap * (1 + 1e-3)}
    if late:
        raise AssertionError(f"a timed fit did not reach the gap {case.gap:g}: {late}")


def _quality(problem: Problem, model: Any, best: float) -> dict[str, float]:
    found = gap.value(problem, model.coef_, model.intercept_)
    return {"objective": found, "gap": found / best - 1, "test_accuracy": float(model.score(problem.X_test, problem.y_test))}


def _note(case: Case, small: bool, best: gap.Best, told: dict[str, dict[str, float]]) -> str:
    known = f" (known: {case.known})" if case.known is not None and not small else ""
    parts = [
        f"{name}: {q['iterations']} iterations, objective {q['objective']:.6f}, gap {q['gap']:.1e}, test accuracy {q['test_accuracy']:.4f}"
        for name, q in told.items()
    ]
    start = f"best objective {best.value:.7f}{known}, at most {best.bound:.0e} above the optimum, gradient {best.gradient_norm:.0e}"
    return "; ".join([*([case.note] if case.note else []), start, *parts])


def _peaks(case: Case, small: bool, raw: bool, iterations: dict[str, int]) -> dict[str, Peak]:
    few = {name: n if name == OURS else min(n, ENOUGH) for name, n in iterations.items()}
    sizes = {"problem": case.problem, "small": small, "raw": raw, "iterations": few}
    tiny = sizes | {"small": True, "iterations": dict.fromkeys(few, 1)}
    return {name: memory.peak(sides, sizes, tiny, name) for name in few}


def run_memory(small: bool) -> Iterator[Row]:
    """CIFAR-10 from its bytes: peak memory of the whole process, at most a third of scikit-learn's."""
    case = CIFAR10
    problem, best = load(case.problem, small, raw=True), case.best(small)
    needed = gap.softgrad_iterations(problem, best.value * (1 + case.gap))
    if needed is None:
        raise AssertionError("softgrad did not reach the gap from bytes")
    peaks = _peaks(case, small, True, {OURS: needed, PEER: ENOUGH})
    ours, peer = peaks[OURS], peaks[PEER]
    ratio = peer.highest / ours.highest
    note = f"peak of the process (rise over the loaded data); {needed} iterations to a gap of {case.gap:g}, scikit-learn's first {ENOUGH}"
    work = f"memory of a fit of cifar10 {problem.X.shape[0]} x {problem.X.shape[1]} uint8"
    found = facts(Measure(OURS, (), ours), Measure(PEER, (), peer))
    yield Row(work, _memory_cell(OURS, ours), _memory_cell(PEER, peer), ratio, "at least 3 x less", ratio >= 3, note, found)


def _memory_cell(name: str, peak: Peak) -> str:
    return f"{name}: {peak.highest / MIB:.0f} MiB (+{peak.extra / MIB:.0f})"
