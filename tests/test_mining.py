"""Hard-example mining: what each rule chooses, derivatives with the choice held fixed, linear heads in two passes, mini-batches."""


import numpy as np
import pytest
import streaming
import zoo
from streaming import small_blocks, write_pair
from trainings import drawn_rows, problem

import softgrad
from softgrad import losses
from softgrad.blocks.block import Block
from softgrad.blocks.minibatches import MiniBatches
from softgrad.descent import Point, descend
from softgrad.losses.loss import plain
from softgrad.losses.mining import OHEM, SelfPaced, SoftSelfPaced, TopK
from softgrad.solvers import SGD, Constant

L = np.array([0.5, 3.0, 0.1, 3.0, 1.0, np.inf, 0.0])
OMEGA = (0.5, 2.0, 0.3, 1.3, 0.9)
CHOSEN = {
    "one": (TopK(1), [0, 0, 0, 0, 0, 1, 0]),
    "of equal ones the earlier": (TopK(2), [0, 1, 0, 0, 0, 1, 0]),
    "more than there are": (TopK(9), [1] * 7),
    "a share, rounded up": (OHEM(0.3), [0, 1, 0, 1, 0, 1, 0]),
    "at least": (OHEM(0.0, at_least=4), [0, 1, 0, 1, 1, 1, 0]),
    "and all improbable": (OHEM(0.0, at_least=1, threshold=0.4), [0, 1, 0, 1, 1, 1, 0]),
    "at least, though probable": (OHEM(0.0, at_least=5, threshold=0.4), [1, 1, 0, 1, 1, 1, 0]),
    "every row": (OHEM(0.0, threshold=1.0), [1] * 7),
    "easy ones": (SelfPaced(1.0), [1, 0, 1, 0, 0, 0, 1]),
    "easy ones, softly": (SoftSelfPaced(1.0), [0.5, 0, 0.9, 0, 0, 0, 1]),
}
RULES = [TopK(4), OHEM(0.3, 2, 0.3), SelfPaced(1.5), SoftSelfPaced(3.0)]
each_rule = pytest.mark.parametrize("rule", RULES, ids=str)


@pytest.mark.parametrize("name", CHOSEN)
def test_what_is_chosen(name):
    rule, expected = CHOSEN[name]
    assert rule.weights(L).tolist() == pytest.approx(expected)
    assert rule.weights(L[:0]).shape == (0,)
    if not isinstance(rule, SelfPaced | SoftSelfPaced):
        assert rule.kept(7) <= sum(expected)


def parts(rule=None):
    curve = (losses.Focal(1.0), losses.Smoothed(0.1), losses.Weights(OMEGA, ignore_index=-5), losses.ZLoss(0.01))
    return losses.compose(*curve, *(() if rule is None else (rule,)))


def case(n=40, seed=1):
    rng = np.random.default_rng(seed)
    z, y, r = 2 * rng.normal(size=(n, 5)), rng.integers(5, size=n), rng.uniform(0.2, 2, n)
    y[3], r[7] = -5, 0
    return z, y, r, rng.normal(size=(n, 5))


@each_rule
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_it_is_the_loss_with_the_chosen_rows_weights(rule, reduction):
    """The rule sees L_i without sample weights; the mean divides by what is left of the weights."""
    z, y, r, v = case()
    plain_loss, loss = parts(), parts(rule)
    counted = (r > 0) & (y != -5)
    chosen = np.zeros(40)
    chosen[counted] = r[counted] * rule.weights(plain_loss(z[counted], y[counted], reduction="none"))
    assert 0 < (chosen > 0).sum() < counted.sum()
    value, g = loss.value_and_grad(z, y, sample_weight=r, reduction=reduction)
    expected, G = plain_loss.value_and_grad(z, y, sample_weight=chosen, reduction=reduction)
    assert np.array_equal(value, expected)
    assert np.array_equal(g, G)
    assert np.array_equal(loss(z, y, sample_weight=r, reduction=reduction), expected)
    H = plain_loss.hessian_product(z, y, v, sample_weight=chosen, reduction=reduction)
    assert np.array_equal(loss.hessian_product(z, y, v, sample_weight=r, reduction=reduction), H)


