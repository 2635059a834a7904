"""A program as its equations are typed when they run one by one: sums of cotangents are plain sums.

What a sum of two cotangents promotes to depends, in JAX, on who makes it: in a trace it is as
weakly typed as the first of them (`add_any`), un-jitted it is so only if both are (`add`).
"""

from __future__ import annotations

from typing import Any

from ..ir.builder import Builder
from ..ir.graph import Equation, Graph, Value, memoised
from ..ir.ops.elementwise import add, add_any


def typed_eagerly(graph: Graph) -> Graph:
    """The graph with the types that its own equations have un-jitted; not those of its regions."""
    made: Graph = memoised(graph, "typed eagerly", lambda: _typed_eagerly(graph))
    return made


def _typed_eagerly(graph: Graph) -> Graph:
    if not any(map(_loses_weakness, graph.equations)):
        return graph
    b = Builder()
    env: dict[Any, Any] = {}
    for eqn in graph.equations:
        b.replace(eqn)
        primitive = add if eqn.primitive is add_any else eqn.primitive
        inputs = [env.get(x, x) for x in eqn.inputs]
        for old, new in zip(eqn.outputs, b.emit(primitive, *inputs, **eqn.params), strict=True):
            env[old] = new
            if new.__class__ is Value and new.name is None:
                new.name = old.name
    outputs = [env.get(x, x) for x in graph.outputs]
    return Graph(graph.inputs, b.equations, outputs, graph.name, graph.linear_from)


def _loses_weakness(eqn: Equation) -> bool:
    if eqn.primitive is not add_any:
        return False
    x, y = eqn.inputs
    return x.type.weak and not y.type.weak
