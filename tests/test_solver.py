"""L-BFGS on functions that need no data: where it ends, what it says, and how many evaluations it takes."""

import math

import numpy as np
import pytest

from softgrad.solvers.lbfgs import LBFGS, Point, Run
from softgrad.solvers.solver import AbstractMetric, State, Status


class Function:
    """A function with its gradient, counting evaluations."""

    def __init__(self, value, gradient, noise=1e-14):
        self.value, self.gradient, self.noise, self.passes = value, gradient, noise, 0

    def value_gradient(self, theta):
        self.passes += 1
        return float(self.value(theta)), self.gradient(theta)

    def norm(self, gradient):
        return float(np.abs(gradient).max())


class Matrix(AbstractMetric):
    """A fixed metric; remembers the states it was told of."""

    def __init__(self, M):
        self.inverse, self.told = np.linalg.inv(M), []

    def solve(self, gradients):
        return [self.inverse @ gradient for gradient in gradients]

    def update(self, theta, state):
        self.told.append(state)


def identity(n):
    return Matrix(np.eye(n))


def quadratic(n, condition, seed=51):
    """1/2 (x - c)'A(x - c) with eigenvalues from 1/condition to 1; its minimum is 0, where no digits are lost."""
    rng = np.random.default_rng(seed)
    Q, _ = np.linalg.qr(rng.normal(size=(n, n)))
    A, c = (Q * np.geomspace(1 / condition, 1, n)) @ Q.T, rng.normal(size=n)
    return Function(lambda x: 0.5 * (x - c) @ A @ (x - c), lambda x: A @ (x - c)), A, c


def rosenbrock(x):
    return np.sum(100 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2)


def rosenbrock_gradient(x):
    g = np.zeros_like(x)
    g[:-1] = -400 * x[:-1] * (x[1:] - x[:-1] ** 2) - 2 * (1 - x[:-1])
    g[1:] += 200 * (x[1:] - x[:-1] ** 2)
    return g


def assert_honest(result, function):
    """What the result says of its point is so."""
    value, gradient = function.value_gradient(result.parameters)
    assert result.value == value
    assert result.gradient_norm == function.norm(gradient)
    assert result.trace[-1].value == value
    assert result.trace[-1].gradient_norm == result.gradient_norm
    assert result.iterations == result.trace[-1].iteration
    assert result.passes == result.trace[-1].passes
    assert result.converged == result.status.converged
    assert result.advice == result.status.advice
    assert bool(result.advice) != result.converged


@pytest.mark.parametrize("condition", [1.0, 100.0, 1e6])
def test_finds_the_minimum_of_a_quadratic(condition):
    function, _, c = quadratic(20, condition)
    result = LBFGS(tol=1e-10, max_iter=3000).minimize(function, np.zeros(20), identity(20))
    assert result.status is Status.CONVERGED
    assert result.gradient_norm <= 1e-10
    assert np.allclose(result.parameters, c, atol=1e-8 * condition)
    assert_honest(result, function)


@pytest.mark.parametrize("n", [2, 10])
@pytest.mark.parametrize("memory", [1, 5, 20])
def test_finds_its_way_through_a_curved_valley(n, memory):
    function = Function(rosenbrock, rosenbrock_gradient)
    result = LBFGS(tol=1e-8, max_iter=1000, memory=memory).minimize(function, np.full(n, -1.0), identity(n))
    assert result.status is Status.CONVERGED
    assert np.allclose(result.parameters, 1, atol=1e-6)
    assert_honest(result, function)


def test_the_exact_metric_needs_one_step():
    """Newton's step lands on the minimum: the start, and one pass; a third for rounding."""
    function, A, c = quadratic(20, 1e4)
    result = LBFGS(tol=1e-9).minimize(function, np.zeros(20), Matrix(A))
    assert result.status is Status.CONVERGED
    assert result.passes <= 3
    assert np.allclose(result.parameters, c, atol=1e-6)


def test_a_step_costs_one_pass_where_the_metric_gives_the_scale():
    function, _, _ = quadratic(30, 10.0)
    result = LBFGS(tol=1e-10).minimize(function, np.zeros(30), identity(30))
    assert result.passes <= 1 + 1.1 * result.iterations  # the search tries again in one step of ten at most
    assert result.passes == function.passes
    assert result.iterations < 40


