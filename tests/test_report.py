"""The report: numbers against scikit-learn and by hand, pictures that are pictures and say what they should."""

import csv
import io
import struct
import subprocess
import sys

import numpy as np
import pytest
from sklearn import metrics

from softgrad.arrays import SoftgradError
from softgrad.report import pictures
from softgrad.report.confusion import Confusion, Pair, confusion

RNG = np.random.default_rng(5)


def size(png):
    """Width and height from the header of a PNG."""
    assert png[:8] == b"\x89PNG\r\n\x1a\n"
    assert png[-8:-4] == b"IEND"
    return struct.unpack(">II", png[16:24])


def pixels(png):
    from matplotlib.image import imread

    return imread(io.BytesIO(png))[..., :3]


def spread(K, rows=2000, right=0.7):
    y = RNG.integers(0, K, rows)
    return y, np.where(RNG.random(rows) < right, y, RNG.integers(0, K, rows))


@pytest.mark.parametrize("K", [2, 3, 10, 77])
def test_numbers_agree_with_scikit_learn(K):
    y, predicted = spread(K)
    table = confusion(y, predicted, [f"c{k}" for k in range(K)])
    labels = np.arange(K)
    np.testing.assert_array_equal(table.counts, metrics.confusion_matrix(y, predicted, labels=labels))
    assert table.accuracy == pytest.approx(metrics.accuracy_score(y, predicted), abs=1e-15)
    np.testing.assert_allclose(table.recall, metrics.recall_score(y, predicted, labels=labels, average=None), rtol=1e-15)
    np.testing.assert_allclose(table.precision, metrics.precision_score(y, predicted, labels=labels, average=None), rtol=1e-15)
    assert table.rows == len(y)


def test_worst_pairs_by_hand():
    table = Confusion(np.array([[5, 3, 0], [3, 1, 2], [0, 0, 9]]), ("a", "b", "c"))
    assert table.worst() == [
        Pair("b", "a", 3, 0.5),  # same count as a -> b, larger share
        Pair("a", "b", 3, 0.375),
        Pair("b", "c", 2, 1 / 3),
    ]
    assert table.worst(1) == [Pair("b", "a", 3, 0.5)]
    assert Confusion(np.eye(3, dtype=int), ("a", "b", "c")).worst() == []


def test_shares_of_nothing_are_nan_without_a_warning():
    table = confusion(np.array([0, 0]), np.array([0, 2]), "abc")
    np.testing.assert_array_equal(table.recall, [0.5, np.nan, np.nan])
    np.testing.assert_array_equal(table.precision, [1, np.nan, 0])
    assert np.isnan(confusion(np.array([], int), np.array([], int), "ab").accuracy)


def test_csv_comes_back():
    table = Confusion(np.array([[3, 1], [0, 4]]), ('a "quoted", name', "b"))
    head, *rows = csv.reader(io.StringIO(table.csv()))
    assert head[1:] == [row[0] for row in rows] == list(table.classes)
    np.testing.assert_array_equal([[int(cell) for cell in row[1:]] for row in rows], table.counts)


@pytest.mark.parametrize(
    ("y", "predicted", "words"),
    [
        ([0, 1], [0], r"shape \(N,\)"),
        ([0, 1], [0, 2], r"confusion\(predicted\): class numbers 0..1"),
        ([-1, 1], [0, 1], r"confusion\(y\)"),
        ([0.0, 1.0], [0, 1], "float64"),
    ],
)
def test_bad_numbers_are_told(y, predicted, words):
    with pytest.raises(SoftgradError, match=words):
        confusion(np.array(y), np.array(predicted), "ab")


@pytest.mark.parametrize("K", [1, 2, 10, 25, 77, 300])
def test_confusion_picture_at_every_size(K):
    y, predicted = spread(K)
    table = confusion(y, predicted, [f"class number {k}" for k in range(K)])
    width, height = size(pictures.confusion_matrix(table.counts, table.classes))
    assert 300 < width < 3200
    assert 300 < height < 3200


