"""The C++ kernels against the formula itself: in many digits for the rows, float64 for the heads.

Tolerances are counted in eps of the working type. A gradient entry is step * (p (A - a) - a (1 - p)); where both terms are
present (smoothing, distributions) the error is measured against their sum, since their difference may vanish; for a plain
label one of them is 0 and the measure is the entry itself.
"""

from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

import mpmath
import numpy as np
import pytest
from compiled import DTYPES, each_isa, formula, native

isa = each_isa
FARTHEST = {np.float32: 85.0, np.float64: 700.0}
CLASSES = [1, 2, 3, 7, 10, 17, 33, 100, 1000]


def score_rows(scores, *, labels=None, targets=None, class_weight=None, row_weight=None, temperature=1.0, smoothing=0.0,
               scale=1.0, out="fresh"):
    """The kernel with the defaults of a plain cross-entropy; gives (first bad row, losses, gradient)."""
    losses = np.full(len(scores), 7.0)
    gradient = np.full_like(scores, 7.0) if isinstance(out, str) else out
    asked = formula(scores.shape[1], class_weight, temperature, smoothing)
    bad = native.score_rows(scores, gradient, asked, labels, targets, row_weight, None, scale, losses, 1)
    return bad, losses, gradient


def exact_row(z, q, w, r, temperature, smoothing):
    """Loss, gradient and the size of the gradient's terms of one row; q is the full distribution.

    The plain formula in so many digits that 1 - p keeps 50 of them at the farthest margin.
    """
    with mpmath.workdps(50 + int(0.6 * FARTHEST[z.dtype.type])):
        T, smoothing, r = mpmath.mpf(float(temperature)), mpmath.mpf(float(smoothing)), mpmath.mpf(float(r))
        top = max(map(float, z))
        e = [mpmath.exp((mpmath.mpf(float(v)) - mpmath.mpf(top)) / T) if v > -np.inf else mpmath.mpf(0) for v in z]
        total = mpmath.fsum(e)
        a = [mpmath.mpf(float(wj)) * ((1 - smoothing) * mpmath.mpf(float(qj)) + smoothing / len(z)) for wj, qj in zip(w, q, strict=True)]
        A = mpmath.fsum(a)
        loss = mpmath.mpf(0)
        for aj, v in zip(a, z, strict=True):
            if aj > 0:
                loss += aj * (mpmath.log(total) + (mpmath.mpf(top) - mpmath.mpf(float(v))) / T) if v > -np.inf else mpmath.inf
        step = r / T
        pull = [ej / total * (A - aj) for ej, aj in zip(e, a, strict=True)]
        push = [aj * (total - ej) / total for ej, aj in zip(e, a, strict=True)]
        gradient = [step * (x - y) for x, y in zip(pull, push, strict=True)]
        size = [abs(step) * (x + y) for x, y in zip(pull, push, strict=True)]
        return r * loss, gradient, size


def worst(values, truth, size, tiny):
    """The largest error in units of size (0 where both are below the smallest normal number)."""
    error = 0.0
    for value, exact, unit in zip(values, truth, size, strict=True):
        if exact == mpmath.inf or not np.isfinite(value):
            if value != exact:
                return np.inf
            continue
        gap = abs(mpmath.mpf(float(value)) - exact)
        if gap > 2 * tiny:
            error = max(error, float(gap / unit))
    return error


def zoo(dtype, C, rng):
    """Rows of C scores, by name."""
    far = FARTHEST[dtype]
    rows = {"normal": rng.normal(size=C), "wide": far / 3 * rng.normal(size=C), "equal": np.zeros(C),
            "equal, not round": np.full(C, -1234.567)}
    for margin in (0.1, 3.3, 17.7, 40.3, 0.73 * far, far):
        z = np.where(np.arange(C) == rng.integers(C), 0, -rng.uniform(0.8, 1.0, size=C) * margin)
        rows[f"margin {margin:.1f}"] = z
        rows[f"margin {margin:.1f}, moved"] = z + rng.normal() * 10
        rows[f"margin {margin:.1f}, far away"] = z + 1e6
    if C > 1:
        tie = rng.normal(size=C)
        tie[:2] = tie.max() + 2.2
        near = tie.copy()
        near[0] = np.nextafter(dtype(near[1]), dtype(-9))
        hole = np.where(np.arange(C) == rng.integers(C), -np.inf, 3 * rng.normal(size=C))
        only = np.where(np.arange(C) == C - 1, 3.7, -np.inf)
        rows |= {"tie": tie, "nearly a tie": near, "impossible": hole, "one possible": only}
        rows["huge"] = np.where(np.arange(C) == 1, 3e38, -3e38)
        rows["masked"] = np.where(np.arange(C) % 2, float(np.finfo(np.float32).min), rng.normal(size=C))
    return {name: np.asarray(z, dtype=dtype) for name, z in rows.items()}