def test_average_top_k_by_hand():
    z, y, _, _ = case()
    each = losses.cross_entropy()(z, np.abs(y) % 5, reduction="none")
    assert losses.compose(TopK(4))(z, np.abs(y) % 5) == pytest.approx(np.sort(each)[-4:].mean(), rel=1e-14)


def test_a_convex_loss_stays_convex_with_top_k():
    """On a line between any two sets of scores the value lies below its chord."""
    loss, rng = losses.compose(TopK(5)), np.random.default_rng(2)
    for _ in range(50):
        a, b, y, t = rng.normal(size=(12, 3)), rng.normal(size=(12, 3)), rng.integers(3, size=12), rng.uniform()
        assert loss(t * a + (1 - t) * b, y) <= t * loss(a, y) + (1 - t) * loss(b, y) + 1e-12


def test_soft_weights_minimise_what_they_say():
    l, v = np.linspace(0, 4, 9), np.linspace(0, 1, 10001)
    best = [v[(w * v + 3.0 * (v * v / 2 - v)).argmin()] for w in l]
    assert SoftSelfPaced(3.0).weights(l) == pytest.approx(best, abs=1e-4)


def test_where_no_row_is_easy_enough_nothing_happens():
    z, y, _, _ = case()
    value, g = losses.compose(SelfPaced(1e-9)).value_and_grad(z, np.abs(y) % 5)
    assert value == 0
    assert not g.any()


def test_the_row_that_is_broken_is_named():
    z, y, _, _ = case()
    z[11, 2] = np.nan
    with pytest.raises(softgrad.SoftgradError, match="row 11"):
        parts(TopK(2))(z, y)


# ---- linear heads ---------------------------------------------------------------------------------------------------


@each_rule
@pytest.mark.parametrize("features", zoo.FEATURES)
def test_a_linear_head_reads_twice(rule, features):
    X, y, coef, b = zoo.head(features, 5, 300, 9, ignored=-5)
    r = np.random.default_rng(5).uniform(0.2, 2, 300)
    r[[2, 9]] = 0
    loss, z = parts(rule), zoo.dense(X) @ coef.T + b
    value, G, g = softgrad.linear_value_and_grad(X, y, coef, b, loss=loss, l2=0.1, sample_weight=r)
    expected, dz = loss.value_and_grad(z, y, sample_weight=r)
    tolerance = 1e-12 if "float64" in features else 1e-4
    assert value == pytest.approx(expected + 0.05 * (coef**2).sum(), rel=tolerance)
    size = np.abs(zoo.dense(X)).max()
    assert np.allclose(G, dz.T @ zoo.dense(X) + 0.1 * coef, rtol=0, atol=tolerance * size)
    assert np.allclose(g, dz.sum(axis=0), rtol=0, atol=tolerance)


def test_a_linear_head_has_the_same_bits_from_many_tiles_and_threads(monkeypatch):
    """Also where rows that do not count hold NaN; one that counts is found."""
    rng = np.random.default_rng(6)
    X, y, coef = rng.normal(size=(9000, 40)), rng.integers(70, size=9000), rng.normal(size=(70, 40))
    X[5] = np.nan
    r, loss, found = (np.arange(9000) != 5) * rng.uniform(1, 2, 9000), losses.compose(losses.Focal(), OHEM(0.2)), set()
    monkeypatch.setattr("softgrad.kernels.tiled.SCORES", 70 * 500)
    for count in (1, 2, 3):
        with softgrad.threads.limit(count):
            value, G, _ = softgrad.linear_value_and_grad(X, y, coef, loss=loss, sample_weight=r)
        found.add((value, G.tobytes()))
    assert len(found) == 1
    expected = loss(np.nan_to_num(X) @ coef.T, y, sample_weight=r)
    assert found.pop()[0] == pytest.approx(expected, rel=1e-12)
    with pytest.raises(softgrad.SoftgradError, match="row 5, column 0"):
        softgrad.linear_value_and_grad(X, y, coef, loss=loss)


