"""Programs in colour: a Pygments lexer of the text format, and what it makes of a listing.

Registered with Pygments as `covector` (files `*.cvir`), so Sphinx, MkDocs, `pygmentize` and
notebooks know it.
"""

from __future__ import annotations

from typing import Any, ClassVar

from pygments import highlight
from pygments.formatters import TerminalFormatter
from pygments.lexer import RegexLexer, bygroups
from pygments.token import (
    Comment,
    Keyword,
    Name,
    Number,
    Operator,
    Punctuation,
    String,
    Text,
    Token,
    Whitespace,
)

from ..ir.syntax import DTYPE, NAME, NUMBER, STRING, TYPE


class CovectorLexer(RegexLexer):  # type: ignore[misc]  # Pygments has no types
    """The text of programs."""

    name = "covector"
    aliases: ClassVar[list[str]] = ["covector", "cvir"]
    filenames: ClassVar[list[str]] = ["*.cvir"]
    url = "https://pypi.org/project/covector"

    tokens: ClassVar[dict[str, Any]] = {
        "root": [
            (r"\n", Whitespace),
            (r"[^\S\n]+", Whitespace),
            (r"//[^\n]*", Comment.Single),
            (r"#[^\n]*", Comment.Single),
            (r"(module)([^\S\n]+)(@)?(" + NAME + ")", bygroups(
                Keyword.Declaration, Whitespace, Punctuation, Name.Namespace)),
            (r"\b(func|private|constant|return|entry|in_tree|out_tree)\b", Keyword),
            (r"@" + NAME, Name.Function),
            (r"\$" + NAME, Name.Constant),
            (r"(=)([^\S\n]*)(dense|base64|bytes|elided)\b", bygroups(
                Operator, Whitespace, Keyword.Pseudo)),
            (r"(=)([^\S\n]+)(" + NAME + r")(?=[\[\s])", bygroups(
                Operator, Whitespace, Name.Builtin)),
            (r"\b(thunk|opaque)(<)", bygroups(Keyword.Pseudo, Punctuation)),
            (TYPE, Keyword.Type),
            (r"\b(True|False|None|nan|inf)\b", Keyword.Constant),
            (r"(" + NAME + r")(=)(?=[^=\s])", bygroups(Name.Attribute, Operator)),
            (STRING, String.Double),
            (r"(" + NAME + r")(:)(?=\s)", bygroups(Name.Variable, Punctuation)),
            (r"\b" + DTYPE + r"(?=[\],])", Name),
            (NUMBER, Number),
            (NAME, Name),
            (r"->|[|=]", Operator),
            (r"[\[\](){}:,<>~]", Punctuation),
            (r".", Text),
        ],
    }  # fmt: skip


def in_terminal(text: str) -> str:
    """A program with the colours of a terminal."""
    coloured: str = highlight(text, CovectorLexer(stripnl=False, ensurenl=False), _TERMINAL)
    return coloured


_TERMINAL = TerminalFormatter(
    colorscheme={
        Token: ("", ""),
        Comment: ("gray", "brightblack"),
        Keyword: ("blue", "brightblue"),
        Keyword.Type: ("cyan", "brightcyan"),
        Name.Function: ("magenta", "brightmagenta"),
        Name.Namespace: ("magenta", "brightmagenta"),
        Name.Constant: ("magenta", "brightmagenta"),
        Name.Builtin: ("green", "brightgreen"),
        Name.Variable: ("", ""),
        Name.Attribute: ("gray", "brightblack"),
        String: ("yellow", "yellow"),
        Number: ("yellow", "yellow"),
    }
)
