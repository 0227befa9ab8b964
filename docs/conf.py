"""The site: `pip install ".[docs]" && sphinx-build -W -b html docs docs/_build/html`. Needs no network; MathJax is loaded by the reader."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import softgrad

project = "softgrad"
author = "the softgrad authors"
copyright = author  # noqa: A001 - Sphinx's name
version = release = softgrad.__version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.mathjax", "sphinx_gallery.gen_gallery", "building"]
exclude_patterns = ["_build", "gallery", "sg_execution_times.rst"]
myst_enable_extensions = ["dollarmath", "amsmath"]
myst_heading_anchors = 3

autodoc_member_order = "bysource"
autodoc_preserve_defaults = True
autodoc_typehints = "none"  # ArrayLike is ten lines when it is spelt out; the docstrings say the shapes
maximum_signature_line_length = 88
add_module_names = False

sphinx_gallery_conf = {
    "examples_dirs": "gallery",
    "gallery_dirs": "pictures",
    "filename_pattern": r"\.py$",
    "image_scrapers": ("building.pictures",),
    "abort_on_example_error": True,
    "download_all_examples": False,
    "show_signature": False,
    "min_reported_time": 1e9,  # how long it took is the machine's business
    "show_memory": False,
}

html_theme = "furo"
html_title = f"softgrad {version}"
html_copy_source = False
html_show_sphinx = False