def test_rows_on_disk_give_the_bits_of_rows_in_memory(tmp_path, monkeypatch):
    small_blocks(monkeypatch)
    X, y, W = streaming.head()
    data = softgrad.data.stream(write_pair(tmp_path, X, y))
    loss = losses.compose(losses.Focal(), OHEM(0.1))
    found, expected = (softgrad.linear_value_and_grad(rows, y, W, loss=loss) for rows in (data.X, X))
    assert found[0] == expected[0]
    assert np.array_equal(found[1], expected[1])


# ---- mini-batches ---------------------------------------------------------------------------------------------------


def mined_gradient(p, k, W, loss):
    """Mean over the chosen rows of rows k, times what rows k count beside all rows."""
    z, total = p.X[k] @ W.T, loss.weights.total(p.y, p.r, p.n_classes)
    share = loss.weights.total(p.y[k], p.r[k], p.n_classes) / total * len(p.y) / len(k)
    value, dz = loss.value_and_grad(z, p.y[k], sample_weight=p.r[k])
    return share * value, share * dz.T @ p.X[k]


@each_rule
def test_a_stochastic_run_by_hand(rule):
    """Two heads side by side, each with rows of its own choice out of every mini-batch."""
    loss, rng = losses.compose(rule, losses.Weights((0.5, 2.0, 1.0, 1.5))), np.random.default_rng(7)
    p = problem(loss=loss, fit_intercept=False, r=rng.uniform(0.5, 2, 60))
    start = rng.normal(size=(4, 7)), np.zeros(4)
    solver = SGD(batch_size=20, iterations=9, momentum=0, schedule=Constant())
    found = descend(p, [Point(0.1, 0.3), Point(0.02, 0.05)], solver, start=start)
    stream = MiniBatches(Block(p.X, p.y, p.r), np.arange(60), np.zeros(7), 0.0).stream(20, 9, p.seed)
    batches = drawn_rows(stream)
    for one, l2, rate in zip(found, (0.1, 0.02), (0.3, 0.05), strict=True):
        W = start[0]
        for k in batches:
            W = W - rate * (mined_gradient(p, k, W, loss)[1] + l2 * W)
        W = W - W.mean(axis=0)
        assert np.allclose(one.coef, W, rtol=1e-9, atol=1e-12)
        judged = [mined_gradient(p, k, W, loss) for k in np.split(np.arange(60), 3)]
        value, G = (sum(part) / 3 for part in zip(*judged, strict=True))
        assert one.result.value == pytest.approx(value + 0.5 * l2 * (W * W).sum(), rel=1e-12)
        assert one.result.gradient_norm == pytest.approx(np.abs(G + l2 * W).max(), rel=1e-9)


def test_a_head_that_diverges_leaves_the_others_alone():
    loss = losses.compose(TopK(5))
    p = problem(loss=loss, fit_intercept=False)
    solver = SGD(batch_size=20, iterations=400, momentum=0)
    lost, one = descend(p, [Point(1.0, 1e200), Point(0.1, 0.1)], solver)
    assert lost.result.status.name == "DIVERGED"
    assert np.array_equal(one.coef, descend(p, [Point(0.1, 0.1)], solver)[0].coef)


def test_the_safe_rate_is_safe_for_whatever_rows_are_chosen():
    """One row out of each batch: a rate for the mean over the batch would be many times too long for the steepest."""
    rng = np.random.default_rng(8)
    X = rng.normal(size=(400, 6)) * np.where(rng.uniform(size=400) < 0.02, 30.0, 1.0)[:, None]
    p = problem(n=400, loss=losses.compose(TopK(1)), fit_intercept=False)
    p = softgrad.training.Problem(X, p.y, p.r, 4, p.loss, 0.01, False, 0)
    [found] = descend(p, [Point(0.01)], SGD(epochs=20, batch_size=100, momentum=0))
    zero = softgrad.linear_value_and_grad(X, p.y, np.zeros((4, 6)))[0]
    assert found.result.status.name == "ITERATIONS"
    assert max(state.value for state in found.result.trace) < 3 * zero
    assert found.result.stride.learning_rate <= 2 / (np.einsum("ij,ij->i", X, X).max() / 2)


