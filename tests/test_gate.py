"""Every refusal: one line that names the call and the argument, what came, and what to do."""

import re

import numpy as np
import pytest
import scipy.sparse

import softgrad
from softgrad import SoftgradError, arrays
from softgrad.losses import cross_entropy

NAN, INF = float("nan"), float("inf")
Z, Y = np.eye(3), [0, 1, 2]
HALF = np.full((3, 3), 1 / 3)
ce, linear, reference = cross_entropy(), softgrad.linear_value_and_grad, softgrad.reference


def changed(x, place, value):
    x = np.array(x, float)
    x[place] = value
    return x


# what is refused: (the call, the argument that the message names, what the message says of what came)
REFUSED = {
    "smoothing above 1": (lambda: cross_entropy(label_smoothing=1.5), "cross_entropy(label_smoothing)", "1.5"),
    "smoothing below 0": (lambda: cross_entropy(label_smoothing=-0.1), "cross_entropy(label_smoothing)", "-0.1"),
    "smoothing is text": (lambda: cross_entropy(label_smoothing="much"), "cross_entropy(label_smoothing)", "'much'"),
    "no temperature": (lambda: cross_entropy(temperature=None), "cross_entropy(temperature)", "None"),
    "temperature 0": (lambda: cross_entropy(temperature=0), "cross_entropy(temperature)", "0"),
    "temperature NaN": (lambda: cross_entropy(temperature=NAN), "cross_entropy(temperature)", "nan"),
    "temperature inf": (lambda: cross_entropy(temperature=INF), "cross_entropy(temperature)", "inf"),
    "temperature is a matrix": (lambda: cross_entropy(temperature=np.eye(3)), "cross_entropy(temperature)", ""),
    "temperature beyond floats": (lambda: cross_entropy(temperature=10**400), "cross_entropy(temperature)", ""),
    "ignore_index is a float": (lambda: cross_entropy(ignore_index=1.0), "cross_entropy(ignore_index)", "1.0"),
    "class weight below 0": (lambda: cross_entropy(class_weight=[1, -2]), "cross_entropy(class_weight)", "-2"),
    "class weight NaN": (lambda: cross_entropy(class_weight=[1, NAN]), "cross_entropy(class_weight)", "nan"),
    "class weight of two axes": (lambda: cross_entropy(class_weight=[[1, 2]]), "cross_entropy(class_weight)", "(1, 2)"),
    "class weight for other classes": (lambda: cross_entropy(class_weight=[1, 2])(Z, Y),
        "cross_entropy(class_weight)", "2"),
    "scores of one axis": (lambda: ce([1.0, 2.0], [0]), "loss(scores)", "(2,)"),
    "scores of three axes": (lambda: ce(np.zeros((1, 2, 3)), [0]), "loss(scores)", "(1, 2, 3)"),
    "scores without classes": (lambda: ce(np.zeros((2, 0)), [0, 0]), "loss(scores)", "(2, 0)"),
    "scores are text": (lambda: ce([["a", "b"]], [0]), "loss(scores)", "<U1"),
    "scores are complex": (lambda: ce(Z * 1j, Y), "loss(scores)", "complex128"),
    "scores are objects": (lambda: ce(np.array([[None, 1]]), [0]), "loss(scores)", "object"),
    "scores of different lengths": (lambda: ce([[1.0], [1.0, 2.0]], [0, 0]), "loss(scores)", "different lengths"),
    "scores NaN": (lambda: ce(changed(Z, (1, 1), NAN), Y), "scores", "row 1"),
    "scores inf": (lambda: ce(changed(Z, (2, 1), INF), Y), "scores", "row 2"),
    "scores all impossible": (lambda: ce(changed(Z, 1, -INF), Y), "scores", "row 1"),
    "scores NaN, gradient": (lambda: ce.value_and_grad(changed(Z, (1, 1), NAN), Y), "scores", "row 1"),
    "scores NaN, Hessian": (lambda: ce.hessian_product(changed(Z, (1, 1), NAN), Y, Z), "scores", "row 1"),
    "scores NaN in float16": (lambda: ce(changed(Z, (1, 1), NAN).astype(np.float16), Y), "scores", "row 1"),
    "labels too large": (lambda: ce(Z, [0, 3, 1]), "loss(targets)", "3 in row 1"),
    "labels below 0": (lambda: ce(Z, [0, 1, -1]), "loss(targets)", "-1 in row 2"),
    "labels beyond int64": (lambda: ce(Z, np.array([0, 1, 2**64 - 1], np.uint64)),
        "loss(targets)", "18446744073709551615 in row 2"),
    "labels beside ignore_index": (lambda: cross_entropy(ignore_index=7)(Z, [0, 7, 8]), "loss(targets)", "8 in row 2"),
    "labels are floats": (lambda: ce(Z, [0.0, 1.0, 2.0]), "loss(targets)", "float64"),
    "labels are text": (lambda: ce(Z, ["a", "b", "c"]), "loss(targets)", "<U1"),
    "too few labels": (lambda: ce(Z, [0, 1]), "loss(targets)", "(2,)"),
    "labels of different lengths": (lambda: ce(Z, [[0], [1, 2], [0]]), "loss(targets)", ""),
    "distributions of other classes": (lambda: ce(Z, np.full((3, 2), 0.5)), "loss(targets)", "(3, 2)"),
    "distributions that do not sum to 1": (lambda: ce(Z, changed(HALF, (1, 0), 0.5)), "loss(targets)", "row 1"),
    "distributions below 0": (lambda: ce(Z, [[1, 0, 0], [1, 0, 0], [1.5, -0.5, 0]]), "loss(targets)", "row 2"),
    "distributions NaN": (lambda: ce(Z, changed(HALF, (2, 2), NAN)), "loss(targets)", "row 2"),
    "too few weights": (lambda: ce(Z, Y, sample_weight=[1, 2]), "loss(sample_weight)", "(2,)"),
    "weights below 0": (lambda: ce(Z, Y, sample_weight=[1, -1, 1]), "loss(sample_weight)", "-1.0 in row 1"),
    "weights that vanish": (lambda: ce(Z, Y, sample_weight=[0, 1e-310, 0]), "loss(sample_weight)", "1e-310"),
    "weights without a sum": (lambda: ce(Z, Y, sample_weight=[1e308] * 3), "loss(sample_weight)", "1e+308"),
    "a number is no row": (lambda: softgrad.softmax(3.0), "softmax(scores)", "a single number"),
    "a jacobian of a number": (lambda: softgrad.softmax_jacobian(3.0), "softmax_jacobian(scores)", "a single number"),
    "a share below 0": (lambda: ce(np.ones((2, 3)), [[0, 0, 1], [-0.5, 1, 0.5]]), "loss(targets)", "row 1 with sum 1, its least -0.5"),
    "weights inf": (lambda: ce(Z, Y, sample_weight=[1, 1, INF]), "loss(sample_weight)", "inf in row 2"),
    "reduction": (lambda: ce(Z, Y, reduction="average"), "loss(reduction)", "'average'"),
    "out is a list": (lambda: ce.value_and_grad(Z, Y, out=[1]), "value_and_grad(out)", "list"),
    "out of another type": (lambda: ce.value_and_grad(Z, Y, out=np.empty((3, 3), np.float32)),
        "value_and_grad(out)", "float32"),
    "out of another shape": (lambda: ce.value_and_grad(Z, Y, out=np.empty((3, 2))), "value_and_grad(out)", "(3, 2)"),
    "out across": (lambda: ce.value_and_grad(Z, Y, out=np.empty((3, 3)).T), "value_and_grad(out)", "(3, 3)"),
    "out read-only": (lambda: ce.value_and_grad(Z, Y, out=np.broadcast_to(0.0, (3, 3))),
        "value_and_grad(out)", "(3, 3)"),
    "vectors of another shape": (lambda: ce.hessian_product(Z, Y, np.ones(3)), "hessian_product(vectors)", "(3,)"),
    "softmax axis": (lambda: softgrad.softmax(Z, axis=2), "softmax(axis)", "2"),
    "softmax of nothing": (lambda: softgrad.softmax([]), "softmax(scores)", "(0,)"),
    "softmax of NaN": (lambda: softgrad.softmax([NAN, 1]), "softmax(scores)", "NaN"),
    "log_softmax of inf": (lambda: softgrad.log_softmax([INF, 1]), "log_softmax(scores)", "row 0"),
    "logsumexp of NaN": (lambda: softgrad.logsumexp([NAN, 1]), "logsumexp(scores)", "NaN"),
    "jacobian of NaN": (lambda: softgrad.softmax_jacobian([NAN, 1]), "softmax_jacobian(scores)", "NaN"),
    "softmax temperature": (lambda: softgrad.softmax([1.0], temperature=-1), "softmax(temperature)", "-1"),
    "X of one axis": (lambda: linear([1.0, 2], [0, 1], np.eye(2)), "linear_value_and_grad(X)", "(2,)"),
    "X is text": (lambda: linear([["a"]], [0], np.eye(2)), "linear_value_and_grad(X)", "<U1"),
    "X NaN": (lambda: linear(changed(Z, (2, 1), NAN), Y, Z), "linear_value_and_grad(X)", "row 2, column 1"),
    "X inf in float32": (lambda: linear(changed(Z, (1, 0), INF).astype("f4"), Y, Z),
        "linear_value_and_grad(X)", "row 1, column 0"),
    "X NaN in CSR": (
        lambda: linear(scipy.sparse.csr_array(changed(Z, (2, 0), NAN)), Y, Z),
        "linear_value_and_grad(X)", "row 2, column 0"),
    "X NaN, many classes": (lambda: linear(changed(Z, (2, 1), NAN), Y, np.ones((40, 3))),
        "linear_value_and_grad(X)", "row 2"),
    "coef for other features": (lambda: linear(Z, Y, np.ones((3, 2))), "linear_value_and_grad(coef)", "(3, 2)"),
    "coef of one axis": (lambda: linear(Z, Y, np.ones(3)), "linear_value_and_grad(coef)", "(3,)"),
    "coef NaN": (lambda: linear(Z, Y, changed(Z, (0, 0), NAN)), "linear_value_and_grad(coef)", "row 0, column 0"),
    "coef without classes": (lambda: linear(Z, Y, np.ones((0, 3))), "linear_value_and_grad(coef)", "(0, 3)"),
    "intercept for other classes": (lambda: linear(Z, Y, Z, np.ones(2)), "linear_value_and_grad(", "(2,)"),
    "intercept NaN": (lambda: linear(Z, Y, Z, [0, NAN, 0]), "linear_value_and_grad(intercept)", ""),
    "intercept inf": (lambda: linear(Z, Y, Z, [0, INF, 0]), "linear_value_and_grad(intercept)", ""),
    "y too large": (lambda: linear(Z, [0, 1, 3], Z), "linear_value_and_grad(y)", "3 in row 2"),
    "l2 below 0": (lambda: linear(Z, Y, Z, l2=-1), "linear_value_and_grad(l2)", "-1"),
    "weights of a head": (lambda: linear(Z, Y, Z, sample_weight=[1, NAN, 1]),
        "linear_value_and_grad(sample_weight)", "nan in row 1"),
    "article: W": (lambda: reference.softmax_loss_naive(np.ones((2, 3)), Z, Y, 0), "softmax_loss_naive(W)", "(2, 3)"),
    "article: y": (lambda: reference.softmax_loss_vectorized(Z, Z, [0, 1, 5], 0),
        "softmax_loss_vectorized(y)", "5 in row 2"),
    "article: distributions": (lambda: reference.softmax_loss_naive(Z, Z, HALF, 0), "softmax_loss_naive(y)", "(3, 3)"),
    "article: reg": (lambda: reference.softmax_loss_naive(Z, Z, Y, -1), "softmax_loss_naive(reg)", "-1"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_a_refusal_names_the_argument_what_came_and_what_to_do(case):
    call, argument, came = REFUSED[case]
    with pytest.raises(SoftgradError) as caught:
        call()
    message = str(caught.value)
    assert isinstance(caught.value, ValueError)
    assert message.startswith(argument)
    assert re.fullmatch(r"[^\n]+: [^\n]+; got [^\n]+; [^\n]+\.", message), message
    assert came in message.split("; got ")[1]


def test_numbers_at_open_and_closed_ends():
    assert arrays.number("f(x)", 1, 0, 1) == 1
    assert arrays.number("f(x)", "0.5", 0, 1) == 0.5
    for value, ends in ((0, {"open_low": True}), (1, {"open_high": True}), (1.1, {}), (-0.1, {}), (NAN, {}), ([], {})):
        with pytest.raises(SoftgradError, match="number in"):
            arrays.number("f(x)", value, 0, 1, **ends)
    with pytest.raises(SoftgradError, match=re.escape("(0, 1)")):
        arrays.number("f(x)", 2, 0, 1, open_low=True, open_high=True)


def test_whole_numbers():
    assert arrays.whole("f(n)", np.int8(3), 1) == 3
    for value in (0, 2.0, "3", None):
        with pytest.raises(SoftgradError, match="at least 1"):
            arrays.whole("f(n)", value, 1)


@pytest.mark.parametrize(
    ("came", "becomes"),
    [("f2", "f2"), ("f4", "f4"), ("f8", "f8"), (">f2", "f2"), (">f4", "f4"), (">f8", "f8"), ("g", "f8"),
     ("i4", "f8"), ("u1", "f8"), ("?", "f8")],
)  # fmt: skip
def test_numbers_of_every_type_become_one_of_three(came, becomes):
    x = np.array([[0, 1], [1, 0]], came)
    a = arrays.floats("f(x)", x)
    assert a.dtype == np.dtype(becomes)
    assert a.dtype.isnative
    assert np.array_equal(a, [[0, 1], [1, 0]])


@pytest.mark.parametrize("dtype", ["f2", "f4", "f8", "u1"])
def test_features_are_not_copied(dtype):
    X = np.ones((3, 4), dtype)
    assert np.shares_memory(arrays.features("f(X)", X), X)
    assert arrays.features("f(X)", X).dtype == X.dtype
    turned = arrays.features("f(X)", np.asfortranarray(X))
    assert turned.flags.c_contiguous
    assert turned.dtype == X.dtype


@pytest.mark.parametrize("form", ["csr_array", "csc_array", "coo_array", "csr_matrix"])
@pytest.mark.parametrize(("came", "becomes"), [("f4", "f4"), ("f8", "f8"), ("i4", "f8")])
def test_sparse_features_of_every_form_become_csr(form, came, becomes):
    S = getattr(scipy.sparse, form)(np.array([[0, 2], [3, 0]], came))
    X = arrays.features("f(X)", S)
    assert X.format == "csr"
    assert X.dtype == np.dtype(becomes)
    assert np.array_equal(X.toarray(), [[0, 2], [3, 0]])


def test_the_first_bad_feature_of_a_row_that_counts_is_named():
    X = np.zeros((9, 4))
    X[2, 1], X[5, 3] = NAN, INF
    for S in (X, X.astype(np.float32), scipy.sparse.csr_array(X)):
        with pytest.raises(SoftgradError, match="row 2, column 1"):
            arrays.finite_features("f(X)", S)
        with pytest.raises(SoftgradError, match="row 5, column 3"):
            arrays.finite_features("f(X)", S, (np.arange(9) != 2).astype(float))
        assert arrays.finite_features("f(X)", S, (np.arange(9) < 2).astype(float)) is None
    assert arrays.finite_features("f(X)", np.ones((2, 2), np.uint8)) is None


def test_bad_features_are_found_in_every_block_of_rows(monkeypatch):
    """Wide X is looked through in blocks of a few megabytes."""
    X = np.zeros((200, 1 << 17), np.float16)
    X[150, 70000] = NAN
    with pytest.raises(SoftgradError, match="row 150, column 70000"):
        arrays.finite_features("f(X)", X)


@pytest.mark.parametrize(("dtype", "slack"), [(np.float16, 5e-4), (np.float32, 5e-5), (np.float64, 5e-7)])
def test_distributions_may_be_off_by_the_rounding_of_their_type(dtype, slack):
    q = np.array([[0.5, 0.5 + slack]]).astype(dtype)
    assert arrays.targets("f(y)", q, 1, 2).shape == (1, 2)
    with pytest.raises(SoftgradError, match="sum to 1"):
        arrays.targets("f(y)", np.array([[0.5, 0.5 + 8 * slack]], dtype), 1, 2)


def test_what_is_ignored_becomes_minus_one_and_nothing_else_does():
    y = arrays.targets("f(y)", np.array([3, 0, 2, 3], np.uint8), 4, 3, ignore_index=3)
    assert y.tolist() == [-1, 0, 2, -1]
    assert y.dtype == np.int64
    assert arrays.targets("f(y)", [], 0, 3).shape == (0,)


def test_whole_messages_read_well():
    with pytest.raises(SoftgradError) as caught:
        ce(Z, [0, 9, 1])
    assert str(caught.value) == "loss(targets): class numbers must be 0..2; got 9 in row 1; renumber the classes."
