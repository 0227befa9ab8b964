"""What every reader ends in: labelled rows, their test split and the names of their classes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from softgrad.arrays import SoftgradError


@dataclass(frozen=True, eq=False, repr=False)
class Dataset:
    """Labelled rows with a test split, X left in the type it is stored in.

    Shapes: X (N, D) and X_test (M, D), C-contiguous arrays or scipy csr_array; y (N,) and y_test (M,), int64 class
    numbers 0..K-1; classes, K names. `own_test` is True where the set came with its test split. `image_shape` is (H, W)
    or (H, W, 3) where rows are pictures, else None, and `layout` says how a row holds its pixels: "rows" (H, W[, 3]),
    "planes" (3, H, W) or "columns" (W, H). Of a table with a header `feature_names` are the columns of X and `label_name` is the labels'.

    >>> import numpy as np
    >>> X, y = np.zeros((4, 12), np.uint8), np.array([0, 1, 0, 1])
    >>> data = Dataset("tiny", X, y, X[:2], y[:2], ("cat", "dog"), image_shape=(2, 2, 3), layout="planes")
    >>> data
    Dataset('tiny': 4 + 2 rows, 12 features, 2 classes)
    >>> data.image(np.arange(12))[0, 1].tolist()  # R, G, B of the upper right pixel
    [1, 5, 9]
    """

    name: str
    X: Any  # ndarray or csr_array; a union would force a cast on every dense caller
    y: np.ndarray
    X_test: Any
    y_test: np.ndarray
    classes: tuple[str, ...]
    own_test: bool = True
    image_shape: tuple[int, ...] | None = None
    layout: str = "rows"
    feature_names: tuple[str, ...] | None = None
    label_name: str | None = None

    @property
    def n_features(self) -> int:
        """Columns of X."""
        return self.X.shape[1]

    @property
    def n_classes(self) -> int:
        """Classes of training and test rows together."""
        return len(self.classes)

    @property
    def unit(self) -> float:
        """What features are usually divided by: 255 for pictures in bytes, else 1. Digits count to 16 and stay as they are."""
        bytes_of_pictures = self.image_shape is not None and self.X.dtype == np.uint8 and self.name != "digits"
        return 255.0 if bytes_of_pictures else 1.0

    def image(self, row_vector: Any) -> np.ndarray:
        """Picture (H, W) or (H, W, 3) of any vector (D,) laid out as a row: a row, a weight template, a gradient.

        Raises SoftgradError where the set has no pictures or the vector has another size than D.

        >>> import numpy as np
        >>> X, y = np.zeros((2, 6)), np.arange(2)
        >>> data = Dataset("tiny", X, y, X, y, ("a", "b"), image_shape=(2, 3))
        >>> data.image([0, 1, 2, 3, 4, 5]).tolist()
        [[0, 1, 2], [3, 4, 5]]
        """
        if self.image_shape is None:
            raise SoftgradError(
                f"Dataset({self.name!r}).image(row_vector): the rows must be pictures, found a set with "
                "image_shape=None; use a set of images, or reshape the row yourself"
            )
        vector = np.asarray(row_vector)
        if vector.size != self.n_features or vector.ndim > 2 or vector.size not in vector.shape:
            raise SoftgradError(
                f"Dataset({self.name!r}).image(row_vector): the vector must have {self.n_features} values, found shape "
                f"{vector.shape}; pass one row of X or of coef without the intercept"
            )
        if self.layout == "rows":
            return vector.reshape(self.image_shape)
        if self.layout == "planes":
            height, width, *channels = self.image_shape
            return vector.reshape(*channels, height, width).transpose(1, 2, 0)
        return vector.reshape(self.image_shape[::-1]).T

    def __repr__(self) -> str:
        """Name and sizes on one line; the arrays themselves would drown them."""
        return (
            f"Dataset({self.name!r}: {self.X.shape[0]} + {self.X_test.shape[0]} rows, {self.n_features} features, {self.n_classes} classes)"
        )
