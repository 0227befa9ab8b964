"""Diagnoses: every number against the same by hand, and what they are made to show."""

import struct

import numpy as np
import pytest
from family import CASES, MEMBERS

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


@pytest.mark.parametrize(("name", "kind"), CASES)
def test_every_loss_of_the_family(name, kind):
    member = MEMBERS[name]
    z, y, _, _ = member.rows(kind, n=60)
    found = softgrad.diagnose(member.make(), z, y)
    assert str(found).startswith("saturation   ")
    assert all(len(line) < 140 for line in str(found).splitlines())
    assert np.isfinite(found.norms).all()


YES = RNG.uniform(size=(200, 6)) < 0.3


@pytest.mark.parametrize("loss", [losses.binary_cross_entropy(), losses.asymmetric(), losses.zlpr()], ids=["sigmoid", "asymmetric", "zlpr"])
def test_yes_or_no_by_hand(loss):
    w = RNG.uniform(0.2, 2, 200)
    found = softgrad.diagnose(loss, Z, YES, sample_weight=w, bound=0.3, bins=4)
    w = w / w.sum()
    g, p = loss.value_and_grad(Z, YES, reduction="none")[1], 1 / (1 + np.exp(-Z))
    norms, right = np.linalg.norm(g, axis=1), ((Z > 0) == YES).all(axis=1)
    assert found.norms == pytest.approx(norms, rel=1e-12)
    assert found.saturated == pytest.approx(w[norms < 0.3].sum())
    assert found.saturated_wrong == pytest.approx(w[(norms < 0.3) & ~right].sum())
    assert (found.right == right).all()
    assert found.margins == pytest.approx([min(z if yes else -z for z, yes in zip(*row, strict=True)) for row in zip(Z, YES, strict=True)])
    doubt = np.where(YES, 1 - p, p).max(axis=1)
    assert found.certain == pytest.approx(w[doubt < 0.3].sum())
    absent = [np.sort(np.abs(row[~yes]))[::-1] for row, yes in zip(g, YES, strict=True)]
    pulled = [k for k, row in enumerate(absent) if row.sum() > 0]
    strongest = sum(w[k] * absent[k][0] / absent[k].sum() for k in pulled) / w[pulled].sum()
    assert found.dilution[0] == pytest.approx(strongest, rel=1e-10)
    assert found.dilution[-1] == pytest.approx(1)
    shares = [row.sum() / np.abs(g[k]).sum() for k, row in enumerate(absent)]
    assert found.absences == pytest.approx(w @ shares, rel=1e-10)
    cells = np.repeat(w / 6, 6).reshape(200, 6)
    ece = sum(abs((cells * (YES - p))[(p >= b / 4) & (p < (b + 1) / 4)].sum()) for b in range(4))
    assert found.calibration.ece == pytest.approx(ece, rel=1e-10)
    assert found.calibration.accuracy == pytest.approx((cells * YES).sum())
    assert "absent classes" in str(found)


def test_one_label_by_itself_and_a_class_number_are_yes_or_no():
    loss = losses.binary_cross_entropy()
    one = softgrad.diagnose(loss, Z[:, :1], YES[:, :1])
    assert one.calibration.accuracy == pytest.approx(YES[:, 0].mean())
    assert one.classes == 1
    named, told = softgrad.diagnose(loss, Z, Y), softgrad.diagnose(loss, Z, np.eye(6)[Y])
    assert str(named) == str(told)


def test_all_absent_rows_and_rows_without_a_gradient():
    """Absences below the clip cost nothing: no dilution to tell of, and nothing divided by 0."""
    found = softgrad.diagnose(losses.asymmetric(), np.full((3, 4), -9.0), np.zeros((3, 4)))
    assert found.saturated == 1
    assert np.isnan(found.effective)
    assert np.isnan(found.absences)
    assert len(str(found).splitlines()) == 4


def test_the_picture_of_yes_or_no(tmp_path):
    figure = softgrad.diagnose(losses.zlpr(), Z, YES).picture(tmp_path / "d.png")
    assert [axes.get_xlabel() for axes in figure.axes][1:3] == ["strongest absent classes counted", "probability of yes"]
    softgrad.diagnose(losses.asymmetric(), np.full((3, 4), -9.0), np.zeros((3, 4))).picture()


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
