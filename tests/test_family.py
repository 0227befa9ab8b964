"""Laws that every loss of the family obeys: derivatives, weights, rows that do not count, batches, shifts, orders, convexity, kernels."""

import json
from dataclasses import replace

import numpy as np
import pytest
import zoo
from family import CASES, MEMBERS

import softgrad
from softgrad import losses, threads
from softgrad.blocks.block import Block
from softgrad.kernels.cosine import CosineHead
from softgrad.kernels.reference import Reference
from softgrad.kernels.tiled import Tiled
from softgrad.losses.composed import ONE, SEVERAL
from softgrad.losses.described import build, describe, known
from softgrad.losses.loss import schedule_for

each = pytest.mark.parametrize("name", MEMBERS)
each_case = pytest.mark.parametrize(("name", "kind"), CASES)
each_case_by_row = pytest.mark.parametrize(("name", "kind"), [case for case in CASES if MEMBERS[case[0]].by_row])


@pytest.mark.parametrize(("name", "kind"), [case for case in CASES if MEMBERS[case[0]].smooth])
def test_gradient_and_hessian_product_by_finite_differences(name, kind):
    member = MEMBERS[name]
    loss, (z, y, r, v) = member.make(), member.rows(kind)
    value, g = loss.value_and_grad(z, y, sample_weight=r)
    assert loss(z, y, sample_weight=r) == value
    assert np.allclose(g, zoo.gradient(lambda x: loss(x, y, sample_weight=r), z), rtol=0, atol=5e-11 * max(1, np.abs(g).max()))
    numeric = zoo.slope(lambda x: loss.value_and_grad(x, y, sample_weight=r)[1], z, v)
    Hv = loss.hessian_product(z, y, v, sample_weight=r)
    assert np.allclose(Hv, numeric, rtol=0, atol=5e-10 * max(1, np.abs(Hv).max()))


@each
def test_hessian_is_symmetric(name):
    member = MEMBERS[name]
    loss, (z, y, r, v) = member.make(), member.rows()
    w = member.rows(seed=22)[3]
    Hv, Hw = (loss.hessian_product(z, y, x, sample_weight=r) for x in (v, w))
    assert np.allclose((w * Hv).sum(axis=1), (v * Hw).sum(axis=1), rtol=1e-10, atol=1e-12)


@each_case_by_row
def test_weights_are_copies(name, kind):
    member = MEMBERS[name]
    loss, (z, y, _, _) = member.make(), member.rows(kind)
    times = np.array([1, 3, 0, 2, 1, 0, 2])
    for reduction in ("mean", "sum"):
        value, g = loss.value_and_grad(z, y, sample_weight=times, reduction=reduction)
        copied, G = loss.value_and_grad(np.repeat(z, times, axis=0), np.repeat(y, times, axis=0), reduction=reduction)
        assert value == pytest.approx(copied, rel=1e-13)
        summed = np.add.reduceat(G, (np.cumsum(times) - times)[times > 0], axis=0)
        assert np.allclose(g[times > 0], summed, rtol=1e-12, atol=1e-15)
        assert (g[times == 0] == 0).all()


@each
def test_rows_that_do_not_count_are_not_read(name):
    member = MEMBERS[name]
    loss, (z, y, r, _) = member.make(), member.rows()
    loss = replace(loss, weights=replace(loss.weights, ignore_index=-7))
    z[2], z[4], y[2], r[4] = np.nan, np.inf, -7, 0
    keep = [0, 1, 3, 5, 6]
    value, g = loss.value_and_grad(z, y, sample_weight=r)
    expected, G = loss.value_and_grad(z[keep], y[keep], sample_weight=r[keep])
    assert value == pytest.approx(expected, rel=1e-14)
    assert np.allclose(g[keep], G, rtol=1e-14)
    assert (g[[2, 4]] == 0).all()
    nothing, zero = loss.value_and_grad(z, np.full(7, -7))
    assert nothing == 0
    assert (zero == 0).all()


