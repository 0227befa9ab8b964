"""scikit-learn's own digits: 1,797 real handwritten digits of 8 x 8 pixels, always at hand, no file needed."""

from __future__ import annotations

import numpy as np

from softgrad.arrays import SoftgradError
from softgrad.data.reading import Parts


def read_digits() -> Parts:
    """Digits as uint8 (1797, 64) with grey levels 0..16; raises SoftgradError where scikit-learn is not installed.

    Reference: E. Alpaydin, C. Kaynak, Optical recognition of handwritten digits, UCI 1998, doi 10.24432/C50P49.
    """
    try:
        from sklearn.datasets import load_digits
    except ImportError as error:
        raise SoftgradError(
            "load('digits'): the digits come with scikit-learn, which is not installed; pip install scikit-learn"
        ) from error
    bunch = load_digits()
    return Parts("digits", bunch.data.astype(np.uint8), bunch.target, image_shape=(8, 8))  # type: ignore[attr-defined]
