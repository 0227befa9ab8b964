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
    """Scores (n, C) of a few units, labels, distributions, yes or no for each class, and the scores of a teacher."""
    rng = np.random.default_rng(seed)
    return 2 * rng.normal(size=(n, C)), {
        "labels": rng.integers(C, size=n),
        "distributions": rng.dirichlet(np.ones(C), n),
        "many": (rng.uniform(size=(n, C)) < 0.4).astype(float),
        "teacher": 3 * rng.normal(size=(n, C)),
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


def by_torchvision(theirs, z, y):
    # RuntimeError: where its operators were built for another torch
    ops = pytest.importorskip("torchvision.ops", exc_type=(ImportError, RuntimeError))
    return by_torch(lambda _, x, t: theirs(ops, x, t.to(x.dtype)), z, y)


def by_optax(theirs, z, y):
    jax, optax = pytest.importorskip("jax"), pytest.importorskip("optax")
    with jax.enable_x64(True):
        value, gradient = jax.value_and_grad(lambda x: theirs(optax, x, jax.numpy.asarray(y)))(jax.numpy.asarray(z))
        return float(value), np.asarray(gradient)


BY = {"torch": by_torch, "torchvision": by_torchvision, "entmax": by_entmax, "optax": by_optax}


def weights(z):
    return z.new_tensor(OMEGA)


def one_hot(y):
    import jax

    return jax.nn.one_hot(y, C)


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
        losses.binary_cross_entropy,
        lambda F, z, y: F.binary_cross_entropy_with_logits(z, y, reduction="sum") / len(z),
        "many",
    ),
    "torch multi_margin_loss, times C": Case("torch", losses.weston_watkins, lambda F, z, y: C * F.multi_margin_loss(z, y)),
    "torch mse_loss of one-hot labels, halved": Case(
        "torch", losses.squared_error, lambda F, z, y: F.mse_loss(z, F.one_hot(y, C).double(), reduction="sum") / (2 * len(z))
    ),
    "torch kl_div, softened": Case(
        "torch",
        lambda: losses.distillation(4.0),
        lambda F, z, t: 16 * F.kl_div(F.log_softmax(z / 4, dim=1), F.softmax(t / 4, dim=1), reduction="batchmean"),
        "teacher",
    ),
    "optax poly_loss_cross_entropy": Case(
        "optax", lambda: losses.poly1(2.0), lambda optax, z, y: optax.losses.poly_loss_cross_entropy(z, one_hot(y), epsilon=2.0).mean()
    ),
    "optax multiclass_hinge_loss": Case(
        "optax", losses.crammer_singer, lambda optax, z, y: optax.losses.multiclass_hinge_loss(z, y).mean()
    ),
    "optax multiclass_sparsemax_loss": Case(
        "optax", losses.sparsemax, lambda optax, z, y: optax.losses.multiclass_sparsemax_loss(z, y).mean()
    ),
    "optax sigmoid_focal_loss": Case(
        "optax",
        losses.sigmoid_focal,
        lambda optax, z, y: optax.sigmoid_focal_loss(z, y, alpha=0.25, gamma=2.0).sum(axis=1).mean(),
        "many",
    ),
    "torchvision sigmoid_focal_loss": Case(
        "torchvision",
        losses.sigmoid_focal,
        lambda ops, z, y: ops.sigmoid_focal_loss(z, y, alpha=0.25, gamma=2.0).sum(dim=1).mean(),
        "many",
    ),
    "entmax sparsemax_loss": Case("entmax", losses.sparsemax, lambda entmax, z, y: entmax.sparsemax_loss(z, y).mean()),
    "entmax entmax15_loss": Case("entmax", lambda: losses.entmax(1.5), lambda entmax, z, y: entmax.entmax15_loss(z, y).mean()),
    "entmax entmax_bisect_loss": Case(
        "entmax", lambda: losses.entmax(1.2), lambda entmax, z, y: entmax.entmax_bisect_loss(z, y, alpha=1.2, n_iter=60).mean()
    ),
    "optax softmax_cross_entropy_with_integer_labels": Case(
        "optax", cross_entropy, lambda optax, z, y: optax.softmax_cross_entropy_with_integer_labels(z, y).mean()
    ),
    "optax softmax_cross_entropy": Case(
        "optax", cross_entropy, lambda optax, z, q: optax.softmax_cross_entropy(z, q).mean(), "distributions"
    ),
    "optax sigmoid_binary_cross_entropy": Case(
        "optax",
        losses.binary_cross_entropy,
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


HEADS = {
    "pytorch-metric-learning NormalizedSoftmaxLoss": (lambda: losses.normface(20.0), lambda module: module.NormalizedSoftmaxLoss(C, 6)),
    "pytorch-metric-learning CosFaceLoss": (losses.cosface, lambda module: module.CosFaceLoss(C, 6)),
    "pytorch-metric-learning ArcFaceLoss": (losses.arcface, lambda module: module.ArcFaceLoss(C, 6, margin=np.degrees(0.5))),
    "pytorch-metric-learning SphereFaceLoss": (lambda: losses.a_softmax(4, 0.0), lambda module: module.SphereFaceLoss(C, 6)),
}


def vectors(seed=33):
    """Features (7, 6), class vectors (C, 6) and labels."""
    rng = np.random.default_rng(seed)
    return rng.normal(size=(7, 6)), rng.normal(size=(C, 6)), rng.integers(C, size=7)


def by_metric_learning(make, X, W, y):
    """Value and gradients by class vectors and features."""
    torch, module = pytest.importorskip("torch"), pytest.importorskip("pytorch_metric_learning.losses")
    loss, x = make(module), torch.tensor(X, requires_grad=True)
    loss.W.data = torch.tensor(W.T.copy())
    value = loss(x, torch.tensor(y))
    value.backward()
    return float(value.detach()), loss.W.grad.numpy().T, x.grad.numpy()


@pytest.mark.parametrize("name", HEADS)
def test_heads_of_cosines_agree(name):
    ours, theirs = HEADS[name]
    X, W, y = vectors()
    value, dW, _, dX = softgrad.linear_value_and_grad(X, y, W, loss=ours(), wrt_X=True)
    expected, theirs_dW, theirs_dX = by_metric_learning(theirs, X, W, y)
    assert value == pytest.approx(expected, rel=1e-12)
    assert np.allclose(dW, theirs_dW, rtol=0, atol=1e-12 * np.abs(dW).max())
    assert np.allclose(dX, theirs_dX, rtol=0, atol=1e-12 * np.abs(dX).max())


def test_scikit_learn_agrees():
    """The loss inside its LogisticRegression, which gives losses and gradients of rows; and its metrics."""
    from sklearn._loss.loss import HalfMultinomialLoss
    from sklearn.metrics import hinge_loss, log_loss

    z, targets = rows()
    y = targets["labels"]
    theirs, theirs_gradient = HalfMultinomialLoss(n_classes=C).loss_gradient(y_true=y.astype(float), raw_prediction=z)
    value, gradient = cross_entropy().value_and_grad(z, y, reduction="none")
    assert value == pytest.approx(theirs, rel=1e-12)
    assert np.allclose(gradient, theirs_gradient, rtol=0, atol=1e-13)
    assert log_loss(y, softgrad.softmax(z), labels=range(C)) == pytest.approx(value.mean(), rel=1e-12)
    assert hinge_loss(y, z, labels=range(C)) == pytest.approx(losses.crammer_singer()(z, y), rel=1e-12)


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


def test_entmax_is_nan_for_impossible_classes_that_no_target_wants():
    """The package's loss is NaN, though its probabilities and gradient are right (entmax#9)."""
    z, y = np.array([[1.0, 2.0, -np.inf]]), np.array([0])
    theirs, theirs_gradient = by_entmax(lambda entmax, x, t: entmax.entmax15_loss(x, t).mean(), z, y)
    value, gradient = losses.entmax(1.5).value_and_grad(z, y)
    assert np.isnan(theirs)
    assert value == pytest.approx(losses.entmax(1.5)(z[:, :2], y), rel=1e-14)
    assert gradient == pytest.approx(theirs_gradient, rel=1e-13)


def test_hinge_of_torch_divides_by_the_classes(torch):
    z, y = np.array([[3.2, 5.1, -1.7]]), np.array([0])
    theirs = by_torch(lambda F, x, t: F.multi_margin_loss(x, t), z, y)[0]
    assert losses.weston_watkins()(z, y) == pytest.approx(2.9, rel=1e-12)
    assert theirs == pytest.approx(2.9 / 3, rel=1e-12)


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


def test_arcface_of_metric_learning_takes_degrees():
    """A margin of 0.5 there is half a degree, nearly no margin at all; here angles are radians, as in the paper."""
    X, W, y = vectors()
    value = softgrad.linear_value_and_grad(X, y, W, loss=losses.arcface())[0]
    radians = by_metric_learning(lambda module: module.ArcFaceLoss(C, 6, margin=0.5), X, W, y)[0]
    none = softgrad.linear_value_and_grad(X, y, W, loss=losses.normface(64.0))[0]
    assert radians != pytest.approx(value, rel=0.1)
    assert radians == pytest.approx(none, rel=0.05)


def test_arcface_of_metric_learning_has_no_gradient_at_its_goal():
    """Features on their class vector: the derivative of acos is infinite there, and infinity times 0 is NaN.

    Here the sine cancels before anything is divided by it.
    """
    W = np.eye(C, 6)
    X, y = 2 * W, np.arange(C)
    value, dW, _, dX = softgrad.linear_value_and_grad(X, y, W, loss=losses.arcface(), wrt_X=True)
    expected, theirs_dW, theirs_dX = by_metric_learning(lambda module: module.ArcFaceLoss(C, 6), X, W, y)
    assert value == pytest.approx(expected, rel=1e-3)  # 28.6 degrees are not quite half a radian
    assert np.isnan(theirs_dX).any()
    assert np.isnan(theirs_dW).any()
    assert np.isfinite(dX).all()
    assert np.isfinite(dW).all()


def test_poly_loss_of_optax_reads_distributions_in_its_own_way():
    """Its added term is linear in the target, sum_j q_j (1 - p_j); a curve acts on the cross-entropy of the whole row."""
    z, targets = rows()
    q = targets["distributions"]
    theirs = by_optax(lambda optax, x, t: optax.losses.poly_loss_cross_entropy(x, t, epsilon=2.0).mean(), z, q)[0]
    ell = cross_entropy()(z, q, reduction="none")
    assert theirs == pytest.approx((ell + 2 * (q * (1 - softgrad.softmax(z))).sum(axis=1)).mean(), rel=1e-12)
    assert losses.poly1(2.0)(z, q) == pytest.approx((ell + 2 * (1 - np.exp(-ell))).mean(), rel=1e-12)


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
