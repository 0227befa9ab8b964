"""Tables that were fitted, and those that come later: columns and classes are matched by name."""

import csv
import json

import numpy as np
import pytest
from command import called, done, refused, write_table

import softgrad
from softgrad.cli import columns

FEATURES = ["a", "b", "c", "d"]


@pytest.fixture(scope="module")
def fitted(tmp_path_factory):
    """A table with a header, and the folder of a fit to it."""
    table = write_table(tmp_path_factory.mktemp("table") / "colours.csv")
    folder = table.parent / "fit"
    done("fit", table, "--label", "colour", "--out", folder, "--no-pictures", "--quiet")
    return table, folder


def rearranged(table, place, names):
    """The columns of these names, in this order."""
    with table.open(newline="") as file:
        rows = list(csv.DictReader(file))
    place.write_text("\n".join([",".join(names), *(",".join(row[name] for name in names) for row in rows)]) + "\n")
    return place


def test_columns_in_another_order_are_the_same_rows(fitted, tmp_path):
    table, folder = fitted
    assert softgrad.load(folder).metadata_["feature_names"] == FEATURES
    expected = done("predict", folder, table)
    other = rearranged(table, tmp_path / "other.csv", ["colour", *FEATURES[::-1]])
    assert done("predict", folder, other) == expected
    assert done("evaluate", folder, other, "--split", "all", "--json").replace(str(other), "") == done(
        "evaluate", folder, table, "--split", "all", "--json"
    ).replace(str(table), "")
    assert done("predict", folder, rearranged(table, tmp_path / "bare.csv", FEATURES[::-1]), "--unlabelled") == expected


def test_columns_of_which_some_are_missing_are_refused(fitted, tmp_path):
    table, folder = fitted
    text = table.read_text()
    renamed = tmp_path / "renamed.csv"
    renamed.write_text(text.replace("a", "width", 1))
    words = refused("predict", folder, renamed)
    assert "is without 'a' and has also 'width'" in words
    fewer = rearranged(table, tmp_path / "fewer.csv", [*FEATURES[1:], "colour"])
    assert "is without 'a':" in refused("predict", folder, fewer)
    assert "has also" not in refused("predict", folder, fewer)


def test_columns_that_all_have_other_names_are_taken_in_their_order(fitted, tmp_path):
    table, folder = fitted
    header, *rows = table.read_text().splitlines()
    other = tmp_path / "other.csv"
    other.write_text("\n".join([",".join(f"f{k}" for k in range(header.count(","))) + ",colour", *rows]) + "\n")
    run = called("predict", folder, other)
    assert run.stdout == done("predict", folder, table)
    assert "warning: no column has a name that it had in the fit" in run.stderr


@pytest.mark.parametrize(
    ("names", "fitted", "expected"),
    [
        (None, ("a", "b"), None),
        (("a", "b"), None, None),
        (("a", "b"), ("a", "b"), None),
        (("b", "a"), ["a", "b"], [1, 0]),
        (("b", "c", "a"), ("a", "b", "c"), [2, 0, 1]),
        (("b", "a", "a"), ("a", "a", "b"), None),  # names that are not names say nothing
    ],
)
def test_order_of_columns(names, fitted, expected):
    assert columns.order("t.csv", names, fitted) == expected


@pytest.mark.parametrize(
    ("names", "words"), [("baa", "has also 'a':"), ("bcdefgh", "without 'a' and has also 'c', 'd', 'e', 'f', 'g' and 1 more")]
)
def test_columns_twice_or_many(names, words):
    with pytest.raises(softgrad.SoftgradError, match=words):
        columns.order("t.csv", tuple(names), ("a", "b"))


def test_rows_of_one_class_can_be_predicted_but_not_fitted(fitted, tmp_path):
    table, folder = fitted
    header, *rows = table.read_text().splitlines()
    one = tmp_path / "one.csv"
    one.write_text("\n".join([header, *(row for row in rows if row.endswith("blue"))]) + "\n")
    n = len(one.read_text().splitlines()) - 1
    found = done("predict", folder, one).splitlines()
    assert len(found) == n
    told = json.loads(done("evaluate", folder, one, "--split", "all", "--json"))
    assert told["accuracy"] == np.mean([name == "blue" for name in found])
    assert "at least 2 classes, found only 'blue'" in refused("fit", one, "--out", tmp_path / "out")
    one.write_text("\n".join([header, rows[0]]) + "\n")
    assert len(done("predict", folder, one).splitlines()) == 1


def test_classes_of_test_rows_alone_count_as_wrong(tmp_path):
    """What `fit` takes, `evaluate` does: such rows have no log loss, and a model has no column for them."""
    rng, source, folder = np.random.default_rng(0), tmp_path / "set.npz", tmp_path / "fit"
    X, y = rng.standard_normal((60, 4)), np.array(["ash", "birch", "cedar"])[np.arange(60) % 3]
    X += 3 * (y[:, None] == np.array(["ash", "birch", "cedar", "none"]))
    old = y != "cedar"
    np.savez(source, X_train=X[old], y_train=y[old], X_test=X, y_test=y)
    metrics = json.loads(done("fit", source, "--out", folder, "--json", "--no-pictures"))
    run = called("evaluate", folder, source, "--json")
    told = json.loads(run.stdout)
    assert told["accuracy"] == metrics["test_accuracy"]
    assert (told["rows"], told["rows_of_unseen_classes"]) == (60, 20)
    assert told["recall"]["cedar"] == 0
    assert told["precision"]["cedar"] is None
    assert "warning: 20 rows have classes that no training row has; the log loss is without them" in run.stderr
    model = softgrad.load(folder)
    p = model.predict_proba(X[old])[np.arange(old.sum()), (y[old] == "birch").astype(int)]
    assert told["log_loss"] == pytest.approx(-np.log(p).mean())
    np.savez(source, X_train=X[old], y_train=y[old], X_test=X, y_test=np.where(old, y, "oak"))
    assert "'oak'" in refused("evaluate", folder, source)


def test_the_label_column_is_told_and_found_again(tmp_path):
    """Without --label it is the last one or has a usual name; a later table may have it elsewhere."""
    table = write_table(tmp_path / "colours.csv")
    folder = tmp_path / "fit"
    assert "\nlabel             colour\n" in done("fit", table, "--out", folder, "--no-pictures", "--quiet")
    other = rearranged(table, tmp_path / "other.csv", ["colour", *FEATURES[::-1]])
    assert done("predict", folder, other) == done("predict", folder, table)
