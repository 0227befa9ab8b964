"""The pages of the site tell the truth: their examples run, their commands print what they say, their tables follow from the code."""

from __future__ import annotations

import doctest
import re
import shlex
from pathlib import Path

import pytest

from softgrad.cli import main

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
        runner.run(example, out=told.append, clear_globs=False)
        names = example.globs
    assert "".join(told) == ""


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

TESTS = {name for path in Path(__file__).parent.glob("test_*.py") for name in re.findall(r"^def (test_\w+)", path.read_text(), re.MULTILINE)}


def test_every_correction_names_its_tests():
    entries = re.split(r"^### ", (DOCS / "wrong.md").read_text(), flags=re.MULTILINE)[1:]
    named = [(entry.splitlines()[0], re.findall(r"`(test_\w+)`", entry)) for entry in entries]
    assert len(named) >= 12
    assert [title for title, names in named if not names] == []
    assert {name for _, names in named for name in names} <= TESTS
