"""How Sphinx builds the site: `python -m sphinx -W -n docs build/site`."""

from __future__ import annotations

import re
from itertools import groupby
from typing import Any

import covector

project = "covector"
author = "The covector authors"
copyright = "The covector authors, Apache-2.0"
version = release = covector.__version__

extensions = ["myst_parser", "sphinx.ext.autodoc"]
source_suffix = {".md": "markdown"}
myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 3
html_theme = "furo"
html_title = "covector"
autodoc_typehints = "none"
autodoc_member_order = "bysource"
default_role = "code"  # docstrings write `names` as Markdown does


OPTION = re.compile(r"(\w+(?:, \w+)*): ")


def as_rst(app: Any, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    """Docstrings are plain text: stars are stars, what is indented by four is a program, and lines
    that begin `name: ` explain arguments.
    """
    out: list[str] = []
    for indented, group in groupby(lines, key=lambda line: line.startswith("    ")):
        if indented:
            out += ["", "::", "", *group, ""]
        else:
            for line in map(_text, group):
                if out and out[-1].startswith(("* ", "  ")) and not line.startswith(("* ", "  ")):
                    out.append("")
                out.append(line)
    lines[:] = out


def _text(line: str) -> str:
    if line.startswith("  "):
        return "  " + _escaped(line.strip())
    option = OPTION.match(line)
    if option:
        return f"* `{option[1]}`: " + _escaped(line[option.end() :])
    return _escaped(line)


def _escaped(line: str) -> str:
    """Escape what reStructuredText would read as markup, outside of backquotes."""
    parts = re.split(r"(`[^`]*`)", line)
    return "".join(p if p.startswith("`") else re.sub(r"([*|]|\b_|_\b)", r"\\\1", p) for p in parts)


def setup(app: Any) -> None:
    app.connect("autodoc-process-docstring", as_rst)