def test_confusion_picture_shades_by_row():
    """Ten times the rows of one class give the same shades: they tell shares, not counts."""

    def shades(counts):
        picture = (pixels(pictures.confusion_matrix(np.array(counts), ["", ""])) * 255).round().astype(int)
        colours, areas = np.unique(picture.reshape(-1, 3), axis=0, return_counts=True)
        return {tuple(colour) for colour in colours[areas > 0.03 * areas.sum()].tolist()}

    assert len(shades([[30, 10], [0, 40]])) == 5  # four cells and the paper
    assert shades([[30, 10], [0, 40]]) == shades([[300, 100], [0, 40]])
    assert shades([[30, 10], [0, 40]]) != shades([[35, 5], [0, 40]])


@pytest.mark.parametrize("values", [[2.3], [2.3, 2.3], [3.0, 2.0, 1.0], [1.0, 3.0, 0.5, 0.6], np.geomspace(1, 1e-12, 500)])
def test_loss_curve_of_any_length(values):
    width, height = size(pictures.loss_curve(values))
    assert width > height > 400


@pytest.mark.parametrize(("K", "shape"), [(2, (8, 8)), (3, (6, 12)), (10, (5, 5, 3)), (43, (12, 6)), (130, (4, 4))])
def test_templates_of_any_shape(K, shape):
    coef = RNG.normal(size=(K, int(np.prod(shape))))
    png = pictures.weight_templates(coef, [f"class {k}" for k in range(K)], lambda vector: vector.reshape(shape), scale=255)
    width, height = size(png)
    assert 400 < width < 2600
    assert 200 < height < 2600


def test_templates_have_one_symmetric_scale():
    """A class with weights of half the size is half as far from zero's gray, whatever its own extremes are."""
    coef = np.array([np.full(3, 1.0), np.full(3, -0.5), np.full(3, 0.0)])
    picture = pixels(pictures.weight_templates(coef, ["", "", ""], lambda vector: vector.reshape(1, 1, 3)))
    row = picture[int(picture.shape[0] * 0.45)]
    grays = row[(row.max(axis=1) - row.min(axis=1)) < 1e-6, 0]
    for gray in (0.25, 0.5):
        assert np.count_nonzero(np.abs(grays - gray) < 0.01) > 100
    assert np.count_nonzero(np.abs(grays - 0.0) < 0.01) == 0


def test_two_classes_are_shown_against_each_other():
    seen = []

    def image(vector):
        seen.append(vector)
        return vector.reshape(2, 2)

    pictures.weight_templates(np.array([[1.0, 2.0, 3.0, 4.0]]), ["no", "yes"], image)
    np.testing.assert_array_equal(seen, [[-0.5, -1, -1.5, -2], [0.5, 1, 1.5, 2]])


def test_templates_of_zero_weights():
    size(pictures.weight_templates(np.zeros((3, 4)), "abc", lambda vector: vector.reshape(2, 2)))


def test_names_that_look_like_formulas_or_break_lines():
    names = ["$x", "$y$", "a\nb", "_^{", "very long " * 20]
    size(pictures.confusion_matrix(np.eye(5, dtype=int), names, title="$5"))
    size(pictures.weight_templates(np.ones((5, 4)), names, lambda vector: vector.reshape(2, 2), title="100 $"))


def test_pictures_are_the_same_bytes_every_time():
    make = [
        lambda: pictures.loss_curve([2.0, 1.0, 0.5]),
        lambda: pictures.confusion_matrix(np.eye(3, dtype=int), "abc"),
        lambda: pictures.weight_templates(np.eye(4), "abcd", lambda vector: vector.reshape(2, 2)),
    ]
    for one in make:
        first = one()
        assert first == one()
        assert b"matplotlib" not in first.lower()


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: pictures.loss_curve([]), "one value per pass"),
        (lambda: pictures.confusion_matrix(np.eye(3), "ab"), r"shape \(K, K\)"),
        (lambda: pictures.weight_templates(np.eye(3), "ab", np.asarray), "one row per class"),
    ],
)
def test_pictures_of_wrong_sizes_are_told(call, words):
    with pytest.raises(SoftgradError, match=words):
        call()


def test_the_report_imports_matplotlib_only_when_it_draws():
    code = "import sys, softgrad.report.confusion, softgrad.report.pictures; assert 'matplotlib' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
    code = "import sys; from softgrad.report.pictures import *; loss_curve([1]); assert 'matplotlib.pyplot' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
