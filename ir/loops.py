"""Loops whose bodies are Python closures: what they read from outside becomes operands.

A body may read any value of the builder around it, as nested functions do.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from .builder import Builder
from .graph import Graph, Value, captures
from .ops.control import scan, while_
from .types import TensorType

Atoms = Sequence[Any]


def _body(
    run: Callable[..., Atoms], types: Sequence[TensorType], like: Builder, name: str
) -> tuple[Graph, tuple[Value, ...]]:
    """The graph of a closure (its captures come first), and what it captures."""
    b = Builder()
    b.location = like.location
    inputs = [Value(t.strong) for t in types]
    outputs = [b.instantiate(x) for x in run(b, *inputs)]
    captured = captures(inputs, b.equations, outputs)
    renamed: dict[Any, Any] = {v: Value(v.type, v.name) for v in captured}
    equations = [
        eqn.replace(inputs=tuple([renamed.get(x, x) for x in eqn.inputs])) for eqn in b.equations
    ]
    outs = [renamed.get(x, x) for x in outputs]
    return Graph((*renamed.values(), *inputs), equations, outs, name), captured


def while_loop(
    b: Builder,
    proceed: Callable[..., Any],
    step: Callable[..., Atoms],
    start: Atoms,
    name: str = "loop",
    **params: Any,
) -> list[Any]:
    """`while proceed(b, *carry): carry = step(b, *carry)`; the last carry."""
    types = [x.type for x in start]
    condition, read = _body(lambda b, *c: [proceed(b, *c)], types, b, f"{name}.condition")
    body, captured = _body(step, types, b, name)
    return list(
        b.emit(
            while_,
            *(*read, *captured, *start),
            cond_graph=condition,
            body_graph=body,
            cond_nconsts=len(read),
            body_nconsts=len(captured),
            **params,
        )
    )


def scan_loop(
    b: Builder,
    step: Callable[[Builder, list[Any], list[Any]], tuple[Atoms, Atoms]],
    start: Atoms,
    xs: Atoms,
    length: int,
    reverse: bool = False,
    name: str = "scan",
    **params: Any,
) -> tuple[list[Any], list[Any]]:
    """`carry, y = step(b, carry, x)` for each x; the last carry and the stacked ys."""
    types = [x.type for x in start]
    slices = [x.type.with_shape(x.type.shape[1:]) for x in xs]
    n = len(types)

    def run(b: Builder, *values: Any) -> Atoms:
        carry, ys = step(b, list(values[:n]), list(values[n:]))
        return [*carry, *ys]

    body, captured = _body(run, [*types, *slices], b, name)
    found = b.emit(
        scan,
        *(*captured, *start, *xs),
        graph=body,
        num_consts=len(captured),
        num_carry=n,
        length=length,
        reverse=reverse,
        **params,
    )
    return list(found[:n]), list(found[n:])
