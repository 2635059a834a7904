"""What variables of functions held when these returned: names for values that come out of library
functions and of expressions, as in `rows = jax.vmap(f)(x)` and `ys = jax.lax.scan(g, x, xs)[1]`.
"""

from __future__ import annotations

import ast
import linecache
from collections.abc import Iterable, Iterator
from functools import lru_cache
from types import CodeType, FrameType
from typing import Any

from ..ir.graph import Value
from .jax_compat import BatchTracer
from .source_names import parse_source
from .tracers import GraphTracer

Held = dict[Value, list[tuple[str, FrameType]]]
"""For a value, variables that held it last, and the calls in which they did."""


def held_values(frames: Iterable[FrameType]) -> Held:
    """The values that local variables of calls hold, and arguments that are assigned to."""
    found: Held = {}
    for frame in frames:
        code = frame.f_code
        if code.co_name.startswith("<"):  # a module, a lambda, a comprehension
            continue
        given = frozenset(_arguments(code)) - _assigned(code)
        for name, x in frame.f_locals.items():
            value = None if name in given or name in code.co_freevars else _value_of(x)
            if value is not None and name != "_":
                found.setdefault(value, []).append((name, frame))
    return found


def _value_of(x: Any) -> Value | None:
    """The value that a tracer stands for, also one of JAX's inside of its vmap."""
    while x.__class__ is not GraphTracer:
        if x.__class__ is not BatchTracer:
            return None
        x = x.val
    atom = x.atom
    return atom if isinstance(atom, Value) else None


def _arguments(code: CodeType) -> tuple[str, ...]:
    count = code.co_argcount + code.co_kwonlyargcount
    count += bool(code.co_flags & 0x04) + bool(code.co_flags & 0x08)  # *args, **kwargs
    return code.co_varnames[:count]


@lru_cache(maxsize=4096)
def _assigned(code: CodeType) -> frozenset[str]:
    """The variables that a function assigns to."""
    try:
        tree = parse_source("".join(linecache.getlines(code.co_filename)))
    except (SyntaxError, ValueError):
        return frozenset()
    kinds = ast.FunctionDef | ast.AsyncFunctionDef
    starts = [
        (node, min([node.lineno, *(d.lineno for d in node.decorator_list)]))
        for node in ast.walk(tree)
        if isinstance(node, kinds) and node.name == code.co_name
    ]
    return frozenset(
        name
        for node, line in starts
        if code.co_firstlineno in (line, node.lineno)
        for name in _stored(node.body)
    )


def _stored(body: Iterable[ast.stmt]) -> Iterator[str]:
    """The names that are assigned in a function, not in those that it defines."""
    pending: list[ast.AST] = list(body)
    while pending:
        node = pending.pop()
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda | ast.ClassDef):
            pending += ast.iter_child_nodes(node)