def targets_for(kind, scores, rng, dtype):
    """Labels or a distribution for each row, as (labels, targets, full distributions in float64)."""
    n, C = scores.shape
    if kind == "distribution":
        q = rng.dirichlet(np.full(C, 0.3), size=n).astype(dtype)
        q[rng.uniform(size=q.shape) < 0.2] = 0
        q[::3] = 1e-20
        q[np.arange(0, n, 3), rng.integers(C, size=len(q[::3]))] = 1
        q[np.isneginf(scores)] = 0
        return None, q, q.astype(np.float64)
    labels = rng.integers(C, size=n)
    labels[::2] = np.argmax(scores[::2], axis=1)
    return labels, None, np.eye(C)[labels]


CASES = {  # name: (targets, temperature, smoothing, weighted)
    "plain": ("label", 1.0, 0.0, False), "cold": ("label", 0.5, 0.0, False), "warm": ("label", 2.7, 0.0, True),
    "weighted": ("label", 1.0, 0.0, True), "smooth": ("label", 1.0, 0.1, False), "all at once": ("label", 2.7, 0.1, True),
    "distribution": ("distribution", 1.0, 0.0, False), "distribution, all": ("distribution", 0.7, 0.1, True),
}
TRUTH = {}


def problem(dtype, C, case):
    """Scores, arguments and truth; the truth is computed once for all instruction sets."""
    key = dtype, C, case
    if key not in TRUTH:
        kind, temperature, smoothing, weighted = CASES[case]
        rng = np.random.default_rng([C, len(case), dtype().itemsize])
        rows = zoo(dtype, C, rng)
        if C >= 100:
            rows = dict(list(rows.items())[len(case) % 3 :: 3 if C == 100 else 6])
        if temperature < 1:
            rows = {name: z for name, z in rows.items() if "margin" not in name} | {
                name: z * dtype(temperature) for name, z in rows.items() if "margin" in name and "away" not in name}
        scores = np.stack(list(rows.values()))
        labels, targets, q = targets_for(kind, scores, rng, dtype)
        w = rng.uniform(0.1, 3, size=C) if weighted else np.ones(C)
        r = rng.uniform(0.1, 3, size=len(scores)) if weighted else np.ones(len(scores))
        truth = [exact_row(z, q[i], w, r[i], temperature, smoothing) for i, z in enumerate(scores)]
        arguments = {"labels": labels, "targets": targets, "temperature": temperature, "smoothing": smoothing,
                     "class_weight": w if weighted else None, "row_weight": r if weighted else None}
        TRUTH[key] = list(rows), scores, arguments, truth
    return TRUTH[key]


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("C", CLASSES)
@pytest.mark.parametrize("dtype", DTYPES)
def test_rows_agree_with_the_formula_in_many_digits(isa, dtype, C, case):
    names, scores, arguments, truth = problem(dtype, C, case)
    bad, losses, gradient = score_rows(scores, **arguments)
    assert bad == -1
    eps, tiny = np.finfo(dtype).eps, float(np.finfo(dtype).tiny)
    for i, (loss, exact, size) in enumerate(truth):
        if float(abs(loss)) > 1e308:
            loss = mpmath.inf
        assert worst([losses[i]], [loss], [abs(loss)], tiny) <= 16 * eps, (names[i], losses[i], loss)
        assert worst(gradient[i], exact, size, tiny) <= 16 * eps, (names[i], gradient[i], exact)


@pytest.mark.parametrize("T", [1.0, 0.3, 2.5])
@pytest.mark.parametrize("C", [3, 10, 40])
@pytest.mark.parametrize("dtype", DTYPES)
def test_digits_are_kept_however_far_from_zero_a_row_lies(isa, dtype, C, T):
    """Terms are made relative to the multiple of ln 2 next to the maximum, and, from 256 (2048) on, after it is taken off (`Level`)."""
    rng, eps, tiny = np.random.default_rng(C), np.finfo(dtype).eps, float(np.finfo(dtype).tiny)
    borders = [0.3465, 0.3466, 80, 255.9, 256, 256.1, 344, 1000, 2047.9, 2048, 2049, 2757, 1e5, 3e6, 1e9]
    tops = np.array([sign * border for border in borders for sign in (-1, 1)])
    z = tops[:, None] - rng.uniform(0, 0.97 * FARTHEST[dtype] * min(T, 1), (len(tops), C)) ** rng.uniform(0.3, 1, (len(tops), C))
    z[np.arange(len(tops)), rng.integers(C, size=len(tops))] = tops
    z = z.astype(dtype)
    labels = z.argmax(axis=1)
    bad, losses, gradient = score_rows(z, labels=labels, temperature=T)
    assert bad == -1
    for i, row in enumerate(z):
        loss, exact, size = exact_row(row, np.eye(C)[labels[i]], np.ones(C), 1, T, 0)
        assert worst([losses[i]], [loss], [abs(loss)], tiny) <= 16 * eps, tops[i]
        assert worst(gradient[i], exact, size, tiny) <= 16 * eps, tops[i]


