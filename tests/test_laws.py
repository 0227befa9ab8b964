"""Laws that hold for every loss of the zoo, whatever the scores: drawn by hypothesis."""

import numpy as np
import pytest
import zoo
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import softgrad
from softgrad.losses import cross_entropy

EPS = np.finfo(np.float64).eps
law = settings(max_examples=60)


def grid(limit):
    """Scores in steps of 1/1024: sums and differences of them are exact, so that laws hold to the rounding of exp and log alone."""
    return st.integers(-1024 * limit, 1024 * limit).map(lambda k: k / 1024)


@st.composite
def problems(draw, limit=40, names=tuple(zoo.OPTIONS)):
    """A loss by name, scores (N, C), targets of either kind, row weights."""
    name, kind = draw(st.sampled_from(names)), draw(st.sampled_from(zoo.KINDS))
    N, C = draw(st.integers(1, 6)), draw(st.integers(1, 6))
    z = draw(hnp.arrays(np.float64, (N, C), elements=grid(limit)))
    r = draw(hnp.arrays(np.float64, N, elements=st.integers(0, 4)))
    if kind == "labels":
        y = draw(hnp.arrays(np.int64, N, elements=st.integers(0, C - 1)))
        ignore = zoo.OPTIONS[name].get("ignore_index")
        if ignore is not None and draw(st.booleans()):
            y[0] = ignore
    else:
        q = draw(hnp.arrays(np.float64, (N, C), elements=st.integers(0, 5))) + 1e-3
        y = q / q.sum(axis=1, keepdims=True)
    return name, zoo.loss(name, C), z, y, r


def close(a, b, size):
    return np.allclose(a, b, rtol=0, atol=64 * EPS * (1 + size))


def sizes(z):
    """Losses and gradients of the zoo are at most about the spread of the scores times weights and 1 / T, which are below 8."""
    return 8 * (1 + np.ptp(z, axis=1).max())


@law
@given(problems(), st.integers(-(10**6), 10**6))
def test_a_shift_of_the_scores_changes_nothing(problem, shift):
    _, loss, z, y, r = problem
    value, g = loss.value_and_grad(z, y, sample_weight=r)
    moved, same_g = loss.value_and_grad(z + shift, y, sample_weight=r)
    assert close(moved, value, sizes(z))
    assert close(same_g, g, 8)


@law
@given(problems(), st.randoms(use_true_random=False))
def test_the_order_of_the_classes_does_not_matter(problem, random):
    name, _, z, y, r = problem
    C = z.shape[1]
    order = np.array(random.sample(range(C), C))  # new class k is the old class order[k]
    place = np.argsort(order)
    options, moved = dict(zoo.OPTIONS[name]), dict(zoo.OPTIONS[name])
    if "class_weight" in options:
        options["class_weight"], moved["class_weight"] = zoo.class_weights(C), zoo.class_weights(C)[order]
    if options.get("ignore_index", -1) >= 0:
        moved["ignore_index"] = int(place[options["ignore_index"]])
    other = y[:, order] if y.ndim == 2 else np.where(y >= 0, place[np.maximum(y, 0)], y)
    value, g = cross_entropy(**options).value_and_grad(z, y, sample_weight=r, reduction="sum")
    same, turned = cross_entropy(**moved).value_and_grad(z[:, order], other, sample_weight=r, reduction="sum")
    assert close(same, value, r.sum() * sizes(z))
    assert close(turned, g[:, order], 4 * 8)


@law
@given(problems())
def test_a_weight_of_k_is_k_copies_and_none_is_removed(problem):
    _, loss, z, y, r = problem
    copies = r.astype(int)
    for reduction in ("sum", "mean"):
        weighted, g = loss.value_and_grad(z, y, sample_weight=r, reduction=reduction)
        repeated, each = loss.value_and_grad(z.repeat(copies, axis=0), y.repeat(copies, axis=0), reduction=reduction)
        assert close(weighted, repeated, r.sum() * sizes(z))
        first = np.cumsum(copies) - copies
        for i in np.flatnonzero(copies):
            assert close(g[i], copies[i] * each[first[i]], 4 * 8)
        assert not g[copies == 0].any()


@law
@given(problems(), st.sampled_from([2.0**-30, 0.25, 8.0]))
def test_the_mean_does_not_know_the_unit_of_the_weights(problem, unit):
    _, loss, z, y, r = problem
    value, g = loss.value_and_grad(z, y, sample_weight=r)
    same, same_g = loss.value_and_grad(z, y, sample_weight=unit * r)
    assert close(same, value, sizes(z))
    assert close(same_g, g, 8)


