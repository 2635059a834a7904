"""Which variable the value of an expression was assigned to, read from the source's syntax tree.

A file is parsed once, when the first operation is recorded from it. What comes back is keyed by the
position of the expression, which the interpreter also knows for the running instruction.
"""

from __future__ import annotations

import ast
import linecache
import threading
from collections.abc import Iterator
from functools import lru_cache
from typing import Final

from ..ir.memory import collector_paused

Position = tuple[int, int, int, int]
"""First line, last line, first column, last column, as code objects and syntax trees count them."""

Names = tuple[str | None, ...]
"""The targets of an assignment, in order; None for a target that is no plain name."""

RETURNED: Final[Names] = ()
"""In place of names: the value is what a function returns, so its caller may know a name."""

_FILES: Final[dict[str, tuple[list[str], dict[Position, Names]]]] = {}


_PARSING: Final = threading.Lock()


def parse_source(text: str) -> ast.Module:
    """The syntax tree of source text. Raises SyntaxError and ValueError, as ast.parse does.

    One thread at a time, and without garbage collection, in which others may get their turn:
    Python 3.11 counts the depth of trees for all threads together, and raises SystemError.
    """
    with _PARSING, collector_paused():
        return ast.parse(text)


def assigned_names(file: str) -> dict[Position, Names]:
    """The names that expressions of a file are assigned to, by position; empty without source."""
    lines = linecache.getlines(file)
    known = _FILES.get(file)
    if known is not None and known[0] is lines:
        return known[1]
    try:
        tree = parse_source("".join(lines))
    except (SyntaxError, ValueError):
        found: dict[Position, Names] = {}
    else:
        found = dict(_assignments(tree))
    _FILES[file] = (lines, found)
    return found


def _assignments(tree: ast.AST) -> Iterator[tuple[Position, Names]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign):
            for target in reversed(node.targets):
                yield from _pairs(target, node.value)
        elif isinstance(node, ast.AnnAssign | ast.NamedExpr) and node.value is not None:
            yield from _pairs(node.target, node.value)
        elif isinstance(node, ast.AugAssign):
            # The operation of `x += y` has the position of the whole statement.
            yield _position(node), (_name(node.target),)
        elif isinstance(node, ast.Return) and node.value is not None:
            yield from _returned(node.value)
        elif isinstance(node, ast.Lambda):
            yield from _returned(node.body)


def _returned(value: ast.expr) -> Iterator[tuple[Position, Names]]:
    if isinstance(value, ast.IfExp):
        yield from _returned(value.body)
        yield from _returned(value.orelse)
    else:
        yield _position(value), RETURNED


def _pairs(target: ast.expr, value: ast.expr) -> Iterator[tuple[Position, Names]]:
    if isinstance(value, ast.IfExp):
        yield from _pairs(target, value.body)
        yield from _pairs(target, value.orelse)
    elif isinstance(target, ast.Tuple | ast.List):
        if isinstance(value, ast.Tuple | ast.List) and len(value.elts) == len(target.elts):
            for one, expression in zip(target.elts, value.elts, strict=True):
                yield from _pairs(one, expression)
        elif not any(isinstance(one, ast.Starred) for one in target.elts):
            yield _position(value), tuple(_name(one) for one in target.elts)
    else:
        yield _position(value), (_name(target),)


def _name(target: ast.expr) -> str | None:
    if isinstance(target, ast.Name):
        return None if target.id == "_" else target.id
    return target.attr if isinstance(target, ast.Attribute) else None


def _position(node: ast.expr | ast.stmt) -> Position:
    return (
        node.lineno,
        node.end_lineno or node.lineno,
        node.col_offset,
        node.end_col_offset or node.col_offset,
    )


@lru_cache(maxsize=1024)
def _returned_variables(file: str) -> tuple[tuple[int, int, frozenset[str]], ...]:
    """First and last line of each function of a file, and the variables that it returns."""
    try:
        tree = parse_source("".join(linecache.getlines(file)))
    except (SyntaxError, ValueError):
        return ()
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            values = [n.value for n in ast.walk(node) if isinstance(n, ast.Return)]
            names = frozenset(v.id for v in values if isinstance(v, ast.Name))
            found.append((node.lineno, node.end_lineno or 0, names))
    return tuple(sorted(found, key=lambda f: f[0]))


def returns_variable(file: str, line: int, name: str) -> bool:
    """Whether the innermost function around a line returns the variable as it is."""
    around = [names for first, last, names in _returned_variables(file) if first <= line <= last]
    return bool(around) and name in around[-1]