@each_case_by_row
def test_micro_batches_make_one_batch(name, kind):
    member = MEMBERS[name]
    loss, (z, y, r, _) = member.make(), member.rows(kind, n=12)
    value, g = loss.value_and_grad(z, y, sample_weight=r, reduction="sum")
    parts = [loss.value_and_grad(z[k], y[k], sample_weight=r[k], reduction="sum") for k in np.split(np.arange(12), 4)]
    assert value == pytest.approx(sum(part[0] for part in parts), rel=1e-13)
    assert np.array_equal(g, np.concatenate([part[1] for part in parts]))
    none, G = loss.value_and_grad(z, y, sample_weight=r, reduction="none")
    assert none.sum() == pytest.approx(value, rel=1e-13)
    assert np.array_equal(G, g)


@each
def test_a_common_shift_changes_nothing_where_it_is_said(name):
    member = MEMBERS[name]
    loss, (z, y, r, _) = member.make(), member.rows()
    near = np.isclose(loss(z + 0.37, y, sample_weight=r), loss(z, y, sample_weight=r), rtol=1e-12, atol=0)
    assert loss.shift_invariant == bool(near)


@pytest.mark.parametrize(("name", "kind"), [case for case in CASES if MEMBERS[case[0]].symmetric])
def test_classes_may_change_places(name, kind):
    member = MEMBERS[name]
    loss, (z, y, r, _) = member.make(), member.rows(kind)
    order = np.random.default_rng(5).permutation(z.shape[1])
    moved = np.argsort(order)[y] if y.ndim == 1 else y[:, order]
    value, g = loss.value_and_grad(z, y, sample_weight=r)
    other, G = loss.value_and_grad(np.ascontiguousarray(z[:, order]), moved, sample_weight=r)
    assert other == pytest.approx(value, rel=1e-13)
    assert np.allclose(G, g[:, order], rtol=1e-11, atol=1e-15)


@each
def test_extreme_scores_stay_finite(name):
    member = MEMBERS[name]
    loss, (z, y, _, _) = member.make(), member.rows(n=40)
    for size in (30.0, 3e3):
        value, g = loss.value_and_grad(size * z, y)
        assert np.isfinite(value)
        assert np.isfinite(g).all()
        assert np.isfinite(loss.hessian_product(size * z, y, z)).all()


@each
def test_convex_is_what_is_said(name):
    """v'Hv >= 0 at many points where it is; and where it is not, below 0 at one of them at least."""
    member = MEMBERS[name]
    loss, lowest = member.make(), 0.0
    for seed in range(12):
        z, y, _, v = member.rows(n=500, seed=seed)
        z *= (0.1, 0.5, 1, 2, 4, 8)[seed % 6]
        size = 1 + np.abs(v).max() ** 2
        lowest = min(lowest, float((v * loss.hessian_product(z, y, v, reduction="none")).sum(axis=1).min()) / size)
    assert (lowest >= -1e-10) == loss.convex


@each_case
def test_float32_is_the_rounded_float64(name, kind):
    member = MEMBERS[name]
    loss, (z, y, r, _) = member.make(), member.rows(kind)
    z = z.astype(np.float32)
    value, g = loss.value_and_grad(z.astype(np.float64), y, sample_weight=r)
    narrow, G = loss.value_and_grad(z, y, sample_weight=r)
    size = np.abs(g).max()
    assert narrow == pytest.approx(value, rel=3e-6)
    assert np.abs(G - g).max() <= 3e-6 * max(size, 1e-3)  # a few units of float32 in scores up to 6, slopes of parts up to a few
    over = z.copy()
    assert loss.value_and_grad(over, y, sample_weight=r, out=over)[0] == narrow
    assert np.array_equal(over, G)


@each
def test_any_number_of_threads_gives_the_same_bits(name, monkeypatch):
    member = MEMBERS[name]
    loss, (z, y, r, _) = member.make(), member.rows(n=20000)
    found = []
    for count in (1, 2, 3):
        monkeypatch.setattr(threads, "count", lambda n=count: n)
        value, g = loss.value_and_grad(z, y, sample_weight=r)
        found.append((value, g.tobytes()))
    assert len(set(found)) == 1


