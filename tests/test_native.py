"""The C++ kernels against the formula itself: in many digits for the rows, float64 for the heads.

Tolerances are counted in eps of the working type. A gradient entry is step * (p (A - a) - a (1 - p)); where both terms are
present (smoothing, distributions) the error is measured against their sum, since their difference may vanish; for a plain
label one of them is 0 and the measure is the entry itself.
"""

from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction
from itertools import pairwise

import mpmath
import numpy as np
import pytest

native = pytest.importorskip("softgrad._native", reason="softgrad was built without its C++ kernels")

DTYPES = [np.float32, np.float64]
FARTHEST = {np.float32: 85.0, np.float64: 700.0}
CLASSES = [1, 2, 3, 7, 10, 17, 33, 100, 1000]


def supported_sets():
    first, found = native.isa(), []
    for isa in native.compiled():
        try:
            native.use(isa)
        except ValueError:
            continue
        found.append(isa)
    native.use(first)
    return found


@pytest.fixture(params=supported_sets())
def isa(request):
    before = native.isa()
    native.use(request.param)
    yield request.param
    native.use(before)


def formula(C, class_weight, temperature, smoothing):
    """Cross-entropy with its options, as the kernels take a loss."""
    w = np.ones(C) if class_weight is None else class_weight
    slope = Fraction(1) / Fraction(temperature)
    plain = class_weight is None and smoothing == 0
    return native.Formula(None if plain else w * (1 - smoothing), w * (smoothing / C) if smoothing else None, None, float(slope),
                          float(slope - Fraction(float(slope))), 0.0, "Identity", [])


def score_rows(scores, *, labels=None, targets=None, class_weight=None, row_weight=None, temperature=1.0, smoothing=0.0,
               scale=1.0, out="fresh"):
    """The kernel with the defaults of a plain cross-entropy; gives (first bad row, losses, gradient)."""
    losses = np.full(len(scores), 7.0)
    gradient = np.full_like(scores, 7.0) if isinstance(out, str) else out
    asked = formula(scores.shape[1], class_weight, temperature, smoothing)
    bad = native.score_rows(scores, gradient, asked, labels, targets, row_weight, None, scale, losses, None)
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


def linear_truth(X, coef, intercept, labels, *, targets=None, class_weight=None, row_weight=None, temperature=1.0,
                 smoothing=0.0, scale=1.0):
    """The head in float64, with the size of every sum: (losses, sizes) and (grad_coef, grad_intercept, grad_X) each."""
    X, coef, C = X.astype(np.float64), coef.astype(np.float64), len(coef)
    r = np.ones(len(X)) if row_weight is None else row_weight.copy()
    if labels is not None:
        r[labels < 0] = 0
    X = np.where(r[:, None] == 0, 0, X)
    q = np.eye(C)[labels] if targets is None else targets.astype(np.float64)
    a = (np.ones(C) if class_weight is None else class_weight) * ((1 - smoothing) * q + smoothing / C)
    z = (X @ coef.T + intercept) / temperature
    reach = (np.abs(X) @ np.abs(coef).T + np.abs(intercept)).max(axis=1, keepdims=True) / temperature
    e = np.exp(z - z.max(axis=1, keepdims=True))
    p = e / e.sum(axis=1, keepdims=True)
    lse = np.log(e.sum(axis=1, keepdims=True)) + z.max(axis=1, keepdims=True)
    losses = r * (a * (lse - z)).sum(axis=1)
    g = (r * scale / temperature)[:, None] * (p * a.sum(axis=1, keepdims=True) - a)
    big = (abs(r) * scale / temperature)[:, None] * (p * a.sum(axis=1, keepdims=True) + a) * (1 + reach)
    loss_size = r * a.sum(axis=1) * (1 + reach[:, 0]) + losses
    return losses, loss_size, (g.T @ X, g.sum(axis=0), g @ coef), (big.T @ np.abs(X), big.sum(axis=0), big @ np.abs(coef))


STORED = {"float32": np.float32, "float64": np.float64, "float16": np.float16, "uint8": np.uint8, "bfloat16": np.uint16}