@pytest.mark.parametrize("C", CLASSES)
@pytest.mark.parametrize("dtype", DTYPES)
def test_in_place_and_values_only_change_no_bit(isa, dtype, C):
    for case in CASES:
        _, scores, arguments, _ = problem(dtype, C, case)
        _, losses, gradient = score_rows(scores, **arguments)
        place = scores.copy()
        _, same_losses, _ = score_rows(place, **arguments, out=place)
        assert np.array_equal(place, gradient)
        assert np.array_equal(losses, same_losses)
        assert np.array_equal(losses, score_rows(scores, **arguments, out=None)[1])
        assert np.array_equal(gradient, score_rows(scores, **arguments)[2])


@pytest.mark.parametrize("C", [1, 3, 10, 32, 33, 257])
@pytest.mark.parametrize("dtype", DTYPES)
def test_a_split_of_the_rows_over_threads_changes_no_bit(isa, dtype, C):
    rng = np.random.default_rng(C)
    scores = (5 * rng.normal(size=(523, C))).astype(dtype)
    labels = rng.integers(-1, C, size=523)
    _, losses, gradient = score_rows(scores, labels=labels, smoothing=0.1, temperature=1.3)
    cuts = [0, 1, 100, 133, 300, 523]
    slices = [slice(a, b) for a, b in pairwise(cuts)]
    with ThreadPoolExecutor(2) as pool:
        parts = list(pool.map(lambda s: score_rows(scores[s], labels=labels[s], smoothing=0.1, temperature=1.3), slices))
    assert np.array_equal(losses, np.concatenate([part[1] for part in parts]))
    assert np.array_equal(gradient, np.concatenate([part[2] for part in parts]))


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("C", [1, 3, 10, 32, 40])
@pytest.mark.parametrize("dtype", DTYPES)
def test_a_row_has_the_same_bits_alone_and_among_others(isa, dtype, C, weighted):
    rng = np.random.default_rng(C)
    scores, labels = (5 * rng.normal(size=(72, C))).astype(dtype), rng.integers(C, size=72)
    weight = rng.uniform(1, 2, size=72) if weighted else None
    _, losses, gradient = score_rows(scores, labels=labels, row_weight=weight)
    for i in range(72):
        row = slice(i, i + 1)
        _, loss, g = score_rows(scores[row], labels=labels[row], row_weight=None if weight is None else weight[row])
        assert loss[0] == losses[i]
        assert np.array_equal(g[0], gradient[i])


@pytest.mark.parametrize("C", [1, 5, 32, 40, 1000])
@pytest.mark.parametrize("dtype", DTYPES)
def test_rows_that_do_not_count_are_not_read(isa, dtype, C):
    rng = np.random.default_rng(0)
    scores = rng.normal(size=(50, C)).astype(dtype)
    labels = rng.integers(C, size=50)
    weight = rng.uniform(1, 2, size=50)
    out_by_label, out_by_weight = np.arange(50) % 3 == 0, np.arange(50) % 5 == 0
    labels[out_by_label], weight[out_by_weight] = -1, 0
    scores[~(counted := ~(out_by_label | out_by_weight))] = np.nan
    bad, losses, gradient = score_rows(scores, labels=labels, row_weight=weight)
    assert bad == -1
    assert (losses[~counted] == 0).all()
    assert (gradient[~counted] == 0).all()
    _, some_losses, some_gradient = score_rows(scores[counted], labels=labels[counted], row_weight=weight[counted])
    assert np.array_equal(losses[counted], some_losses)
    assert np.array_equal(gradient[counted], some_gradient)


@pytest.mark.parametrize("poison", [np.nan, np.inf, "nothing"])
@pytest.mark.parametrize("C", [1, 10, 32, 33, 500])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_the_first_row_without_a_softmax_is_named(isa, dtype, C, poison, smoothing):
    for place in range(0, C, max(1, C // 7)):
        scores = np.random.default_rng(1).normal(size=(40, C)).astype(dtype)
        labels = np.zeros(40, dtype=np.int64)
        labels[3] = -1
        for row in (3, 21, 22, 39):
            if poison == "nothing":
                scores[row] = -np.inf
            else:
                scores[row, place] = poison
        assert score_rows(scores, labels=labels, smoothing=smoothing)[0] == 21
        assert score_rows(scores, labels=labels, smoothing=smoothing, out=None)[0] == 21


@pytest.mark.parametrize("C", [3, 50])
def test_an_impossible_label_costs_infinitely_much_but_its_gradient_is_finite(isa, C):
    scores = np.where(np.arange(C) == 1, -np.inf, np.zeros((2, C))).astype(np.float32)
    _, losses, gradient = score_rows(scores, labels=np.array([1, 0]))
    assert losses[0] == np.inf
    assert gradient[0, 1] == -1
    assert gradient[1, 1] == 0
    assert np.isfinite(gradient).all()


def test_an_instruction_set_that_is_not_there_is_refused():
    with pytest.raises(ValueError, match="not compiled"):
        native.use("abacus")
    assert native.isa() in native.compiled()