@each
def test_a_loss_survives_its_description(name):
    loss = MEMBERS[name].make()
    assert build(json.loads(json.dumps(describe(loss)))) == loss


@pytest.mark.parametrize(("name", "kind"), [case for case in CASES if MEMBERS[case[0]].make().head.linear])
def test_a_linear_head_has_the_gradient_of_its_scores(name, kind):
    member = MEMBERS[name]
    loss, (_, y, r, _) = member.make(), member.rows(kind, n=30)
    rng = np.random.default_rng(8)
    X, coef, b = rng.normal(size=(30, 4)), rng.normal(size=(member.n_scores, 4)), rng.normal(size=member.n_scores)
    value, G, g = softgrad.linear_value_and_grad(X, y, coef, b, loss=loss, l2=0.2, sample_weight=r)
    expected, dz = loss.value_and_grad(X @ coef.T + b, y, sample_weight=r)
    assert value == pytest.approx(expected + 0.1 * (coef**2).sum(), rel=1e-13)
    size = max(1, np.abs(G).max())
    assert np.allclose(G, dz.T @ X + 0.2 * coef, rtol=0, atol=1e-12 * size)
    assert np.allclose(g, dz.sum(axis=0), rtol=0, atol=1e-12 * size)


@each
@pytest.mark.parametrize("features", ["float32", "uint8", "csr float32"])
def test_kernels_agree_with_the_reference(name, features):
    member = MEMBERS[name]
    loss, rng = member.make(), np.random.default_rng(9)
    X, _, coef, b = zoo.head(features, member.n_scores, 67, 17)
    y = rng.integers(loss.link.classes(member.n_scores), size=67)
    block = Block(X, loss.targets.enter("y", y, 67, loss.link.classes(member.n_scores), None), np.full(67, 1.5))
    coef, b = coef.astype(np.float32), b.astype(np.float32)
    if loss.head.unit_classes:
        b[:] = 0
    kernel = Tiled() if loss.head.linear else CosineHead()
    value, G, g = kernel.sums(block, loss, coef, b, 0.3)
    true_value, true_G, true_g = Reference().sums(block, loss, coef, b, 0.3)
    tolerance = 300 * float(np.finfo(np.float32).eps)  # a few units over 67 rows and 17 features, scores of a few units
    assert value == pytest.approx(true_value, rel=tolerance)
    assert np.allclose(G, true_G, rtol=0, atol=tolerance * np.abs(true_G).max())
    assert np.allclose(g, true_g, rtol=0, atol=tolerance * np.abs(true_g).max())


@each
def test_the_plain_formula_agrees_with_the_schedule_in_use(name, monkeypatch):
    member = MEMBERS[name]
    loss, (z, y, r, _) = member.make(), member.rows()
    if schedule_for(loss, z.dtype).__name__ == "plain":
        pytest.skip("the plain formula is the schedule")
    value, g = loss.value_and_grad(z, y, sample_weight=r)
    monkeypatch.setattr("softgrad.losses.loss.schedules", [])
    plain, G = loss.value_and_grad(z, y, sample_weight=r)
    assert value == pytest.approx(plain, rel=1e-14)
    assert np.allclose(g, G, rtol=1e-13, atol=1e-16 * np.abs(G).max())


@pytest.mark.parametrize("kind", [*ONE, *SEVERAL])
def test_every_part_of_the_library_is_in_the_family(kind):
    """So that no part can be forgotten by the laws."""
    listed = set()
    for member in MEMBERS.values():
        part = getattr(member.make(), kind)
        listed |= {type(one) for one in (part if kind in SEVERAL else (part,))}
    assert set(known((ONE | SEVERAL)[kind])) <= listed


def test_what_makes_no_sense_together_is_refused():
    with pytest.raises(softgrad.SoftgradError, match="one part of the kind 'targets'"):
        losses.compose(losses.Smoothed(0.1), losses.Labels())
    with pytest.raises(softgrad.SoftgradError, match="reads classes or shares of classes"):
        losses.compose(losses.ManyLabels())
    with pytest.raises(softgrad.SoftgradError, match="must be parts"):
        losses.compose(0.1)

