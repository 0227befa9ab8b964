"""Explanations: the articles' numbers, every loss of the family, text that fits a terminal, the command."""

import json

import numpy as np
import pytest
from command import done, refused
from family import CASES, MEMBERS

import softgrad
from softgrad import losses
from softgrad.cli.explain import loss_of
from softgrad.explanation import WIDTH


def test_the_worked_example():
    """Article C, to its digits."""
    told = softgrad.explain([1, 2, 3], 1)
    assert told.exponentials == pytest.approx([2.718, 7.389, 20.085], abs=1e-3)
    assert told.sum == pytest.approx(30.1929, abs=5e-5)
    assert told.probabilities == pytest.approx([0.090, 0.245, 0.665], abs=5e-4)
    assert told.value == told.ell == pytest.approx(1.4076, abs=5e-5)
    assert told.dl_dp == pytest.approx([0, -4.0862, 0], abs=5e-5)
    assert np.diag(told.jacobian) == pytest.approx([0.0819, 0.185, 0.223], abs=5e-4)
    assert told.jacobian[[0, 0, 1], [1, 2, 2]] == pytest.approx([-0.02205, -0.05985, -0.163], abs=2e-4)
    assert told.gradient == pytest.approx([0.090, -0.755, 0.665], abs=5e-4)
    assert told.chain == pytest.approx(told.gradient, rel=1e-13)
    assert told.largest_difference < 1e-11
    for printed in ("30.1929", "1.4076", "-4.0862", "0.1848", "-0.7553"):
        assert printed in str(told)


@pytest.mark.parametrize(("label", "loss"), [(1, 0.1755), (0, 5.1755)])
def test_the_small_example(label, loss):
    """Article D's scores."""
    told = softgrad.explain([-3, 2, -1, 0], label)
    assert told.probabilities == pytest.approx([0.0057, 0.8390, 0.0418, 0.1135], abs=5e-5)
    assert told.value == pytest.approx(loss, abs=5e-5)


@pytest.mark.parametrize(("T", "p"), [(1, [0.0900, 0.2447, 0.6652]), (2, [0.1863, 0.3072, 0.5065]), (0.5, [0.0159, 0.1173, 0.8668])])
def test_temperature(T, p):
    told = softgrad.explain([1, 2, 3], 2, temperature=T)
    assert told.probabilities == pytest.approx(p, abs=5e-5)
    assert told.gradient == pytest.approx((told.probabilities - [0, 0, 1]) / T, rel=1e-12)


def test_large_scores_show_the_largest_subtracted():
    told = softgrad.explain([123, 456, 789], 1)
    assert np.isinf(told.sum)
    assert told.stable_exponentials.tolist() == [np.exp(-666.0), np.exp(-333.0), 1]
    assert told.stable_sum == 1
    assert told.chain == pytest.approx(told.gradient, rel=1e-12)
    assert "exp overflows" in str(told)
    assert "exp overflows" not in str(softgrad.explain([1, 2, 3], 1))


def test_a_probability_that_underflows_breaks_the_chain_but_not_the_gradient():
    told = softgrad.explain([0, 1000], 0)
    assert told.dl_dp[0] == -np.inf
    assert told.chain is None
    assert told.gradient.tolist() == [-1, 1]
    assert "0 times infinity" in str(told)
    assert json.loads(json.dumps(told.numbers()))["gradient"] == [-1, 1]


@pytest.mark.parametrize(("name", "kind"), CASES)
def test_every_loss_of_the_family(name, kind):
    member = MEMBERS[name]
    loss, (z, y, _, _) = member.make(), member.rows(kind)
    for k in range(3):
        told = softgrad.explain(z[k], y[k], loss=loss)
        value, g = loss.value_and_grad(z[k : k + 1], y[k : k + 1], reduction="sum")
        assert told.value == value
        assert np.array_equal(told.gradient, g[0])
        assert told.largest_difference < 1e-10 * max(1, np.abs(g).max())
        if told.chain is not None:
            assert told.chain == pytest.approx(told.dl_du, rel=1e-10, abs=1e-14)
        text = str(told)
        assert max(map(len, text.splitlines())) <= WIDTH
        for phi in loss.scores:
            assert type(phi).__name__ in text
        assert json.loads(json.dumps(told.numbers()))["value"] == value


def test_text_of_many_classes_fits_and_keeps_the_label():
    z = np.random.default_rng(3).normal(size=1000)
    told = softgrad.explain(z, 417)
    text = str(told)
    assert max(map(len, text.splitlines())) <= WIDTH
    assert "of 1000)" in text
    assert " 417 " in text
    assert len(text.splitlines()) < 80


def test_class_weights_stay_in_the_loss_of_one_row():
    told = softgrad.explain([1, 2, 3], 1, loss=losses.cross_entropy(class_weight=[1, 3, 1]))
    assert told.value == pytest.approx(3 * softgrad.explain([1, 2, 3], 1).value, rel=1e-14)
    assert told.target.tolist() == [0, 3, 0]