def test_a_better_metric_needs_fewer_passes():
    function, A, _ = quadratic(50, 1e4)
    rough = A + 0.2 * np.diag(np.diag(A))
    passes = [LBFGS(tol=1e-8, max_iter=1000).minimize(function, np.zeros(50), M).passes for M in (identity(50), Matrix(rough))]
    assert 2 * passes[1] < passes[0]


def test_a_bad_scale_is_found_by_the_search():
    """The first step of the identity is 1e4 times too long, or too short."""
    for scale in (1e4, 1e-4):
        function = Function(lambda x, s=scale: 0.5 * s * x @ x, lambda x, s=scale: s * x)
        result = LBFGS(tol=1e-9 * scale).minimize(function, np.ones(3), identity(3))
        assert result.status is Status.CONVERGED
        assert result.passes < 25


def test_starting_at_the_minimum_costs_one_pass():
    function, _, c = quadratic(5, 3.0)
    result = LBFGS().minimize(function, c, identity(5))
    assert (result.status, result.passes, result.iterations) == (Status.CONVERGED, 1, 0)


def test_the_start_is_left_alone():
    function, _, _ = quadratic(5, 3.0)
    start = np.zeros(5)
    LBFGS().minimize(function, start, identity(5))
    assert not start.any()


@pytest.mark.parametrize("max_iter", [0, 1, 7])
def test_max_iter_steps_and_no_more(max_iter):
    function = Function(rosenbrock, rosenbrock_gradient)
    result = LBFGS(tol=1e-8, max_iter=max_iter).minimize(function, np.full(10, -1.0), identity(10))
    assert result.status is Status.MAX_ITER
    assert result.iterations == max_iter
    assert "max_iter" in result.advice
    assert_honest(result, function)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_start_that_is_not_finite(bad):
    function = Function(lambda x: bad, lambda x: x)
    result = LBFGS().minimize(function, np.ones(3), identity(3))
    assert result.status is Status.NOT_FINITE
    assert not result.converged
    assert "overflow" in result.advice
    assert function.passes == 1


def test_a_gradient_that_is_not_finite():
    result = LBFGS().minimize(Function(lambda x: 1.0, lambda x: x * np.nan), np.ones(3), identity(3))
    assert result.status is Status.NOT_FINITE


@pytest.mark.parametrize("beyond", [math.nan, math.inf])
def test_the_search_turns_back_where_the_function_ends(beyond):
    """x - log x is not defined below 0, where the first long step leads."""
    function = Function(lambda x: np.sum(x - np.log(x)) if (x > 0).all() else beyond, lambda x: 1 - 1 / np.where(x > 0, x, np.nan))
    result = LBFGS(tol=1e-9).minimize(function, np.array([20.0, 3.0]), Matrix(1e-2 * np.eye(2)))
    assert result.status is Status.CONVERGED
    assert np.allclose(result.parameters, 1, atol=1e-8)


def test_the_precision_of_the_type_ends_a_run():
    """Values of about 1 in float32 cannot tell points apart whose distance squared is below 1e-7; tol asks for more."""
    rng = np.random.default_rng(52)
    function = Function(
        lambda x: np.float32(1 + 0.5 * x @ x),
        lambda x: x + 1e-6 * rng.normal(size=x.shape),
        noise=2e-7,
    )
    result = LBFGS(tol=1e-12, max_iter=500).minimize(function, np.full(4, 3.0), identity(4))
    assert result.status is Status.PRECISION
    assert result.converged
    assert not result.advice
    assert result.iterations < 100
    assert np.abs(result.parameters).max() < 1e-3
    assert result.gradient_norm == min(state.gradient_norm for state in result.trace)