def stored_rows(kind, n, D, rng):
    """X as it is stored, and the numbers it means."""
    if kind == "uint8":
        return (X := rng.integers(256, size=(n, D), dtype=np.uint8)), X.astype(np.float32)
    X = rng.normal(size=(n, D)).astype(np.float32)
    if kind == "bfloat16":
        bits = (X.view(np.uint32) >> 16).astype(np.uint16)
        return bits, (bits.astype(np.uint32) << 16).view(np.float32)
    X = X.astype(STORED[kind])
    return X, X.astype(np.float64)


def head_rows(X, coef, intercept, labels, *, targets=None, class_weight=None, row_weight=None, temperature=1.0, smoothing=0.0,
              scale=1.0, want_X=True):
    losses, grad_intercept = np.full(len(X), 7.0), np.full(len(coef), 7.0)
    grad_coef, grad_X = np.full_like(coef, 7), np.full(X.shape, 7, dtype=coef.dtype) if want_X else None
    asked = formula(len(coef), class_weight, temperature, smoothing)
    bad = native.head_rows(X, coef, intercept, asked, labels, targets, row_weight, None, scale, losses, grad_coef, grad_intercept, grad_X)
    return bad, losses, (grad_coef, grad_intercept, grad_X)


def assert_head(found, truth, X, eps):
    """Rounding of the scores and of the sums over D and over rows: random walks of sqrt(D) and sqrt(n) steps."""
    bad, losses, gradients = found
    true_losses, loss_size, true_gradients, sizes = truth
    assert bad == -1
    tolerance = 8 * eps * (2 + np.sqrt(max(X.shape)) / 4)
    assert (np.abs(losses - true_losses) <= tolerance * loss_size + 1e-300).all()
    for value, exact, size in zip(gradients, true_gradients, sizes, strict=True):
        if value is not None:
            assert (np.abs(value - exact) <= tolerance * size + 1e-300).all()


@pytest.mark.parametrize("D", [1, 3, 17, 64, 100, 3072])
@pytest.mark.parametrize("C", [1, 2, 7, 10, 33])
@pytest.mark.parametrize("kind", STORED)
def test_head_agrees_with_float64(isa, kind, C, D):
    rng = np.random.default_rng([C, D])
    for n in (1, 2, 15, 16, 37) if D < 3000 else (17,):
        X, numbers = stored_rows(kind, n, D, rng)
        T = np.float64 if kind == "float64" else np.float32
        coef = (rng.normal(size=(C, D)) / np.sqrt(D) / (100 if kind == "uint8" else 1)).astype(T)
        intercept = rng.normal(size=C).astype(T)
        labels = rng.integers(-1 if n > 2 else 0, C, size=n)
        weights = {"class_weight": rng.uniform(0.5, 2, C), "row_weight": rng.integers(0, 3, n).astype(float)}
        for extra in ({}, {"temperature": 1.7, "scale": 0.3}, {"smoothing": 0.1, **weights}):
            found = head_rows(X, coef, intercept, labels, **extra)
            assert_head(found, linear_truth(numbers, coef, intercept, labels, **extra), X, np.finfo(T).eps)


def test_head_takes_distributions_and_read_only_rows_and_repeats_its_bits(isa):
    rng = np.random.default_rng(5)
    X = rng.normal(size=(45, 777)).astype(np.float32)
    X.flags.writeable = False
    for C in (4, 40):
        coef, intercept = rng.normal(size=(C, 777)).astype(np.float32), np.zeros(C, np.float32)
        q = rng.dirichlet(np.ones(C), size=45).astype(np.float32)
        found, again = (head_rows(X, coef, intercept, None, targets=q) for _ in range(2))
        assert_head(found, linear_truth(X, coef, intercept, None, targets=q), X, np.finfo(np.float32).eps)
        assert np.array_equal(found[1], again[1])
        assert all(np.array_equal(a, b) for a, b in zip(found[2], again[2], strict=True))