def test_classifiers_mine_on_mini_batches_only():
    X, y = np.random.default_rng(9).normal(size=(200, 3)), np.arange(200) % 3
    X[:, 0] += 2 * y
    loss = losses.compose(OHEM(0.5))
    model = softgrad.SoftmaxClassifier(loss=loss, solver=SGD(epochs=5), random_state=0).fit(X, y)
    assert model.score(X, y) > 0.6
    for refused in (
        lambda: softgrad.SoftmaxClassifier(loss=loss).fit(X, y),
        lambda: softgrad.SoftmaxClassifier(loss=loss).partial_fit(X, y, classes=[0, 1, 2]),
        lambda: softgrad.SoftmaxClassifierCV(loss=loss).fit(X, y),
    ):
        with pytest.raises(softgrad.SoftgradError, match=r"mini-batches; got OHEM; use SoftmaxClassifier\(solver=SGD"):
            refused()


def test_it_survives_a_model_file(tmp_path):
    X, y = np.random.default_rng(9).normal(size=(60, 3)), np.arange(60) % 3
    loss = losses.compose(OHEM(0.5, 3, 0.1), losses.Smoothed(0.1, (0.5, 0.25, 0.25)))
    softgrad.SoftmaxClassifier(loss=loss, solver=SGD(epochs=1)).fit(X, y).save(tmp_path / "m.safetensors")
    assert softgrad.load(tmp_path / "m.safetensors").loss == loss


def test_descriptions_of_older_files_have_no_mining():
    loss = losses.cross_entropy(label_smoothing=0.1)
    described = softgrad.losses.described.describe(loss)
    del described["mining"], described["targets"][1]["prior"]
    assert softgrad.losses.described.build(described) == loss


def test_native_rows_serve_mining(monkeypatch):
    z, y, r, _ = case()
    loss = losses.compose(TopK(6), losses.Weights(OMEGA, -5))
    value, g = loss.value_and_grad(z, y, sample_weight=r)
    monkeypatch.setattr("softgrad.losses.loss.schedules", [])
    assert softgrad.losses.loss.schedule_for(loss, z.dtype) is plain
    expected, G = loss.value_and_grad(z, y, sample_weight=r)
    assert value == pytest.approx(expected, rel=1e-14)
    assert np.allclose(g, G, rtol=1e-13, atol=1e-17)


REFUSED = {
    "TopK(k)": lambda: TopK(0),
    "OHEM(share)": lambda: OHEM(1.5),
    "OHEM(at_least)": lambda: OHEM(at_least=0),
    "OHEM(threshold)": lambda: OHEM(threshold=-0.1),
    "SelfPaced(threshold)": lambda: SelfPaced(0.0),
    "SoftSelfPaced(threshold)": lambda: SoftSelfPaced(np.inf),
    "compose(parts): there can be one part of the kind 'mining'": lambda: losses.compose(TopK(1), SelfPaced(1.0)),
}


@pytest.mark.parametrize("argument", REFUSED)
def test_numbers_out_of_range_are_refused(argument):
    with pytest.raises(softgrad.SoftgradError) as told:
        REFUSED[argument]()
    assert str(told.value).startswith(argument)


@pytest.mark.parametrize("features", ["float64", "csr float64"])
def test_a_head_of_cosines_chooses_by_its_own_losses(features):
    margin = losses.AngularMargin(m2=0.3), losses.Scale(6.0), losses.Cosine()
    X, y, coef, _ = zoo.head(features, 5, 23, 7)
    X[0] += 0 if features.startswith("csr") else 1
    single = np.array([softgrad.linear_value_and_grad(X[[i]], y[[i]], coef, loss=losses.compose(*margin))[0] for i in range(23)])
    kept = np.isin(np.arange(23), np.argsort(single)[-6:]).astype(float)
    found = softgrad.linear_value_and_grad(X, y, coef, loss=losses.compose(*margin, losses.TopK(6)), wrt_X=True)
    expected = softgrad.linear_value_and_grad(X, y, coef, loss=losses.compose(*margin), sample_weight=kept, wrt_X=True)
    assert all(np.array_equal(a, b) for a, b in zip(found, expected, strict=True))
