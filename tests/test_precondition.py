"""Metrics: they are the matrices that they say, they do not move the optimum, and they save passes."""

import math
from dataclasses import replace

import numpy as np
import pytest
import scipy.sparse
import zoo

import softgrad
from softgrad import kernels, precondition, training
from softgrad.blocks.block import Block
from softgrad.losses import cross_entropy
from softgrad.precondition import (
    Diagonal,
    Following,
    Gram,
    Hessian,
    Newton,
    Staged,
    curvatures,
    factorise,
    hessian,
    sample,
    softmax_columns,
)
from softgrad.solvers.lbfgs import LBFGS
from softgrad.solvers.solver import State, Status

N, D, C = 60, 4, 3


def problem(n=N, d=D, classes=C, l2=0.1, fit_intercept=True, seed=0, weights=True):
    """Rows whose features are correlated and far from 0; two of them do not count."""
    rng = np.random.default_rng([n, d, seed])
    X = rng.normal(size=(n, d)) @ rng.normal(size=(d, d)) + 2
    y = (X[:, :classes] + 2 * rng.normal(size=(n, classes))).argmax(axis=1) if d >= classes else rng.integers(classes, size=n)
    r = rng.uniform(0.5, 2, n) if weights else np.ones(n)
    r[:2] = 0 if weights else 1
    return training.Problem(X, y, r, classes, cross_entropy(), l2, fit_intercept, 0)


def objective_of(p, mu=None):
    objective = training.plain_objective(p)
    objective.mu = mu
    return objective


def state(passes):
    return State(passes, passes, 1.0, 1.0, 0.0)


def matrix_of(solve, n, symmetric=True):
    """The matrix whose inverse `solve` applies."""
    inverse = np.stack(solve(list(np.eye(n))), axis=1)
    assert np.allclose(inverse, inverse.T, rtol=0, atol=1e-8 * np.abs(inverse).max())
    assert (np.linalg.eigvalsh(inverse) > 0).all()
    return np.linalg.inv(inverse)


def test_the_hessian_is_the_derivative_of_the_gradient():
    p = problem()
    rng = np.random.default_rng(61)
    coef, b, v, u = rng.normal(size=(C, D)) / 4, rng.normal(size=C), rng.normal(size=(C, D)), rng.normal(size=C)
    P = softgrad.softmax(p.X @ coef.T + b)
    ones = np.hstack([p.X, np.ones((N, 1))])
    H = hessian(ones, softmax_columns(P, p.r / p.r.sum()), C, np.array([p.l2] * D + [0]))

    def gradient(t):
        _, G, g = softgrad.linear_value_and_grad(p.X, p.y, coef + t * v, b + t * u, l2=p.l2, sample_weight=p.r)
        return np.hstack([G, g[:, None]])

    along = zoo.slope(gradient, 0.0, 1.0)
    assert np.allclose(H, H.T, rtol=0, atol=1e-15)
    assert np.allclose((H @ np.hstack([v, u[:, None]]).ravel()).reshape(C, D + 1), along, rtol=0, atol=1e-9)


def test_the_gram_metric_is_the_bound_that_it_says():
    """I (x) (alpha Gram + l2 I) for the coefficients, alpha for the intercepts."""
    p, alpha = problem(), 0.2
    objective = objective_of(p)
    G = p.X.T @ p.X / N
    M = matrix_of(Gram(objective, G.copy(), alpha).solve, C * D + C)
    expected = np.zeros_like(M)
    expected[: C * D, : C * D] = np.kron(np.eye(C), alpha * G + p.l2 * np.eye(D))
    expected[C * D :, C * D :] = alpha * np.eye(C)
    assert np.allclose(M, expected, rtol=1e-9, atol=1e-9)


def test_bohning_bounds_the_hessian():
    """1/2 (I - 11'/C) (x) Gram + l2 I is nowhere below it: what makes the metric safe."""
    p = problem()
    rng, r = np.random.default_rng(62), p.r / p.r.sum()
    bound = np.kron(0.5 * (np.eye(C) - 1 / C), (p.X * r[:, None]).T @ p.X) + p.l2 * np.eye(C * D)
    for scale in (0.0, 0.3, 3.0):
        P = softgrad.softmax(scale * p.X @ rng.normal(size=(D, C)))
        H = hessian(p.X, softmax_columns(P, r), C, np.full(D, p.l2))
        assert np.linalg.eigvalsh(bound - H).min() > -1e-12