@law
@given(problems(), st.integers(0, 6))
def test_a_split_of_the_rows_gives_the_same_rows(problem, cut):
    """To the bit: a row's loss and gradient do not depend on its neighbours."""
    _, loss, z, y, r = problem
    whole, g = loss.value_and_grad(z, y, sample_weight=r, reduction="none")
    parts = [loss.value_and_grad(z[k], y[k], sample_weight=r[k], reduction="none") for k in (slice(cut), slice(cut, None))]
    assert np.array_equal(np.concatenate([value for value, _ in parts]), whole)
    assert np.array_equal(np.concatenate([rows for _, rows in parts]), g)
    sums = [loss(z[k], y[k], sample_weight=r[k], reduction="sum") for k in (slice(cut), slice(cut, None))]
    assert close(sum(sums), loss(z, y, sample_weight=r, reduction="sum"), r.sum() * sizes(z))


@law
@given(problems())
def test_gradient_rows_sum_to_zero(problem):
    """To zero, not to -1: the probabilities of all classes and the targets of all classes sum to the same."""
    name, loss, z, y, r = problem
    _, g = loss.value_and_grad(z, y, sample_weight=r, reduction="none")
    one_term = y.ndim == 1 and "label_smoothing" not in zoo.OPTIONS[name]
    size = np.abs(g).sum(axis=1) if one_term else 8 * r  # else entries are differences of terms below weight / T
    assert (np.abs(g.sum(axis=1)) <= 16 * EPS * size).all()


@law
@given(problems(names=("plain",)))
def test_every_wrong_class_has_a_gradient_of_its_probability(problem):
    _, loss, z, y, _ = problem
    if y.ndim == 1:
        _, g = loss.value_and_grad(z, y, reduction="none")
        wrong = np.arange(z.shape[1]) != y[:, None]
        assert np.allclose(g[wrong], softgrad.softmax(z)[wrong], rtol=16 * EPS, atol=0)
        assert (g[wrong] > 0).all()


@law
@given(problems(), st.sampled_from([0.125, 0.5, 2.0, 64.0]))
def test_temperature_t_on_scores_times_t_is_plain(problem, T):
    """Powers of two, so that T z is exact."""
    name, _, z, y, r = problem
    options = {key: value for key, value in zoo.OPTIONS[name].items() if key != "temperature"}
    if "class_weight" in options:
        options["class_weight"] = zoo.class_weights(z.shape[1])
    value, g = cross_entropy(**options).value_and_grad(z, y, sample_weight=r)
    same, divided = cross_entropy(temperature=T, **options).value_and_grad(T * z, y, sample_weight=r)
    assert close(same, value, sizes(z))
    assert close(T * divided, g, 8)


@law
@given(st.data())
def test_extreme_scores_give_finite_results(data):
    """Up to 1e306, where a sum of six losses times weights is still a number; nothing overflows on the way."""
    name = data.draw(st.sampled_from(list(zoo.OPTIONS)))
    N, C = data.draw(st.integers(1, 4)), data.draw(st.integers(1, 5))
    extreme = st.floats(-1e306, 1e306)
    z = data.draw(hnp.arrays(np.float64, (N, C), elements=extreme))
    y = data.draw(hnp.arrays(np.int64, N, elements=st.integers(0, C - 1)))
    value, g = zoo.loss(name, C).value_and_grad(z, y)
    assert np.isfinite(value)
    assert value >= 0
    assert np.isfinite(g).all()
    p = softgrad.softmax(z)
    assert np.allclose(p.sum(axis=1), 1, rtol=8 * EPS, atol=0)
    assert np.isfinite(softgrad.log_softmax(z)).all()
    assert np.isfinite(softgrad.logsumexp(z)).all()


@law
@given(
    hnp.arrays(np.float64, hnp.array_shapes(min_dims=2, max_dims=3, max_side=5), elements=grid(600)),
    st.integers(-(10**6), 10**6),
)
def test_softmax_functions_tell_the_same_story(z, shift):
    """exp of log_softmax is softmax; logsumexp is what is taken off the scores; shifts move only logsumexp."""
    p, log_p, lse = softgrad.softmax(z), softgrad.log_softmax(z), softgrad.logsumexp(z)
    assert np.allclose(np.exp(log_p), p, rtol=EPS * (8 + np.ptp(z)), atol=0)
    assert np.allclose(z - lse[..., None], log_p, rtol=0, atol=8 * EPS * (1 + np.abs(z).max()))
    assert np.array_equal(softgrad.softmax(z + shift), p)
    assert np.array_equal(softgrad.log_softmax(z + shift), log_p)


@pytest.mark.parametrize("name", zoo.OPTIONS)
def test_many_small_batches_add_up_to_one(name):
    """Sums over batches of any size are the sum over all rows: what gradient accumulation relies on."""
    rng = np.random.default_rng(41)
    z, y, r = rng.normal(size=(64, 5)), rng.integers(5, size=64), rng.uniform(0, 2, 64)
    loss, cuts = zoo.loss(name, 5), [slice(0, 1), slice(1, 14), slice(14, 46), slice(46, 64)]
    value, g = loss.value_and_grad(z, y, sample_weight=r, reduction="sum")
    parts = [loss.value_and_grad(z[k], y[k], sample_weight=r[k], reduction="sum") for k in cuts]
    assert sum(part[0] for part in parts) == pytest.approx(value, rel=1e-14)
    assert np.array_equal(np.concatenate([part[1] for part in parts]), g)
