"""Diagnoses: every number against the same by hand, and what they are made to show."""

import struct

import numpy as np
import pytest
from family import MEMBERS

import softgrad
from softgrad import losses

CE = losses.cross_entropy()
RNG = np.random.default_rng(41)
Z, Y = 2 * RNG.normal(size=(200, 6)), RNG.integers(6, size=200)


def test_numbers_by_hand():
    found = softgrad.diagnose(CE, Z, Y, bound=0.5, max_norm=0.8)
    p = softgrad.softmax(Z)
    g = p - np.eye(6)[Y]
    norms = np.linalg.norm(g, axis=1)
    margins = np.array([z[y] - np.delete(z, y).max() for z, y in zip(Z, Y, strict=True)])
    assert found.norms == pytest.approx(norms, rel=1e-12)
    assert found.margins == pytest.approx(margins, rel=1e-12)
    assert found.saturated == pytest.approx(np.mean(norms < 0.5))
    assert found.saturation_margin == pytest.approx(margins[norms < 0.5].min())
    assert found.certain == pytest.approx(np.mean(1 - p[np.arange(200), Y] < 0.5))
    assert found.clipped == pytest.approx(np.mean(norms > 0.8))
    assert found.quantiles[0.5] == pytest.approx(np.median(norms))
    wrong = np.array([np.sort(np.delete(row, y))[::-1] / np.delete(row, y).sum() for row, y in zip(p, Y, strict=True)])
    assert found.dilution == pytest.approx(wrong.cumsum(axis=1).mean(axis=0), rel=1e-10)
    assert found.effective == pytest.approx(np.exp(-(wrong * np.log(wrong)).sum(axis=1)).mean(), rel=1e-10)
    assert found.calibration.accuracy == pytest.approx(np.mean(p.argmax(axis=1) == Y))


def test_calibration_of_known_confidences():
    """Two classes with the probabilities of the torchmetrics example: ECE .29 in two bins."""
    p1, y = np.array([0.25, 0.25, 0.55, 0.75, 0.75]), np.array([0, 0, 1, 1, 1])
    conf = np.maximum(p1, 1 - p1)
    found = softgrad.diagnose(CE, np.log(np.stack([1 - p1, p1], axis=1)), y, bins=2).calibration
    assert found.confidence == pytest.approx(conf.mean())
    assert found.ece == pytest.approx(np.abs(conf.mean() - 1), rel=1e-12)
    assert found.counts == pytest.approx([0, 1])


def test_confidence_of_one_is_in_the_last_bin_and_of_nearly_nothing_in_its_own():
    """The worst model has ECE 1, not 0; uniform rows of many classes lie in the first bin."""
    sure = softgrad.diagnose(CE, [[1000.0, 0.0], [1000.0, 0.0]], [1, 1]).calibration
    assert sure.ece == 1
    assert sure.counts.tolist() == [0.0] * 14 + [1.0]
    flat = softgrad.diagnose(CE, np.zeros((4, 30)), [0, 0, 0, 1]).calibration
    assert flat.counts[0] == 1
    assert flat.ece == pytest.approx(0.75 - 1 / 30)


def test_confident_and_wrong_is_seen():
    """Scores (20, 0), the second class true: the cross-entropy's gradient stays, the margin says what is wrong."""
    found = softgrad.diagnose(CE, [[20.0, 0.0], [0.0, 20.0]], [1, 1])
    assert found.saturated == 0.5
    assert found.saturated_wrong == 0
    assert found.saturation_margin == 20


def test_saturation_depends_on_margins_not_on_the_size_of_scores():
    near, far = (softgrad.diagnose(CE, Z + shift, Y, bound=0.3) for shift in (0.0, 1000.0))
    assert far.saturated == near.saturated > 0
    assert softgrad.diagnose(CE, 5 * Z, Y, bound=0.3).saturated > near.saturated


def test_dilution_tells_one_strong_class_from_many():
    strong = softgrad.diagnose(CE, [[0.0, 9.0, 0.0, 0.0, 0.0]], [0])
    even = softgrad.diagnose(CE, np.zeros((1, 5)), [0])
    assert strong.dilution[0] > 0.99
    assert strong.effective == pytest.approx(1, abs=0.02)
    assert even.dilution == pytest.approx([0.25, 0.5, 0.75, 1])
    assert even.effective == pytest.approx(4)


def test_weights_are_copies_and_rows_that_do_not_count_are_not_read():
    times = RNG.integers(0, 3, size=200).astype(float)
    z = np.where(times[:, None] == 0, np.nan, Z)
    a = softgrad.diagnose(CE, z, Y, sample_weight=times, bound=0.5)
    k = np.repeat(np.arange(200), times.astype(int))
    b = softgrad.diagnose(CE, Z[k], Y[k], bound=0.5)
    for name in ("saturated", "saturated_wrong", "certain", "clipped", "effective"):
        assert getattr(a, name) == pytest.approx(getattr(b, name)), name
    assert a.calibration.ece == pytest.approx(b.calibration.ece)
    assert a.dilution == pytest.approx(b.dilution)


@pytest.mark.parametrize("name", [name for name, member in MEMBERS.items() if member.reads != "many"])
def test_every_loss_of_the_family(name, tmp_path):
    member = MEMBERS[name]
    z, y, _, _ = member.rows(n=60)
    found = softgrad.diagnose(member.make(), z, y)
    assert str(found).startswith("saturation   ")
    assert all(len(line) < 140 for line in str(found).splitlines())
    assert np.isfinite(found.norms).all()


def test_the_picture(tmp_path):
    figure = softgrad.diagnose(CE, Z, Y).picture(tmp_path / "d.png")
    assert len(figure.axes) == 4
    assert all(axes.get_xlabel() and axes.get_ylabel() and axes.get_title(loc="left") for axes in figure.axes)
    data = (tmp_path / "d.png").read_bytes()
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    assert min(struct.unpack(">II", data[16:24])) > 800
    softgrad.diagnose(CE, Z, Y).picture(tmp_path / "same.png")
    assert (tmp_path / "same.png").read_bytes() == data


@pytest.mark.parametrize(
    ("loss", "scores", "targets", "options", "words"),
    [
        ("focal", Z, Y, {}, r"diagnose\(loss\)"),
        (losses.compose(losses.Sigmoid()), Z, Y, {}, "one class for each row"),
        (CE, Z[:, :1], 0 * Y, {}, "two classes"),
        (CE, Z, Y, {"sample_weight": np.zeros(200)}, "a row that counts"),
        (CE, Z, Y, {"bound": 0}, r"diagnose\(bound\)"),
        (CE, Z, Y, {"max_norm": -1}, r"diagnose\(max_norm\)"),
        (CE, Z, Y, {"bins": 0}, r"diagnose\(bins\)"),
        (CE, Z, Y[:5], {}, r"diagnose\(targets\)"),
    ],
)
def test_what_cannot_be_diagnosed(loss, scores, targets, options, words):
    with pytest.raises(softgrad.SoftgradError, match=words):
        softgrad.diagnose(loss, scores, targets, **options)
