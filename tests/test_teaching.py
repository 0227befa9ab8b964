"""Pictures that teach: what they draw is what the losses say; labelled, legible, the same bytes every time."""

import struct

import numpy as np
import pytest

import softgrad
from softgrad import losses, paper, pictures
from softgrad.pictures import margins

RNG = np.random.default_rng(51)
X = np.concatenate([RNG.normal(size=(30, 2)), RNG.normal(size=(30, 2)) + 3])
Y = np.repeat(["low", "high"], 30)


@pytest.fixture(scope="module")
def clf():
    return softgrad.SoftmaxClassifier().fit(X, Y)


CALLS = {
    "losses": lambda clf, path: pictures.loss_against_margin(path=path),
    "gradients": lambda clf, path: pictures.gradient_against_margin(path=path),
    "temperature": lambda clf, path: pictures.probabilities_against_temperature(path=path),
    "regularisation": lambda clf, path: pictures.regularisation(Cs=[1e-5, 1e-3], path=path),
    "hinge": lambda clf, path: pictures.softmax_against_hinge(path=path),
    "squared": lambda clf, path: pictures.squared_error_against_cross_entropy(path=path),
    "regions": lambda clf, path: pictures.decision_regions(clf, X, Y, path=path),
}


def lines(axes):
    """Lines by the name of their label."""
    return {" ".join(line.get_label().split()): np.array(line.get_data()) for line in axes.lines if not line.get_label().startswith("_")}


@pytest.mark.parametrize("name", CALLS)
def test_every_picture_is_told_and_stays_the_same(name, clf, tmp_path):
    figure = CALLS[name](clf, tmp_path / "a.png")
    CALLS[name](clf, tmp_path / "b.png")
    data = (tmp_path / "a.png").read_bytes()
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    assert data == (tmp_path / "b.png").read_bytes()
    width, height = struct.unpack(">II", data[16:24])
    assert 700 < width < 2400
    assert height > 500
    assert figure.get_suptitle()
    assert all(axes.get_ylabel() for axes in figure.axes)


def test_the_whole_family_is_drawn():
    """Each part with default numbers that changes cross-entropy to be seen, by its kind; -log p among them, as it is."""
    panels = margins.family()
    assert all(panels.values())
    figure = pictures.loss_against_margin()
    assert [axes.get_title(loc="left") for axes in figure.axes] == list(panels)
    for axes, drawn in zip(figure.axes, panels.values(), strict=True):
        found = lines(axes)
        assert set(found) == {*drawn, "cross-entropy"}
        m, value = found["cross-entropy"]
        assert value == pytest.approx(np.log1p(np.exp(-m)), rel=1e-12)


def test_losses_of_ones_own_and_their_pull():
    mine = {"smoothed": losses.cross_entropy(label_smoothing=0.1), "cold": losses.cross_entropy(temperature=0.5)}
    (axes,) = pictures.loss_against_margin(mine).axes
    m, value = lines(axes)["cold"]
    assert value == pytest.approx(np.log1p(np.exp(-2 * m)), rel=1e-10)
    (pulled,) = pictures.gradient_against_margin(mine).axes
    for name in mine:
        m, value = lines(axes)[name]
        _, pull = lines(pulled)[name]
        assert pull[1:-1] == pytest.approx(-np.gradient(value, m)[1:-1], abs=1e-3), name


def test_temperature_draws_the_articles_numbers():
    figure = pictures.probabilities_against_temperature()
    shown = [float(text.get_text()) for text in figure.axes[1].texts]
    shown = np.array(shown).reshape(3, 3).T
    assert shown == pytest.approx(np.array([[0.0159, 0.1173, 0.8668], [0.0900, 0.2447, 0.6652], [0.1863, 0.3072, 0.5065]]), abs=6e-4)


def test_regularisation_draws_the_articles_numbers():
    figure = pictures.regularisation(Cs=[1e-6, 1e-4, 1e-2])
    shown = np.array([float(text.get_text()) for text in figure.axes[0].texts]).reshape(3, 3)
    assert shown[:, :2] == pytest.approx(np.array([[0.7, 0.55], [0.04, 0.12], [0.26, 0.33]]), abs=7e-3)
    confidence = lines(figure.axes[1])["confidence"][1]
    assert (np.diff(confidence) > 0).all()