@pytest.mark.parametrize("grain", [1e-9, 1e-7])
def test_values_that_are_rounded_more_coarsely_than_is_said(grain):
    """The search finds no lower value, and changes that do not shrink with the step say why."""

    def function(gradient):
        return Function(lambda x: 1 + 0.25 * np.sum(x**4) + grain * np.sin(1e9 * x.sum()), gradient, noise=1e-14)

    result = LBFGS(tol=1e-12).minimize(function(lambda x: x**3), np.full(4, 3.0), identity(4))
    assert result.status is Status.PRECISION
    assert np.abs(result.parameters).max() < 3 * grain**0.25
    wrong = LBFGS(tol=1e-12).minimize(function(lambda x: -1e-2 * x**3), np.full(4, 3.0), identity(4))
    assert wrong.status is Status.LINE_SEARCH


@pytest.mark.parametrize("wrong", [-1.0, -1e-3])
def test_a_wrong_gradient_is_told(wrong):
    function = Function(lambda x: x @ x, lambda x: wrong * x)
    result = LBFGS().minimize(function, np.ones(3), identity(3))
    assert result.status is Status.LINE_SEARCH
    assert not result.converged
    assert "loss of your own" in result.advice
    assert result.value == 3
    assert function.passes < 60


def test_a_metric_that_is_not_positive_is_not_followed():
    """Upwards leads nowhere: the run ends instead of climbing."""
    result = LBFGS().minimize(Function(lambda x: x @ x, lambda x: 2 * x), np.ones(3), Matrix(-np.eye(3)))
    assert not result.status.converged
    assert result.value == 3


def test_callbacks_see_what_the_trace_keeps():
    function, seen = Function(rosenbrock, rosenbrock_gradient), []
    result = LBFGS(tol=1e-8).minimize(function, np.full(4, -1.0), identity(4), seen.append)
    assert tuple(seen) == result.trace
    assert all(isinstance(state, State) for state in seen)
    assert [state.iteration for state in seen] == list(range(len(seen)))
    assert [state.value for state in seen] == sorted((state.value for state in seen), reverse=True)
    passes, seconds = [state.passes for state in seen], [state.seconds for state in seen]
    assert passes == sorted(set(passes))
    assert passes[0] == 1
    assert seconds == sorted(seconds)


def test_the_metric_hears_of_every_step():
    function, metric = Function(rosenbrock, rosenbrock_gradient), identity(4)
    result = LBFGS(tol=1e-8).minimize(function, np.full(4, -1.0), metric)
    assert tuple(metric.told) == result.trace[:-1]


def test_passes_are_counted_from_the_run_s_own_start():
    function, _, _ = quadratic(5, 3.0)
    first = LBFGS(tol=1e-9).minimize(function, np.zeros(5), identity(5))
    second = LBFGS(tol=1e-9).minimize(function, np.zeros(5), identity(5))
    assert first.passes == second.passes
    assert function.passes == first.passes + second.passes


def test_the_same_run_has_the_same_bits():
    runs = [LBFGS(tol=1e-8).minimize(Function(rosenbrock, rosenbrock_gradient), np.full(6, -1.0), identity(6)) for _ in range(2)]
    assert np.array_equal(runs[0].parameters, runs[1].parameters)
    assert [s.value for s in runs[0].trace] == [s.value for s in runs[1].trace]


def test_parameters_in_float32_stay_in_float32():
    function, A, c = quadratic(8, 10.0)
    narrow = Function(lambda x: function.value(x.astype(float)), lambda x: (A @ (x.astype(float) - c)).astype(np.float32), 2e-7)

    class Narrow(Matrix):
        def solve(self, gradients):
            return [solved.astype(np.float32) for solved in super().solve(gradients)]

    result = LBFGS(tol=1e-5).minimize(narrow, np.zeros(8, np.float32), Narrow(np.eye(8)))
    assert result.parameters.dtype == np.float32
    assert result.status is Status.CONVERGED
    assert np.allclose(result.parameters, c, atol=1e-3)


def test_a_foretold_step_is_taken_down_the_hill_only():
    run = Run(LBFGS(), np.zeros(2), 1e-14, lambda g: float(abs(g).max()), 0.0)
    g = np.array([1.0, -2.0])
    run.tell(Point(run.asked, 1.0, g))
    assert not run.go_on(g)
    assert run.line is None
    assert run.go_on(-0.5 * g)
    assert np.array_equal(run.asked, -0.5 * g)
