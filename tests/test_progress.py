"""Progress for people: rewritten in place on a terminal, a line now and then in a log, and the user's own callback in any case."""

import io

import pytest

from softgrad.progress import Bar
from softgrad.solvers.solver import State


class Terminal(io.StringIO):
    def isatty(self):
        return True


def walk(bar, norms=(1.0, 0.1, 0.01, 0.001), every=1.0):
    for k, norm in enumerate(norms):
        bar(State(k + 1, k, 2.0 - 0.1 * k, norm, every * k))


def test_a_terminal_has_one_line_that_fills_up():
    stream = Terminal()
    bar = Bar(1e-3, stream=stream)
    walk(bar)
    lines = stream.getvalue().split("\r")[1:]
    assert [line.count("#") for line in lines] == [0, 7, 13, 20]
    assert "\n" not in stream.getvalue()
    assert "objective 1.7000000" in lines[-1]
    bar.clear()
    assert stream.getvalue().endswith(" \r")


@pytest.mark.parametrize(("columns", "width"), [(80, 79), (300, 100)])
def test_a_line_fits_into_the_terminal_and_covers_the_one_before(monkeypatch, columns, width):
    monkeypatch.setenv("COLUMNS", str(columns))
    stream = Terminal()
    bar = Bar(1e-3, stream=stream)
    walk(bar, every=1e6)
    bar.clear()
    *lines, end = stream.getvalue().split("\r")[1:]
    assert [len(line) for line in lines] == [width] * 5
    assert lines[-1].strip() == end == ""


def test_a_log_gets_a_line_every_two_seconds():
    stream = io.StringIO()
    walk(Bar(1e-3, stream=stream), every=0.5, norms=[1.0] * 9)
    assert len(stream.getvalue().splitlines()) == 3


def test_fits_are_counted_where_there_are_many():
    stream = io.StringIO()
    bar = Bar(1e-3, total=8, stream=stream)
    bar.done = 2
    walk(bar, norms=[0.5])
    assert "2 of 8 fits" in stream.getvalue()
    assert stream.getvalue().count("#") == 5


@pytest.mark.parametrize("norms", [[0.0], [float("nan"), 1.0], [1e-9, 1e-10], [1.0, 5.0]])
def test_any_gradient_has_its_place(norms):
    stream = io.StringIO()
    walk(Bar(1e-5, stream=stream), norms=norms, every=3.0)
    assert len(stream.getvalue().splitlines()) == len(norms)


def test_the_callback_hears_of_every_state():
    heard = []
    walk(Bar(1e-3, heard.append, stream=io.StringIO()), every=0.01)
    assert [state.passes for state in heard] == [1, 2, 3, 4]
