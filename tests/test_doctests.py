"""The examples in docstrings run, and every public name has one."""

from __future__ import annotations

import doctest
import importlib
import inspect
import pkgutil

import pytest

import softgrad

OPTIONS = doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS
MODULES = sorted(m.name for m in pkgutil.walk_packages(softgrad.__path__, "softgrad.") if not m.name.endswith(("__main__", "_native")))
PUBLIC = {
    "softgrad": [
        *("softmax", "log_softmax", "logsumexp", "softmax_jacobian", "linear_value_and_grad", "SoftmaxClassifier", "load"),
        *("explain", "check_gradient", "diagnose"),
    ],
    "softgrad.losses": [name for name in softgrad.losses.__all__ if name not in ("Loss", "SampledGradient")],
    "softgrad.pictures": [
        *("loss_against_margin", "gradient_against_margin", "probabilities_against_temperature", "regularisation"),
        *("softmax_against_hinge", "squared_error_against_cross_entropy", "decision_regions"),
    ],
    "softgrad.reference": ["softmax_loss_naive", "softmax_loss_vectorized"],
    "softgrad.data": ["load", "stream", "unlabelled", "Dataset"],
}  # fmt: skip


@pytest.mark.parametrize("name", MODULES)
def test_examples_run(name):
    assert doctest.testmod(importlib.import_module(name), optionflags=OPTIONS).failed == 0


@pytest.mark.parametrize(("room", "name"), [(room, name) for room, names in PUBLIC.items() for name in names])
def test_public_names_show_how_they_are_used(room, name):
    text = inspect.getdoc(getattr(softgrad if room == "softgrad" else getattr(softgrad, room.removeprefix("softgrad.")), name))
    assert text is not None
    assert ">>> " in text


def test_the_front_door_names_what_it_has():
    assert all(getattr(softgrad, name) is not None for name in softgrad.__all__)
    assert set(softgrad.__all__) <= set(dir(softgrad))
    with pytest.raises(AttributeError, match="no attribute 'sofmax'"):
        softgrad.sofmax  # noqa: B018