def test_the_diagonal_metric_is_its_diagonal():
    p = problem()
    H, h = np.arange(12.0).reshape(C, D), np.array([0.2, 0.3, 0.5])
    M = matrix_of(Diagonal(objective_of(p), H, h).solve, C * D + C)
    expected = np.concatenate([(H + p.l2).ravel(), h])
    assert np.allclose(M, np.diag(expected), rtol=1e-12)


@pytest.mark.parametrize("fit_intercept", [True, False])
def test_the_hessian_metric_inverts_the_hessian(fit_intercept):
    """On gradients as they occur: summing to 0 over the classes, where intercepts that move together change nothing."""
    p = problem(fit_intercept=fit_intercept)
    objective, rng = objective_of(p), np.random.default_rng(63)
    P = softgrad.softmax(p.X @ rng.normal(size=(D, C)))
    J = softmax_columns(P, p.r / p.r.sum())
    metric = Hessian(objective, p.X, J)
    X = np.hstack([p.X, np.ones((N, int(fit_intercept)))])
    H = hessian(X, J, C, np.array([p.l2] * D + [0] * fit_intercept))
    for _ in range(5):
        G, g = rng.normal(size=(C, D)), np.zeros(C)
        if fit_intercept:
            g = rng.normal(size=C)
            g -= g.mean()
        W, b = objective.split(*metric.solve([objective.join(G, g)]))
        step = np.hstack([W, b[:, None]]) if fit_intercept else W
        back = (H @ step.ravel()).reshape(step.shape)
        assert np.allclose(back[:, :D], G, rtol=0, atol=1e-9)
        assert np.allclose(back[:, D:].ravel(), g[: C * fit_intercept], rtol=0, atol=1e-9)


@pytest.mark.parametrize("dtype", zoo.FLOATS)
def test_a_singular_matrix_gets_a_ridge_of_rounding_size(dtype):
    x = np.random.default_rng(64).normal(size=(6, 2)).astype(dtype)
    A, b = x @ x.T, (x @ [1.0, -2.0]).astype(dtype)
    solution = factorise(A.copy()).solve(b)
    assert np.isfinite(solution).all()
    assert np.allclose(A @ solution, b, rtol=0, atol=2e4 * np.finfo(dtype).eps)


def test_samples_hold_only_rows_that_count():
    X, r = np.arange(40.0)[:, None], np.tile([0.0, 1.0], 20)
    rows, picked = sample(X, r, 5, 7, np.dtype(np.float32))
    assert len(rows) == 5
    assert (r[rows] > 0).all()
    assert (np.diff(rows) > 0).all()
    assert np.array_equal(picked, X[rows])
    assert picked.dtype == np.float32
    assert np.array_equal(rows, sample(X, r, 5, 7, np.dtype(np.float32))[0])
    assert not np.array_equal(rows, sample(X, r, 5, 8, np.dtype(np.float32))[0])
    assert len(sample(X, r, 100, 7, np.dtype(np.float32))[0]) == 20


# ---- fits -----------------------------------------------------------------------------------------------------------


def assert_optimal(p, found, tol):
    """The gradient by what the user gets, formed anew, is within tol (and rounding)."""
    _, G, g = softgrad.linear_value_and_grad(p.X, p.y, found.coef, found.intercept, loss=p.loss, l2=p.l2, sample_weight=p.r)
    assert np.abs(G).max() <= tol + 1e-12
    assert not p.fit_intercept or np.abs(g).max() <= tol + 1e-12


@pytest.mark.parametrize("fit_intercept", [True, False])
@pytest.mark.parametrize(("n", "d"), [(80, 5), (20, 50), (30, 30), (12, 13)])
@pytest.mark.parametrize("sparse", [False, True])
def test_a_fit_ends_where_the_users_gradient_vanishes(n, d, sparse, fit_intercept):
    p = problem(n, d, fit_intercept=fit_intercept, l2=0.05)
    p = replace(p, X=scipy.sparse.csr_array(p.X)) if sparse else p
    found = training.fit(p, LBFGS(tol=1e-7, max_iter=2000))
    assert found.result.status is Status.CONVERGED
    # The fit given is the one that sums to 0 over the classes, which moves the penalty's gradient by up to tol;
    # in row space tol bounds the rotated gradient, whose entries are smaller than its length.
    assert_optimal(p, found, 2e-7 if sparse or n >= d else 2e-7 * np.sqrt(n))
    if not fit_intercept:
        assert not found.intercept.any()


