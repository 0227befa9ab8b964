"""What tests of the compiled kernels share: the module, every instruction set that runs here, cross-entropy as the kernels take a loss."""

from fractions import Fraction

import numpy as np
import pytest

native = pytest.importorskip("softgrad._native", reason="softgrad was built without its C++ kernels")

DTYPES = [np.float32, np.float64]


def supported_sets():
    first, found = native.isa(), []
    for isa in native.compiled():
        try:
            native.use(isa)
        except ValueError:
            continue
        found.append(isa)
    native.use(first)
    return found


@pytest.fixture(params=supported_sets())
def each_isa(request):
    before = native.isa()
    native.use(request.param)
    yield request.param
    native.use(before)


def formula(C, class_weight, temperature, smoothing):
    """Cross-entropy with its options, as the kernels take a loss."""
    w = np.ones(C) if class_weight is None else class_weight
    slope = Fraction(1) / Fraction(temperature)
    plain = class_weight is None and smoothing == 0
    return native.Formula(None if plain else w * (1 - smoothing), w * (smoothing / C) if smoothing else None, None, float(slope),
                          float(slope - Fraction(float(slope))), 0.0, "Identity", [])
