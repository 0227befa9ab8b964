"""Peers on the same numbers: each loss that another library has, value and gradient; and where that library differs, how.

docs/peers.md has a row for every case and every test of this room. Peers are extras (`peers`); those that are absent are skipped.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

import softgrad
from softgrad import losses
from softgrad.losses import cross_entropy
from softgrad.losses.loss import Loss

C = 5
OMEGA = (0.5, 2.0, 0.7, 1.3, 0.9)


def rows(n=7, seed=31):
    """Scores (n, C) of a few units, labels, distributions, and yes or no for each class."""
    rng = np.random.default_rng(seed)
    return 2 * rng.normal(size=(n, C)), {
        "labels": rng.integers(C, size=n),
        "distributions": rng.dirichlet(np.ones(C), n),
        "many": (rng.uniform(size=(n, C)) < 0.4).astype(float),
    }


@dataclass(frozen=True)
class Case:
    """Our loss, and theirs as a function of (module, scores, targets) that gives the mean over rows."""

    peer: str
    ours: Callable[[], Loss]
    theirs: Callable[[Any, Any, Any], Any]
    targets: str = "labels"


def by_torch(theirs, z, y):
    torch = pytest.importorskip("torch")
    x = torch.tensor(z, requires_grad=True)
    value = theirs(torch.nn.functional, x, torch.tensor(y))
    value.backward()
    return float(value.detach()), x.grad.numpy()


def by_entmax(theirs, z, y):
    module = pytest.importorskip("entmax")
    return by_torch(lambda _, x, t: theirs(module, x, t), z, y)


def by_optax(theirs, z, y):
    jax, optax = pytest.importorskip("jax"), pytest.importorskip("optax")
    with jax.enable_x64(True):
        value, gradient = jax.value_and_grad(lambda x: theirs(optax, x, jax.numpy.asarray(y)))(jax.numpy.asarray(z))
        return float(value), np.asarray(gradient)


BY = {"torch": by_torch, "entmax": by_entmax, "optax": by_optax}


def weights(z):
    return z.new_tensor(OMEGA)


AGREE = {
    "torch cross_entropy": Case("torch", cross_entropy, lambda F, z, y: F.cross_entropy(z, y)),
    "torch cross_entropy, weighted": Case(
        "torch", lambda: cross_entropy(class_weight=OMEGA), lambda F, z, y: F.cross_entropy(z, y, weight=weights(z))
    ),
    "torch cross_entropy, smoothed": Case(
        "torch", lambda: cross_entropy(label_smoothing=0.1), lambda F, z, y: F.cross_entropy(z, y, label_smoothing=0.1)
    ),
    "torch cross_entropy, smoothed and weighted": Case(
        "torch",
        lambda: cross_entropy(label_smoothing=0.1, class_weight=OMEGA),
        lambda F, z, y: F.cross_entropy(z, y, label_smoothing=0.1, weight=weights(z)),
    ),
    "torch cross_entropy, ignoring": Case(
        "torch", lambda: cross_entropy(ignore_index=2), lambda F, z, y: F.cross_entropy(z, y, ignore_index=2)
    ),
    "torch cross_entropy, distributions": Case("torch", cross_entropy, lambda F, z, q: F.cross_entropy(z, q), "distributions"),
    "torch binary_cross_entropy_with_logits": Case(
        "torch",
        lambda: losses.compose(losses.Sigmoid()),
        lambda F, z, y: F.binary_cross_entropy_with_logits(z, y, reduction="sum") / len(z),
        "many",
    ),
    "optax softmax_cross_entropy_with_integer_labels": Case(
        "optax", cross_entropy, lambda optax, z, y: optax.softmax_cross_entropy_with_integer_labels(z, y).mean()
    ),
    "optax softmax_cross_entropy": Case(
        "optax", cross_entropy, lambda optax, z, q: optax.softmax_cross_entropy(z, q).mean(), "distributions"
    ),
    "optax sigmoid_binary_cross_entropy": Case(
        "optax",
        lambda: losses.compose(losses.Sigmoid()),
        lambda optax, z, y: optax.sigmoid_binary_cross_entropy(z, y).sum(axis=1).mean(),
        "many",
    ),
}


@pytest.mark.parametrize("name", AGREE)
def test_peers_agree(name):
    case = AGREE[name]
    z, targets = rows()
    y = targets[case.targets]
    value, gradient = case.ours().value_and_grad(z, y)
    theirs, theirs_gradient = BY[case.peer](case.theirs, z, y)
    assert value == pytest.approx(theirs, rel=1e-12)
    assert np.allclose(gradient, theirs_gradient, rtol=0, atol=1e-13 * max(1, np.abs(gradient).max()))


def test_scikit_learn_agrees():
    """The loss inside its LogisticRegression, which gives losses and gradients of rows."""
    from sklearn._loss.loss import HalfMultinomialLoss
    from sklearn.metrics import log_loss

    z, targets = rows()
    y = targets["labels"]
    theirs, theirs_gradient = HalfMultinomialLoss(n_classes=C).loss_gradient(y_true=y.astype(float), raw_prediction=z)
    value, gradient = cross_entropy().value_and_grad(z, y, reduction="none")
    assert value == pytest.approx(theirs, rel=1e-12)
    assert np.allclose(gradient, theirs_gradient, rtol=0, atol=1e-13)
    assert log_loss(y, softgrad.softmax(z), labels=range(C)) == pytest.approx(value.mean(), rel=1e-12)


# ---- where they differ ----------------------------------------------------------------------------------------------


@pytest.fixture
def torch():
    return pytest.importorskip("torch")


def test_confident_rows_are_exactly_0_in_torch(torch):
    """Past a margin of 37 in float64, 17 in float32; here the loss is exp(-margin), and so is the gradient."""
    for margin, dtype in ((40.0, "float64"), (20.0, "float32")):
        z = np.array([[margin, 0.0]], dtype)
        value, gradient = cross_entropy().value_and_grad(z, [0])
        theirs, theirs_gradient = by_torch(lambda F, x, y: F.cross_entropy(x, y), z, np.array([0]))
        assert theirs == 0
        assert theirs_gradient[0, 0] == 0
        assert value == pytest.approx(np.exp(-margin), rel=1e-6)
        assert gradient[0] == pytest.approx([-np.exp(-margin), np.exp(-margin)], rel=1e-6)


def test_torch_divides_weighted_distributions_by_rows(torch):
    """Labels are divided by their weights, the same labels as one-hot rows by N (pytorch#107680); here both by their weights."""
    z, targets = rows()
    y = targets["labels"]
    q, N, S = np.eye(C)[y], len(y), np.take(OMEGA, y).sum()
    labels = by_torch(lambda F, x, t: F.cross_entropy(x, t, weight=weights(x)), z, y)[0]
    one_hot = by_torch(lambda F, x, t: F.cross_entropy(x, t, weight=weights(x)), z, q)[0]
    assert one_hot == pytest.approx(labels * S / N, rel=1e-12)
    assert one_hot != pytest.approx(labels, rel=0.05)
    ours = cross_entropy(class_weight=OMEGA)
    assert ours(z, q) == pytest.approx(ours(z, y), rel=1e-14)
    assert ours(z, y) == pytest.approx(labels, rel=1e-12)


def test_torch_is_nan_where_every_row_is_ignored(torch):
    z = rows()[0]
    y = np.full(len(z), -100)
    assert np.isnan(by_torch(lambda F, x, t: F.cross_entropy(x, t), z, y)[0])
    value, gradient = cross_entropy(ignore_index=-100).value_and_grad(z, y)
    assert value == 0
    assert (gradient == 0).all()


def test_torch_is_nan_for_impossible_classes_that_no_target_wants(torch):
    """0 log 0 is 0: a score of -inf costs nothing where the target is 0."""
    z, q = np.array([[1.0, 2.0, -np.inf]]), np.array([[0.3, 0.7, 0.0]])
    assert np.isnan(by_torch(lambda F, x, t: F.cross_entropy(x, t), z, q)[0])
    value, gradient = cross_entropy().value_and_grad(z, q)
    expected, G = cross_entropy().value_and_grad(z[:, :2], q[:, :2])
    assert value == pytest.approx(expected, rel=1e-14)
    assert gradient[0] == pytest.approx([*G[0], 0], rel=1e-14)


def test_optax_is_nan_for_impossible_classes_that_no_target_wants():
    """Its `safe_softmax_cross_entropy` is the one that takes -inf (optax#896)."""
    z, q = np.array([[1.0, 2.0, -np.inf]]), np.array([[0.3, 0.7, 0.0]])
    assert np.isnan(by_optax(lambda optax, x, t: optax.softmax_cross_entropy(x, t).mean(), z, q)[0])
    safe = by_optax(lambda optax, x, t: optax.losses.safe_softmax_cross_entropy(x, t).mean(), z, q)[0]
    assert cross_entropy()(z, q) == pytest.approx(safe, rel=1e-14)


def test_kl_div_of_torch_divides_by_rows_and_classes(torch):
    """reduction='mean' is C times too small; 'batchmean' is the distance."""
    z, targets = rows()
    q = targets["distributions"]
    distance = cross_entropy()(z, q) - cross_entropy()(np.log(q), q)
    mean = by_torch(lambda F, x, t: F.kl_div(F.log_softmax(x, dim=1), t, reduction="batchmean"), z, q)[0]
    assert mean == pytest.approx(distance, rel=1e-11)
    with pytest.warns(UserWarning, match="batchmean"):
        tiny = by_torch(lambda F, x, t: F.kl_div(F.log_softmax(x, dim=1), t, reduction="mean"), z, q)[0]
    assert tiny == pytest.approx(distance / C, rel=1e-11)


def test_cross_entropy_of_torch_takes_scores_too(torch):
    z, targets = rows()
    y = targets["labels"]
    right = by_torch(lambda F, x, t: F.cross_entropy(x, t), z, y)[0]
    twice = by_torch(lambda F, x, t: F.cross_entropy(F.softmax(x, dim=1), t), z, y)[0]
    assert cross_entropy()(z, y) == pytest.approx(right, rel=1e-12)
    assert twice != pytest.approx(right, rel=0.05)


def test_a_network_of_torch_learns_from_our_gradient(torch):
    """`scores.backward(gradient)`, as the page for the first five minutes says, leaves the gradients that torch's own loss leaves."""
    X, y = torch.linspace(-1, 1, 28, dtype=torch.float64).reshape(7, 4), torch.tensor(rows()[1]["labels"])
    torch.manual_seed(0)
    network = torch.nn.Sequential(torch.nn.Linear(4, 6), torch.nn.Tanh(), torch.nn.Linear(6, C)).double()
    torch.nn.functional.cross_entropy(network(X), y).backward()
    theirs = [parameter.grad.clone() for parameter in network.parameters()]
    network.zero_grad()
    scores = network(X)
    _, gradient = cross_entropy().value_and_grad(scores.detach().numpy(), y.numpy())
    scores.backward(torch.from_numpy(gradient))
    for parameter, expected in zip(network.parameters(), theirs, strict=True):
        assert torch.allclose(parameter.grad, expected, rtol=1e-10, atol=1e-14)
