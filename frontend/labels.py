"""What values are called: `function[call].variable[assignment]`."""

from __future__ import annotations

import ast
import linecache
import re
from collections.abc import Iterator
from functools import lru_cache
from typing import Any

from ..ir.graph import Location, Value
from .source_names import parse_source


class Labels:
    """Names for values: `function[call].variable[assignment]`, numbers only where there are
    several."""

    def __init__(self) -> None:
        self.calls: dict[str, dict[Any, int]] = {}
        self.variables: dict[tuple[str, str, Any], list[Value]] = {}

    def add(self, value: Value, function: str, variable: str, call: Any) -> None:
        """One more value. One whose call is not known (of what JAX had traced before) belongs to
        the last call, unless that has the variable."""
        numbers = self.calls.setdefault(function, {})
        if function and call is None:
            last = next(reversed(numbers), None)
            is_new = last is None or (function, variable, last) in self.variables
            call = object() if is_new else last
        numbers.setdefault(call, len(numbers) + 1)
        values = self.variables.setdefault((function, variable, call), [])
        if value not in values:
            values.append(value)

    def names(self) -> Iterator[tuple[str, Value]]:
        for (function, variable, call), values in self.variables.items():
            number = f"[{self.calls[function][call]}]" if len(self.calls[function]) > 1 else ""
            owner = f"{function}{number}." if function else ""
            for i, value in enumerate(values, 1):
                yield f"{owner}{variable}" + (f"[{i}]" if len(values) > 1 else ""), value


def variable_of(name: str) -> str:
    """The variable of a name, without the function."""
    return re.split(r"\.(?![^\[]*\])", name)[-1]


def unnumbered(name: str) -> str:
    """A name without the number of its assignment."""
    return re.sub(r"\[\d+\]$", "", name)


def function_of(value: Value, place: Location | None, location: Location | None) -> str | None:
    """The function in which a value was assigned to its variable: around the place of the
    assignment if that is known, else around the operation, if that function assigns the name."""
    if place is not None:
        around = _around(place)
        return around[-1][0] if around else None
    found = [name for name, stored in _around(location) if value.name in stored] if location else []
    return found[-1] if found else None


def _around(place: Location) -> list[tuple[str, frozenset[str]]]:
    """The functions around a line, the innermost last, with the names that they assign."""
    return [
        (name, stored)
        for first, last, name, stored in _functions(place.file)
        if first <= place.line <= last
    ]


@lru_cache(maxsize=1024)
def _functions(file: str) -> tuple[tuple[int, int, str, frozenset[str]], ...]:
    """The functions of a file: first and last line, name, names assigned; inner ones later."""
    try:
        tree = parse_source("".join(linecache.getlines(file)))
    except (SyntaxError, ValueError):
        return ()
    kinds = ast.FunctionDef | ast.AsyncFunctionDef
    found = [
        (node.lineno, node.end_lineno or 0, node.name, frozenset(_stored(node)))
        for node in ast.walk(tree)
        if isinstance(node, kinds)
    ]
    return tuple(sorted(found, key=lambda f: f[0]))


def _stored(function: ast.AST) -> Iterator[str]:
    for node in ast.walk(function):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id


@lru_cache(maxsize=4096)
def plain_name(path: str | None) -> str | None:
    """A name of the text for a path of JAX's: `params['w'][0]` becomes `params.w.0`."""
    return ".".join(re.findall(r"\w+", path)) or None if path else None
