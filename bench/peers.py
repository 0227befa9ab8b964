"""The peers, called as their users call them. Imported when a work asks for them, never before softgrad's own import is timed."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np

from bench.timing import THREADS, Side


def torch_module() -> Any:
    """Torch, on THREADS threads."""
    import torch  # pyright: ignore[reportMissingImports] - a peer, not a dependency

    torch.set_num_threads(THREADS)
    return torch


def sklearn_head(X: Any, y: np.ndarray, coef: np.ndarray, l2: float) -> Side:
    """Scikit-learn's loss and gradient exactly as its LogisticRegression hands them to L-BFGS.

    That is: coefficients float64 in one vector, the classes of one feature side by side, labels in the type of X, n_threads=1 (the matrix
    products use all threads of the BLAS).
    """
    from sklearn._loss.loss import HalfMultinomialLoss
    from sklearn.linear_model._linear_loss import LinearModelLoss

    C = len(coef)
    loss = LinearModelLoss(base_loss=HalfMultinomialLoss(n_classes=C), fit_intercept=True)
    theta = np.hstack([coef, np.zeros((C, 1), coef.dtype)]).astype(np.float64).ravel(order="F")
    labels = y.astype(X.dtype)

    def read(result: tuple[float, np.ndarray]) -> tuple[float, np.ndarray]:
        return result[0], result[1].reshape((C, -1), order="F")[:, :-1]

    return Side(lambda: loss.loss_gradient(theta, X, labels, None, l2, 1), read)


def torch_head(X: np.ndarray, y: np.ndarray, coef: np.ndarray) -> Side:
    """Forward and backward of F.cross_entropy(X @ W)."""
    torch = torch_module()
    rows, labels = torch.from_numpy(X), torch.from_numpy(y)
    W = torch.from_numpy(np.ascontiguousarray(coef.T)).requires_grad_()

    def call() -> Any:
        loss = torch.nn.functional.cross_entropy(rows @ W, labels)
        loss.backward()
        return loss

    def before() -> None:
        W.grad = None

    return Side(call, lambda loss: (float(loss.detach()), W.grad.numpy().T), before)


Criterion = Callable[[Any, Any], Any]


def torch_cross_entropy(weight: np.ndarray | None = None, smoothing: float = 0.0) -> Criterion:
    """F.cross_entropy with its options."""
    torch = torch_module()
    w = None if weight is None else torch.from_numpy(weight.astype(np.float32))
    return lambda z, y: torch.nn.functional.cross_entropy(z, y, weight=w, label_smoothing=smoothing)


def torch_focal(gamma: float) -> Criterion:
    """Softmax focal loss the way it is written most: torch has none, torchvision's is for binary labels."""
    torch = torch_module()

    def criterion(z: Any, y: Any) -> Any:
        ce = torch.nn.functional.cross_entropy(z, y, reduction="none")
        return ((1 - torch.exp(-ce)) ** gamma * ce).mean()

    return criterion


def torch_arcface(s: float, m: float) -> Criterion:
    """The margin on the label's cosines alone, put back among the others; no branch for angles near pi."""
    torch = torch_module()

    def criterion(z: Any, y: Any) -> Any:
        at = y[:, None]
        moved = torch.cos(torch.acos(z.gather(1, at)) + m)
        return torch.nn.functional.cross_entropy(s * z.scatter(1, at, moved), y)

    return criterion


def torch_scores(Z: np.ndarray, y: np.ndarray) -> Side:
    """Forward and backward of F.cross_entropy on scores."""
    return torch_loss(Z, y, torch_cross_entropy())


def torch_loss(Z: np.ndarray, y: np.ndarray, criterion: Criterion) -> Side:
    """Forward and backward of a loss on scores."""
    torch = torch_module()
    scores, labels = torch.from_numpy(Z).requires_grad_(), torch.from_numpy(y)

    def call() -> Any:
        loss = criterion(scores, labels)
        loss.backward()
        return loss

    def before() -> None:
        scores.grad = None

    return Side(call, lambda loss: (float(loss.detach()), scores.grad.numpy()), before)


def entmax_scores(Z: np.ndarray, y: np.ndarray) -> Side:
    """Forward and backward of Entmax15Loss of the entmax package on scores."""
    from entmax import Entmax15Loss  # pyright: ignore[reportMissingImports] - a peer, not a dependency

    torch = torch_module()
    scores, labels = torch.from_numpy(Z).requires_grad_(), torch.from_numpy(y)
    criterion = Entmax15Loss(reduction="elementwise_mean")

    def call() -> Any:
        loss = criterion(scores, labels)
        loss.backward()
        return loss

    def before() -> None:
        scores.grad = None

    return Side(call, lambda loss: (float(loss.detach()), scores.grad.numpy()), before)


def sklearn_fit(X: Any, y: np.ndarray, C: float, max_iter: int) -> Any:
    """LogisticRegression (lbfgs), stopped by max_iter alone."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return LogisticRegression(C=C, tol=1e-14, max_iter=max_iter).fit(X, y)
