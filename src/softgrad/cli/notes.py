"""What a fit notes down about itself: its data, its options, how it ended. Numbers of the scaled features, as the user gave them."""

from __future__ import annotations

import math
from typing import Any

from softgrad.cli.parser import Arguments


def facts(arguments: Arguments, dataset: Any, scale: float) -> dict[str, Any]:
    """Data and options that every fit has."""
    return {
        "source": arguments.source,
        "rows": len(dataset.y),
        "test_rows": len(dataset.y_test),
        "own_test": dataset.own_test,
        "features": dataset.n_features,
        "label": dataset.label_name,
        "classes": list(dataset.classes),
        "scale": scale,
        "tol": arguments.tol,
        "fit_intercept": not arguments.no_intercept,
        "class_weight": arguments.class_weight,
        "label_smoothing": arguments.label_smoothing,
        "temperature": arguments.temperature,
        "seed": arguments.seed,
        "test_size": None if dataset.own_test else arguments.test_size,
    }


def outcome(result: Any, scale: float) -> dict[str, Any]:
    """How a solver ended; the gradient is that of the scaled features."""
    return {
        "passes": int(result.passes),
        "seconds": float(result.seconds),
        "loss": float(result.value),
        "gradient_norm": float(result.gradient_norm) / scale,
        "status": result.status.name.lower(),
        "converged": bool(result.status.converged),
        "advice": "" if result.status.converged else str(result.advice),
    }


def description(arguments: Arguments, dataset: Any, scale: float, C: float) -> dict[str, Any]:
    """What `predict` and `evaluate` have to know beside the weights, without paths of the user's machine."""
    return {
        "class_names": list(dataset.classes),
        "image_shape": list(dataset.image_shape) if dataset.image_shape else None,
        "source": dataset.name,
        "own_test": dataset.own_test,
        "unit": dataset.unit,
        "scale": scale,
        "C_on_scaled_features": C if math.isfinite(C) else "inf",
        "label": arguments.label,
        "label_name": dataset.label_name,
        "feature_names": dataset.feature_names,
        "test_size": arguments.test_size,
        "seed": arguments.seed,
    }