@pytest.mark.parametrize("fit_intercept", [True, False])
def test_row_space_finds_what_the_direct_way_finds(fit_intercept):
    p, solver = problem(20, 50, fit_intercept=fit_intercept, l2=0.05), LBFGS(tol=1e-9, max_iter=2000)
    rows, direct = training.fit(p, solver), training._fit(p, solver, None, None, 0.0, training.moments(p))
    assert np.allclose(rows.coef, direct.coef, rtol=0, atol=1e-7)
    assert np.allclose(rows.intercept, direct.intercept, rtol=0, atol=1e-6)
    assert rows.result.value == pytest.approx(direct.result.value, rel=1e-12)


def test_the_metric_does_not_move_the_optimum():
    p = problem(300, 6, l2=0.01)
    solver = LBFGS(tol=1e-9, max_iter=5000)
    expected = training.fit(p, solver)
    objective = objective_of(p)
    diagonal = Diagonal(objective, np.mean(p.X**2, axis=0) * np.full((3, 1), 2 / 9), np.full(3, 2 / 9))
    coef, b = objective.to_users(solver.minimize(objective, np.zeros(3 * 7), diagonal).parameters)
    assert np.allclose(coef - coef.mean(axis=0), expected.coef, rtol=0, atol=1e-6)
    assert np.allclose(b - b.mean(), expected.intercept, rtol=0, atol=1e-5)


def test_gram_needs_far_fewer_passes_on_correlated_features(monkeypatch):
    """Neighbouring features are nearly equal, as pixels are; what tells the classes apart lies in their differences.

    Passes are counted, so that the machine does not matter.
    """
    rng = np.random.default_rng(65)
    Z = rng.normal(size=(600, 20))
    X = Z @ (np.tri(20) * 0.9 ** np.arange(20) + 0.01 * rng.normal(size=(20, 20)))
    y = (Z @ rng.normal(size=(20, 3)) / 2 + 2 * rng.normal(size=(600, 3))).argmax(axis=1)
    p, solver = training.Problem(X, y, np.ones(600), 3, cross_entropy(), 1e-6, True, 0), LBFGS(tol=1e-6, max_iter=5000)
    monkeypatch.setattr(training, "HESSIAN_SIZE", 0)
    gram = training.fit(p, solver).result
    monkeypatch.setattr(training, "GRAM_FEATURES", 0)
    diagonal = training.fit(p, solver).result
    assert gram.status is diagonal.status is Status.CONVERGED
    assert 3 * gram.passes < diagonal.passes
    monkeypatch.undo()
    assert training.fit(p, solver).result.passes < gram.passes


def test_fits_start_where_they_are_told():
    p, solver = problem(200, 5), LBFGS(tol=1e-8)
    found = training.fit(p, solver)
    again = training.fit(p, solver, (found.coef, found.intercept))
    assert again.result.passes == 1
    assert np.allclose(again.coef, found.coef, rtol=0, atol=1e-12)


# ---- a diagonal that follows the loss -------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [np.asarray, scipy.sparse.csr_array])
@pytest.mark.parametrize("cells", [1 << 22, 1])
def test_curvatures_are_the_diagonal_of_the_hessian(monkeypatch, kind, cells):
    """Of the rows that count: the others may hold anything."""
    monkeypatch.setattr(precondition, "CELLS", cells)
    p = problem(n=150)
    rng = np.random.default_rng(69)
    coef, b = rng.normal(size=(C, D)) / 3, rng.normal(size=C)
    P = softgrad.softmax(p.X @ coef.T + b)
    full = hessian(np.hstack([p.X, np.ones((150, 1))]), softmax_columns(P, p.r), C, np.zeros(D + 1)).diagonal().reshape(C, D + 1)
    X = p.X.copy()
    X[p.r == 0] = np.nan
    H, h = curvatures(Block(kind(X), p.y, p.r), p.loss, coef, b)
    assert np.allclose(H, full[:, :D], rtol=1e-12)
    assert np.allclose(h, full[:, D], rtol=1e-12)