def test_head_keeps_the_gradient_of_confident_rows(isa):
    """One exact feature per class: a margin of 60 gives a gradient near 1e-26, to a few eps; p - 1 would be 0."""
    X, coef = np.eye(4, dtype=np.float32), 60 * np.eye(4, dtype=np.float32)
    labels = np.arange(4)
    for kind in (np.float32, np.float16, np.uint8):
        _, losses, (grad_coef, _, _) = head_rows(X.astype(kind), coef, np.zeros(4, np.float32), labels)
        assert np.allclose(losses, 3 * np.exp(-60.0), rtol=1e-6, atol=0)
        assert np.allclose(grad_coef, np.exp(-60.0) * (1 - 4 * np.eye(4)), rtol=1e-6, atol=0)


def test_half_numbers_of_every_kind(isa):
    """All 65536 bit patterns: infinities and NaN name their row, all others act as the number they are."""
    patterns = np.arange(65536, dtype=np.uint16).view(np.float16)
    coef, intercept = np.array([[1.0], [0.0]], dtype=np.float32), np.zeros(2, np.float32)
    finite = np.isfinite(patterns)
    X = patterns[finite][:, None]
    bad, losses, _ = head_rows(X, coef, intercept, np.ones(len(X), dtype=np.int64))
    assert bad == -1
    assert np.allclose(losses, np.logaddexp(0, X[:, 0].astype(float)), rtol=1e-6, atol=1e-38)
    for value in patterns[~finite][::97]:
        if value != -np.inf:
            assert head_rows(np.full((3, 1), value), coef, intercept, np.zeros(3, dtype=np.int64))[0] == 0


def test_head_names_the_bad_row_and_skips_those_that_do_not_count(isa):
    X = np.ones((60, 9), dtype=np.float32)
    labels = np.zeros(60, dtype=np.int64)
    X[7], labels[7], X[33, 4] = np.nan, -1, np.nan
    coef, intercept = np.ones((3, 9), np.float32), np.zeros(3, np.float32)
    assert head_rows(X, coef, intercept, labels)[0] == 33
    labels[33] = -5
    bad, losses, (_, _, grad_X) = head_rows(X, coef, intercept, labels)
    assert bad == -1
    assert losses[7] == losses[33] == 0
    assert (grad_X[[7, 33]] == 0).all()


@pytest.mark.parametrize("C", [1, 2, 10, 31, 77, 1016])
@pytest.mark.parametrize("dtype", DTYPES)
def test_sparse_head_agrees_with_float64(isa, dtype, C):
    rng = np.random.default_rng(C)
    n, D = 41, 300
    dense = np.where(rng.uniform(size=(n, D)) < 0.05, rng.normal(size=(n, D)), 0).astype(dtype)
    dense[4] = 0
    counts = (dense != 0).sum(axis=1)
    indices, data = np.nonzero(dense)[1].astype(np.int32), dense[dense != 0]
    coef, intercept = rng.normal(size=(C, D)).astype(dtype), rng.normal(size=C).astype(dtype)
    labels, weight = rng.integers(-1, C, size=n), rng.uniform(0, 2, n)
    indptr = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    for temperature, smoothing in ((1.0, 0.0), (1.4, 0.1)):
        losses, grad_t, grad_intercept = np.full(n, 7.0), np.ones((D, C), dtype), np.full(C, 7.0)
        bad = native.csr_rows(indptr, indices, data, np.ascontiguousarray(coef.T), intercept, formula(C, None, temperature, smoothing),
                              labels, None, weight, None, 0.5, losses, grad_t, grad_intercept)
        truth = linear_truth(dense, coef, intercept, labels, row_weight=weight, temperature=temperature, smoothing=smoothing,
                             scale=0.5)
        grown = (truth[2][0] + 1, truth[2][1], None), (truth[3][0] + 1, truth[3][1], None)
        assert_head((bad, losses, (grad_t.T, grad_intercept, None)), (truth[0], truth[1], *grown), dense, np.finfo(dtype).eps)


def test_an_instruction_set_that_is_not_there_is_refused():
    with pytest.raises(ValueError, match="not compiled"):
        native.use("abacus")
    assert native.isa() in native.compiled()
