"""Sphinx: `make docs` builds the site; warnings and failing cells fail the build."""

import re
from importlib.metadata import version as version_of

project = "ppiscs-jax"
author = "The ppiscs-jax developers"
release = version_of("ppiscs-jax")

extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns = ["_build"]

myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 3

nb_execution_mode = "force"
nb_execution_raise_on_error = True
nb_execution_timeout = 300
nb_merge_streams = True
nb_render_markdown_format = "myst"  # with tables

autodoc_member_order = "bysource"
autodoc_typehints = "none"
autodoc_default_options = {"members": True}
napoleon_google_docstring = True
napoleon_use_ivar = True

html_theme = "furo"
html_show_copyright = False
html_title = f"ppiscs-jax {release}"

EXAMPLES = re.compile(r"(^ *>>> .*?(?:\n\s*\n|\Z))", re.M | re.S)
"""Examples in docstrings, each up to the next empty line."""


def name_files(app, docname, source):
    """Name files outside of the site instead of linking to them. Images are shown."""
    outside = re.escape("../" * (docname.count("/") + 1))
    link = re.compile(r"(?<!!)\[([^\]]+)\]\(" + outside + r"([^)]+)\)")
    source[0] = link.sub(r"\1 (`\2`)", source[0])


def as_markdown(app, what, name, obj, options, lines):
    """Docstrings use single backquotes for code, which are double ones in reStructuredText.

    Fields that share a description, `a, b: text`, would be taken for a type and a name. Examples
    stay as they are.
    """
    parts = EXAMPLES.split("\n".join(lines))
    lines[:] = "".join(p if i % 2 else _prose(p) for i, p in enumerate(parts)).splitlines()


def _prose(text):
    text = re.sub(r"(?<![`:\w])`([^`\n]+)`(?!`)", r"``\1``", text)
    text = re.sub(r"^ +\w+(?:, \w+)+:", lambda m: m[0].replace(", ", ","), text, flags=re.M)
    return text.replace("*", r"\*").replace("|", r"\|")


def setup(app):
    """Connect what is above."""
    app.connect("source-read", name_files)
    # Before napoleon, which makes reStructuredText of sections.
    app.connect("autodoc-process-docstring", as_markdown, priority=100)