def test_hinge_and_softmax_at_the_two_samples():
    figure = pictures.softmax_against_hinge()
    found = lines(figure.axes[0])
    for s, softmax in ((-10, 0.0), (9, 0.5514)):
        k = int(np.argmin(np.abs(found["hinge"][0] - s)))
        assert found["hinge"][1][k] == 0
        assert found["softmax"][1][k] == pytest.approx(softmax, abs=1e-4)
    assert "hinge 0, softmax 0.55" in figure.axes[0].texts[1].get_text()


def test_squared_error_stays_where_it_is():
    learned = lines(pictures.squared_error_against_cross_entropy().axes[2])
    assert learned["cross-entropy"][1][-1] < 0.05
    assert learned["squared error"][1][-1] > 0.99
    gradients = lines(pictures.squared_error_against_cross_entropy().axes[1])
    z, g = gradients["squared error"]
    assert g == pytest.approx(np.gradient(lines(pictures.squared_error_against_cross_entropy().axes[0])["squared error"][1], z), abs=2e-3)


def test_regions_are_those_that_are_predicted(clf):
    """The picture's colour at each place is that of the class predicted there."""
    figure = pictures.decision_regions(clf, X, Y)
    image = figure.axes[0].images[0]
    x0, x1, y0, y1 = image.get_extent()
    shades = np.asarray(image.get_array())
    for at in X[::7]:
        row, column = int((at[1] - y0) / (y1 - y0) * (shades.shape[0] - 1)), int((at[0] - x0) / (x1 - x0) * (shades.shape[1] - 1))
        nearest = np.array([x0 + column * (x1 - x0) / (shades.shape[1] - 1), y0 + row * (y1 - y0) / (shades.shape[0] - 1)])
        red, _, blue = shades[row, column]
        assert (blue > red) == (clf.predict(nearest[None])[0] == clf.classes_[0])
    assert f"{clf.score(X, Y):.1%}" in figure.get_suptitle()


def test_regions_of_classifiers_without_probabilities():
    class Half:
        classes_ = np.array([3, 5, 9])

        def predict(self, points):
            return np.where(points[:, 0] > 1, 9, 3)

    figure = pictures.decision_regions(Half(), X, np.where(X[:, 0] > 1, 9, 3))
    assert "100.0%" in figure.get_suptitle()


def test_names_beside_lines_do_not_touch():
    figure = paper.sheet(5, 4)
    axes = figure.subplots()
    axes.set_ylim(0, 1)
    paper.name_lines(axes, list("abcde"), [0.5, 0.5, 0.51, 0.0, 1.0])
    places = sorted(text.xyann[1] for text in axes.texts)
    assert min(np.diff(places)) > 0.06
    assert places[0] >= 0
    assert places[-1] <= 1


def test_other_kinds_of_files(tmp_path):
    for kind in ("svg", "pdf"):
        pictures.probabilities_against_temperature([0.0, 1.0], path=tmp_path / f"a.{kind}")
        assert (tmp_path / f"a.{kind}").stat().st_size > 1000


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: pictures.loss_against_margin({"mine": 3}), "losses of softgrad"),
        (lambda: pictures.probabilities_against_temperature([[1, 2]]), "one row"),
        (lambda: pictures.probabilities_against_temperature([1.0, np.nan]), "one row"),
        (lambda: pictures.probabilities_against_temperature(temperatures=[0]), "temperatures"),
        (lambda: pictures.squared_error_against_cross_entropy(rate=0), "rate"),
        (lambda: pictures.decision_regions(None, X[:, :1], Y), "two features"),
        (lambda: pictures.decision_regions(None, X, Y[:3]), "one label"),
    ],
)
def test_what_cannot_be_drawn(call, words):
    with pytest.raises(softgrad.SoftgradError, match=words):
        call()
