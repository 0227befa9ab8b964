"""What Sphinx has to be told: docstrings are plain text, a picture is a Figure or PNG bytes, the command's help is the command's own."""

from __future__ import annotations

import contextlib
import io
import os
import re
from pathlib import Path
from typing import Any

from docutils import nodes
from docutils.parsers.rst import Directive
from sphinx.application import Sphinx
from sphinx_gallery.scrapers import figure_rst

from softgrad.cli import parser


def pictures(block: Any, block_vars: dict[str, Any], gallery_conf: dict[str, Any]) -> str:
    """The picture that a block of a gallery script leaves in the name `picture`."""
    picture = block_vars["example_globals"].pop("picture", None)
    if picture is None:
        return ""
    path = next(block_vars["image_path_iterator"])
    if isinstance(picture, bytes):
        Path(path).write_bytes(picture)
    else:
        picture.savefig(path, dpi=144)
    return figure_rst([path], gallery_conf["src_dir"])


def plain_text(app: Sphinx, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    """Rewrite a docstring, plain text to its readers, as reStructuredText: `names` as code, formulas as they stand, the rest to the letter.

    Of what comes from elsewhere (scikit-learn's `score`) the first line must do.
    """
    if not str(getattr(obj, "__module__", "softgrad")).startswith("softgrad"):
        del lines[1:]
    paragraphs = re.split(r"\n\s*\n", SECTION.sub(r"\n\n\1", "\n".join(lines)))
    lines[:] = "\n\n".join(map(_paragraph, paragraphs)).split("\n")


SECTION = re.compile(r"\n((?:Parameters|Attributes|Returns?|Raises|Reference|Shapes)\b)")


def _paragraph(text: str) -> str:
    rows = text.split("\n")
    if text.startswith(">>>"):
        return text
    if _is_formula(rows):
        return "::\n\n" + "\n".join(f"    {row}" for row in rows)
    return "\n".join(map(_escaped, rows))


def _is_formula(rows: list[str]) -> bool:
    """Indented, or an equation that is no sentence."""
    return rows[0].startswith("  ") or bool(re.match(r"(minimises )?\S.{0,40} (=|<-) ", rows[0]) and not rows[-1].endswith("."))


def _escaped(row: str) -> str:
    parts = re.sub(r"^((?:Parameters|Attributes|Returns|Raises|Reference|Shapes)\b:?)", "\0\\1\0", row).split("`")
    parts[::2] = (re.sub(r"([\\*|_])", r"\\\1", part) for part in parts[::2])
    parts[1::2] = (f"``{part}``" for part in parts[1::2])
    return re.sub("\0(.*)\0", r"**\1**", "".join(parts))


class CommandHelp(Directive):
    """`command:: fit`: what `softgrad fit --help` prints."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        """One literal block, 88 columns wide."""
        printed = io.StringIO()
        os.environ["COLUMNS"] = "88"
        with contextlib.redirect_stdout(printed), contextlib.suppress(SystemExit):
            parser.parse([self.arguments[0], "--help"])
        return [nodes.literal_block(printed.getvalue(), printed.getvalue(), language="text")]


def setup(app: Sphinx) -> dict[str, bool]:
    """Hand all of it to Sphinx."""
    app.connect("autodoc-process-docstring", plain_text)
    app.add_directive("command", CommandHelp)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