def test_it_is_taken_again_where_the_loss_has_halved():
    objective = objective_of(problem())
    first = Diagonal(objective, np.ones((C, D)), np.ones(C))
    metric, taken = Following(first, objective, value=1.0), []
    rng = np.random.default_rng(70)
    for value in (0.9, 0.51, 0.5, 0.3, 0.24, float("nan"), -1.0, 0.13, 0.1):
        theta = rng.normal(size=C * D + C)
        before = metric.now
        assert metric.update(theta, replace(state(1), value=value)) == (metric.now is not before)
        if metric.now is not before:
            taken.append(value)
            H, h = curvatures(Block(objective.rows.X, objective.rows.y, objective.rows.r), objective.loss, *objective.to_users(theta))
            expected = objective.join(H / objective.total + objective.l2, h / objective.total)
            assert np.allclose(metric.solve([expected])[0], 1, rtol=1e-12)
    assert taken == [0.5, 0.24, 0.1]


@pytest.mark.parametrize("n_blocks", [1, 3])
@pytest.mark.parametrize("fit_intercept", [True, False])
@pytest.mark.parametrize("compiled", [True, False])
def test_products_are_those_of_the_hessian(monkeypatch, n_blocks, fit_intercept, compiled):
    """Of the mean loss with class weights plus the penalty, by differences of its gradient; rows that do not count are never read."""
    if not compiled:
        monkeypatch.setattr(kernels.native, "module", None)
    p = problem(n=150, fit_intercept=fit_intercept)
    p.X[p.r == 0] = np.nan
    p = replace(p, X=scipy.sparse.csr_array(p.X), loss=cross_entropy(class_weight=[0.3, 1.0, 4.0]))
    objective = objective_of(p)
    assert objective.kernel.name == ("csr" if compiled else "tiled")
    objective.rows = replace(objective.rows, n_blocks=n_blocks)
    rng = np.random.default_rng(73)
    theta, v = rng.normal(size=(2, C * D + C)) / 3
    metric = Newton(Diagonal(objective, np.ones((C, D)), np.ones(C)), objective, 1e-6)
    assert metric.update(theta, state(1))
    theta[C * D :] *= fit_intercept
    v[C * D :] *= fit_intercept
    metric.update(theta, state(2))
    along = zoo.slope(lambda t: objective.value_gradient(theta + t * v)[1], 0.0, 1.0)
    assert np.allclose(metric.product(v), along, rtol=0, atol=1e-9)
    H = np.stack([metric.product(e) for e in np.eye(len(v))])
    assert np.allclose(1 / metric.now.inverse[: C * D], H.diagonal()[: C * D], rtol=1e-12)
    g = objective.value_gradient(theta)[1]
    (s,) = metric.solve([g])
    model = g @ -s + 0.5 * s @ H @ s
    lowest = -0.5 * g @ np.linalg.pinv(H) @ g
    assert 1.05 * lowest < model < 0.6 * lowest


# ---- rent, then buy -------------------------------------------------------------------------------------------------


def staged(p, rows=30):
    objective = objective_of(p, mu=np.full(p.X.shape[1], 0.5))
    gram = Gram(objective, p.X.T @ p.X / len(p.X), 0.2)
    return Staged(gram, objective, p.X, p.r, 0, rows, 1e-6), gram


def bought(metric, norms):
    """The metric in use after each of the passes that ended with these gradients."""
    seen = []
    for k, norm in enumerate(norms):
        metric.update(np.zeros(C * D + C), State(k + 1, k, 1.0, norm, 0.0))
        seen.append(metric.now)
    return seen