@pytest.mark.parametrize(
    ("scores", "label", "options", "words"),
    [
        ([[1, 2]], 0, {}, r"explain\(scores\): must be one row"),
        ([1, np.nan], 0, {}, "no NaN"),
        ([1, 2], 2, {}, r"explain\(label\)"),
        ([1, 2], 0, {"temperature": 0}, r"explain\(temperature\)"),
        ([1, 2], 0, {"loss": "focal"}, r"explain\(loss\)"),
        ([1, 2], -1, {"loss": losses.cross_entropy(ignore_index=-1)}, "that counts"),
    ],
)
def test_what_cannot_be_explained(scores, label, options, words):
    with pytest.raises(softgrad.SoftgradError, match=words):
        softgrad.explain(scores, label, **options)


# ---- the command ----------------------------------------------------------------------------------------------------


def test_command_prints_the_same():
    assert done("explain", "--scores", "1,2,3", "--label", 1) == f"{softgrad.explain([1, 2, 3], 1)}\n"
    told = json.loads(done("explain", "--scores", "-3,2,-1,0", "--label", 0, "--temperature", 2, "--json"))
    assert told == json.loads(json.dumps(softgrad.explain([-3, 2, -1, 0], 0, temperature=2).numbers()))


def test_command_composes_losses():
    assert loss_of([]) == losses.cross_entropy()
    assert loss_of(["smoothed:0.1", "temperature:T=3"]) == losses.cross_entropy(label_smoothing=0.1, temperature=3)
    assert loss_of(["weights:class_weight=1/2.5/1"]) == losses.cross_entropy(class_weight=[1, 2.5, 1])
    told = done("explain", "--scores", "1,2,3", "--label", "1,0,1", "--loss", "sigmoid")
    assert "2.4888" in told


@pytest.mark.parametrize(("word", "loss"), [
    ("arcface", losses.arcface()),
    ("ArcFace:30,m=0.4", losses.arcface(30, 0.4)),
    ("cross-entropy:label_smoothing=0.1", losses.cross_entropy(0.1)),
    ("focal", losses.focal()),
    ("focal:3,temperature=2", losses.focal(3, temperature=2)),
    ("logit_adjusted:counts=90/9/1,tau=2", losses.logit_adjusted([90, 9, 1], 2)),
    ("sparsemax:ignore_index=-1", losses.sparsemax(ignore_index=-1)),
    ("binary_cross_entropy", losses.binary_cross_entropy()),
    ("weston-watkins:2", losses.weston_watkins(2)),
])  # fmt: skip
def test_command_knows_losses_by_name(word, loss):
    assert loss_of([word]) == loss


def test_every_named_loss_explains_a_row():
    """Of cosines where it asks for them, counts where it needs them."""
    needs = {"logit_adjusted": ":90/9/1", "balanced_softmax": ":90/9/1", "ldam": ":90/9/1", "l2_softmax": ":8", "normface": ":8"}
    named = [name for name in losses.__all__ if getattr(getattr(losses, name), "__annotations__", {}).get("return") == "Loss"]
    for name in set(named) - {"compose"}:
        word = name + (":1,0.2,0.1" if name == "combined_margin" else needs.get(name, ""))
        label = "0.1,0.5,0.2" if name == "distillation" else 1
        assert "gradient" in done("explain", "--scores", "0.1,0.7,-0.3", "--label", label, "--loss", word, "--json")
    assert len(named) > 20


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        (["--label", "1"], 2, "--scores"),
        (["--scores", "1,two", "--label", "1"], 2, "numbers with commas"),
        (["--scores", "1,2", "--label", "-1"], 2, "--label"),
        (["--scores", "1,2", "--label", "2"], 1, "class numbers must be 0..1"),
        (["--scores", "1,2", "--label", "1", "--loss", "nosuch"], 2, "arcface, asymmetric"),
        (["--scores", "1,2", "--label", "1", "--loss", "smoothed:0.1", "arcface"], 2, "parts go together (angularmargin"),
        (["--scores", "1,2", "--label", "1", "--loss", "arcface:q=1"], 1, "arcface has the numbers s, m"),
        (["--scores", "1,2", "--label", "1", "--loss", "ldam"], 1, "ldam needs counts"),
        (["--scores", "1,2", "--label", "1", "--loss", "temperature"], 1, "Temperature needs T"),
        (["--scores", "1,2", "--label", "1", "--loss", "smoothed:mu=1"], 1, "has the numbers eps"),
        (["--scores", "1,2", "--label", "1", "--loss", "smoothed:2"], 1, "eps"),
    ],
)
def test_command_refuses(words, code, told):
    assert told in refused("explain", *words, code=code)
