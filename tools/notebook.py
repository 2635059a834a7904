"""A module in a notebook: a collapsible listing with its types, operations and lines in colour."""

from __future__ import annotations

import html
from typing import TYPE_CHECKING, Final

from ..passes.observers import program_text
from .highlight import CovectorLexer

if TYPE_CHECKING:
    from ..ir.module import Module

LINES: Final = 400
"""Lines of one function that are shown; a notebook that holds many listings must stay small."""
ELEMENTS: Final = 64
"""Elements of a captured array that are written out."""

STYLE: Final = """
.cv { --cv-dim: #6e7781; --cv-key: #0550ae; --cv-type: #0b7285; --cv-fn: #8250df;
      --cv-op: #116329; --cv-num: #953800; font-family: ui-monospace, monospace;
      font-size: 12px; line-height: 1.45; }
.cv pre { margin: 2px 0 8px 1.2em; white-space: pre; overflow-x: auto; background: none; }
.cv summary { cursor: pointer; }
.cv details details { margin-left: 1em; }
.cv .c { color: var(--cv-dim); } .cv .k { color: var(--cv-key); }
.cv .t { color: var(--cv-type); } .cv .f { color: var(--cv-fn); }
.cv .o { color: var(--cv-op); } .cv .n { color: var(--cv-num); }
@media (prefers-color-scheme: dark) { .cv { --cv-dim: #8b949e; --cv-key: #79c0ff;
  --cv-type: #56d4dd; --cv-fn: #d2a8ff; --cv-op: #7ee787; --cv-num: #ffa657; } }
[data-jp-theme-light="true"] .cv { --cv-dim: #6e7781; --cv-key: #0550ae; --cv-type: #0b7285;
  --cv-fn: #8250df; --cv-op: #116329; --cv-num: #953800; }
[data-jp-theme-light="false"] .cv, body.vscode-dark .cv { --cv-dim: #8b949e; --cv-key: #79c0ff;
  --cv-type: #56d4dd; --cv-fn: #d2a8ff; --cv-op: #7ee787; --cv-num: #ffa657; }
"""

_CLASSES: Final = (
    ("Token.Comment", "c"), ("Token.Keyword.Type", "t"), ("Token.Keyword", "k"),
    ("Token.Name.Function", "f"), ("Token.Name.Namespace", "f"), ("Token.Name.Constant", "f"),
    ("Token.Name.Builtin", "o"), ("Token.Literal.Number", "n"), ("Token.Literal.String", "n"),
    ("Token.Name.Attribute", "c"),
)  # fmt: skip


def module_html(module: Module) -> str:
    """The module as HTML that stands by itself: no scripts, nothing loaded."""
    text = program_text(module, elide_larger=ELEMENTS).splitlines()
    head, parts = _parts(text)
    equations = sum(len(graph) for graph in module.all_graphs())
    functions = sum(not _is_constants(part) for part in parts)
    counts = f"{_count(functions, 'function')}, {_count(equations, 'equation')}"
    summary = f"module @{module.name}: {counts}"
    shown = "".join(_part_html(part, i == 0) for i, part in enumerate(parts))
    return (
        f'<style>{STYLE}</style><div class="cv"><details open><summary>{html.escape(summary)}'
        f"</summary>{_pre(head) if head else ''}{shown}</details></div>"
    )


def _count(n: int, what: str) -> str:
    return f"{n} {what}" + ("" if n == 1 else "s")


def _parts(lines: list[str]) -> tuple[list[str], list[list[str]]]:
    """The lines before the first function, and those of each function and of the constants."""
    head: list[str] = []
    parts: list[list[str]] = []
    for line in lines[1:-1]:
        if line.startswith("  func ") or (
            line.startswith("  constant ") and (not parts or not _is_constants(parts[-1]))
        ):
            parts.append([])
        if line.strip():
            (parts[-1] if parts else head).append(line[2:])
    return head, parts


def _is_constants(part: list[str]) -> bool:
    return part[0].startswith("constant ")


def _part_html(part: list[str], is_open: bool) -> str:
    title, rest = part[0], part[1:]
    if _is_constants(part):
        title, rest = _count(len(part), "captured array"), part
    more = len(rest) - LINES
    if more > 0:
        rest = [*rest[:LINES], f"... {more} lines more"]
    opened = " open" if is_open else ""
    return f"<details{opened}><summary>{_coloured(title)}</summary>{_pre(rest)}</details>"


def _pre(lines: list[str]) -> str:
    return f"<pre>{_coloured(chr(10).join(lines))}</pre>"


def _coloured(text: str) -> str:
    """The text with its tokens in spans."""
    made = []
    for token, value in CovectorLexer(stripnl=False, ensurenl=False).get_tokens(text):
        name, shown = str(token), html.escape(value)
        short = next((c for prefix, c in _CLASSES if name.startswith(prefix)), None)
        made.append(f'<span class="{short}">{shown}</span>' if short else shown)
    return "".join(made)
