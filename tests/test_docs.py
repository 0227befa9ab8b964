"""The pages of the site tell the truth: their examples run, their commands print what they say, their tables follow from the code."""

from __future__ import annotations

import doctest
import inspect
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import test_peers
from threadpoolctl import threadpool_limits

import softgrad
from softgrad import losses
from softgrad.cli import main, parser
from softgrad.losses.composed import ONE, SEVERAL
from softgrad.losses.described import known

DOCS = Path(__file__).parents[1] / "docs"
OPTIONS = doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS
PAGES = [path for folder in (DOCS, DOCS / "articles") for path in sorted(folder.glob("*.md"))]
FENCE = re.compile(r"^```([^\n]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def name_of(path):
    return str(path.relative_to(DOCS))


def blocks(path, language):
    """Code blocks of a page, as (text, line)."""
    text = path.read_text()
    return [(found[2], text[: found.start()].count("\n") + 1) for found in FENCE.finditer(text) if found[1] == language]


@pytest.mark.parametrize("path", [path for path in PAGES if blocks(path, "pycon")], ids=name_of)
def test_examples_run(path, tmp_path, monkeypatch):
    """All blocks of a page share their names, as in one session."""
    monkeypatch.chdir(tmp_path)
    told, names = [], {}
    for text, line in blocks(path, "pycon"):
        example = doctest.DocTestParser().get_doctest(text, names, name_of(path), str(path), line)
        runner = doctest.DocTestRunner(verbose=False, optionflags=OPTIONS)
        with threadpool_limits(1, "blas"):  # small products: the threads of a BLAS would only wait for each other
            runner.run(example, out=told.append, clear_globs=False)
        names = example.globs
    assert not told, "".join(told)


@pytest.mark.parametrize("path", [path for path in PAGES if blocks(path, "console")], ids=name_of)
def test_commands_print_what_the_page_shows(path, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for text, _ in blocks(path, "console"):
        for command, output in re.findall(r"^\$ (.*)\n((?:(?!\$ ).*\n)*)", text, re.MULTILINE):
            words = shlex.split(command, comments=True)
            if words[0] != "softgrad":
                continue
            assert main([*words[1:]]) == 0
            assert not output or doctest.OutputChecker().check_output(output, capsys.readouterr().out, OPTIONS), command


# ---- pages that name tests ------------------------------------------------------------------------------------------

ROOMS = [path.read_text() for path in Path(__file__).parent.glob("test_*.py")]
TESTS = {name for text in ROOMS for name in re.findall(r"^def (test_\w+)", text, re.MULTILINE)}


def test_every_correction_names_its_tests():
    entries = re.split(r"^### ", (DOCS / "wrong.md").read_text(), flags=re.MULTILINE)[1:]
    named = [(entry.splitlines()[0], re.findall(r"`(test_\w+)`", entry)) for entry in entries]
    assert len(named) >= 12
    assert [title for title, names in named if not names] == []
    assert {name for _, names in named for name in names} <= TESTS


# ---- tables ---------------------------------------------------------------------------------------------------------


def table(page, heading):
    """Rows of all tables on a page whose header begins with `heading`, as lists of cells."""
    found, inside = [], False
    for line in (DOCS / page).read_text().splitlines():
        inside = line.startswith("|") and (inside or line.startswith(f"| {heading} |"))
        if inside and not line.startswith((f"| {heading} |", "|---")):
            found.append([cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]])
    return found


NAMES = {"losses": losses, "w": test_peers.OMEGA, "n": (500, 200, 80, 30, 10)}


def made(code):
    """The loss that a cell's code makes."""
    return eval(code.strip("`"), NAMES)


LOSSES = table("losses.md", "loss")


@pytest.mark.parametrize("row", LOSSES, ids=lambda row: row[0].strip("`"))
def test_the_table_of_losses_says_what_is_convex(row):
    assert row[2] == ("yes" if made(row[0]).convex else "no")


@pytest.mark.parametrize("kind", [kind for kind in (*ONE, *SEVERAL) if kind not in ("targets", "weights")])
def test_the_table_of_losses_has_every_part(kind):
    parts = [getattr(made(row[0]), kind) for row in LOSSES]
    shown = {type(one) for part in parts for one in (part if kind in SEVERAL else (part,))}
    assert set(known((ONE | SEVERAL)[kind])) <= shown


def test_the_table_of_peers_has_every_case():
    """And makes the very loss that is tested."""
    rows = dict(table("peers.md", "peer") + table("peers.md", "head"))
    cases = {name: case.ours() for name, case in test_peers.AGREE.items()} | {name: ours() for name, (ours, _) in test_peers.HEADS.items()}
    assert {name: made(code) for name, code in rows.items()} == cases


def test_the_pages_on_peers_name_every_test():
    named = set(re.findall(r"`(test_\w+)`", (DOCS / "peers.md").read_text()))
    assert named == {name for name in dir(test_peers) if name.startswith("test_")} - {"test_peers_agree"}


def test_the_reference_has_every_public_name():
    text = "".join(path.read_text() for path in (DOCS / "api").glob("*.md"))
    told = set(re.findall(r"auto(?:function|class|exception):: (?:softgrad\.)?(\S+)", text))
    names = {name for room in (softgrad, losses) for name in room.__all__ if not inspect.ismodule(getattr(room, name))}
    assert names <= told


def test_the_page_on_the_command_line_has_every_verb():
    assert re.findall(r"^```{command} (\w+)", (DOCS / "cli.md").read_text(), re.MULTILINE) == list(parser.ROOMS)


# ---- the site -------------------------------------------------------------------------------------------------------


def test_the_site_builds_without_warnings(tmp_path):
    for name in ("sphinx", "myst_parser", "furo", "sphinx_gallery"):
        pytest.importorskip(name)
    source = shutil.copytree(DOCS, tmp_path / "docs", ignore=shutil.ignore_patterns("_build", "pictures", "__pycache__"))
    command = [sys.executable, "-m", "sphinx", "-W", "-q", "-b", "html", source, tmp_path / "site"]
    told = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
    assert told.returncode == 0, told.stderr
    shown = {path.stem for path in (tmp_path / "site" / "pictures").glob("*.html")}
    assert {path.stem for path in (DOCS / "gallery").glob("*.py")} <= shown