def test_the_hessian_is_bought_when_as_much_was_paid_in_rent(monkeypatch):
    """A Hessian for 7.5 passes, gradients that always seem nearly there: the 8th pass buys it, and the 16th buys the next."""
    metric, gram = staged(problem())
    monkeypatch.setattr(Staged, "hessian_seconds", lambda self: 7.5)
    monkeypatch.setattr(Staged, "pass_seconds", lambda self: 1.0)
    seen = bought(metric, 1.1e-6 * 1.01 ** -np.arange(24.0))
    assert all(one is gram for one in seen[:7])
    assert all(one is seen[7] and isinstance(one, Hessian) for one in seen[7:15])
    assert all(one is seen[15] for one in seen[15:23])
    assert seen[15] is not seen[7]
    g = np.random.default_rng(66).normal(size=C * D + C)
    assert np.array_equal(metric.solve([g]), seen[-1].solve([g]))


def test_it_is_bought_earlier_where_the_way_is_long(monkeypatch):
    """Gradients that fall by a hundredth a pass have a thousand passes to go, and the Hessian costs eighty."""
    monkeypatch.setattr(Staged, "hessian_seconds", lambda self: 80.0)
    monkeypatch.setattr(Staged, "pass_seconds", lambda self: 1.0)
    slow, quick = (staged(problem())[0] for _ in range(2))
    seen = bought(slow, 0.1 * 0.99 ** np.arange(50.0))
    assert isinstance(seen[precondition.WINDOW], Hessian)
    assert isinstance(seen[precondition.WINDOW - 1], Gram)
    assert isinstance(bought(quick, 0.1 * 0.5 ** np.arange(17.0))[-1], Gram)


def test_a_gradient_that_stays_buys_little(monkeypatch):
    """It foretells any number of passes: nine are not believed more than 144, and what was bought is bought again for rent alone."""
    monkeypatch.setattr(Staged, "pass_seconds", lambda self: 1.0)
    for price, first in ((80.0, precondition.WINDOW), (200.0, math.ceil((200 + 2 * precondition.LEFT) / precondition.FORESIGHT) - 1)):
        monkeypatch.setattr(Staged, "hessian_seconds", lambda self, price=price: price)
        seen = bought(staged(problem())[0], np.ones(first + 1 + int(price)))
        assert [isinstance(one, Hessian) for one in seen] == [k >= first for k in range(len(seen))]
        assert all(one is seen[first] for one in seen[first:-1])
        assert seen[-1] is not seen[first]


def test_prices_follow_from_shapes_alone():
    """Twice the rows, twice the price of a pass (but for its start); the Hessian's does not depend on them."""
    small, large = staged(problem(600, 8))[0], staged(problem(1200, 8))[0]
    start = precondition.PASS_START
    assert large.pass_seconds() - start == pytest.approx(2 * (small.pass_seconds() - start))
    assert large.hessian_seconds() == small.hessian_seconds()
    assert math.isfinite(small.hessian_seconds())


def test_the_bought_metric_is_the_hessian_at_that_point():
    """All rows in the sample: exactly the Hessian of the objective in centred coordinates."""
    p = problem(weights=False)
    metric, _ = staged(p, rows=N)
    objective = metric.objective
    theta = np.random.default_rng(67).normal(size=C * D + C) / 3
    metric.update(theta, state(10**9))
    v = np.random.default_rng(68).normal(size=theta.shape)
    along = zoo.slope(lambda x: objective.value_gradient(x)[1], theta, v)
    (back,) = metric.solve([along])
    W, b = objective.split(back - v)
    assert np.allclose(W, 0, rtol=0, atol=1e-6)
    assert np.allclose(b - b.mean(), 0, rtol=0, atol=1e-6)  # moved together they change nothing


def test_the_same_fit_has_the_same_bits():
    p = problem(900, 6, l2=1e-3)
    runs = [training.fit(p, LBFGS(tol=1e-8)) for _ in range(2)]
    assert np.array_equal(runs[0].coef, runs[1].coef)
    assert [s.passes for s in runs[0].result.trace] == [s.passes for s in runs[1].result.trace]


@pytest.mark.filterwarnings("ignore:overflow:RuntimeWarning")
@pytest.mark.parametrize("scale", [1e20, 1e25])
def test_features_too_large_for_the_type_are_no_success(scale):
    """In float32 their Gram matrix overflows, and no step can be made: that is not convergence."""
    p = problem()
    found = training.fit(replace(p, X=(p.X * scale).astype(np.float32)), LBFGS())
    assert found.result.converged == (found.result.gradient_norm <= 1e-5)
