"""Common subexpressions: equal equations without effects become one.

Those of loops, branches and calls are equal if their regions are equal programs. Calls of functions
with rules of their own stay apart: a backward rule need not make of a sum of cotangents the sum of
what it makes of each.

Law: the same outputs; idempotent.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from ..ir.equality import by_structure
from ..ir.graph import Equation, Graph, equation_key, remembered, transformed
from ..ir.module import Module
from .base import Pass
from .counting import fewer_equations
from .regions import with_regions


def cse_graph(graph: Graph) -> Graph:
    """A graph, and the graphs that it holds, without repeated equations."""
    return transformed(graph, "cse", _cse)


def _cse(graph: Graph) -> Graph:
    seen: dict[Any, Equation] = {}
    with_regions_of: dict[Any, dict[Any, Equation]] = {}
    env: dict[Any, Any] = {}
    kept = []
    for eqn in graph.equations:
        if eqn.primitive.has_regions:
            eqn = with_regions(eqn, lambda region: remembered(region, "cse"))
        if env and not env.keys().isdisjoint(eqn.inputs):
            eqn = eqn.replace(inputs=tuple([env.get(x, x) for x in eqn.inputs]))
        if eqn.is_unique:
            kept.append(eqn)
            continue
        if eqn.primitive.has_regions:
            first = _first_alike(eqn, with_regions_of)
        else:
            key = equation_key(eqn.primitive, eqn.inputs, eqn.params)
            first = seen.setdefault(key, eqn)
        if first is eqn:
            kept.append(eqn)
        else:
            for old, new in zip(eqn.outputs, first.outputs, strict=True):
                env[old] = new
                if new.name is None:
                    new.name = old.name
    if len(kept) == len(graph.equations) and all(
        a is b for a, b in zip(kept, graph.equations, strict=True)
    ):
        return graph
    outputs = [env.get(x, x) for x in graph.outputs]
    return Graph(graph.inputs, kept, outputs, graph.name, graph.linear_from)


def _first_alike(eqn: Equation, earlier: dict[Any, dict[Any, Equation]]) -> Equation:
    """The first equation with equal regions on the same operands; regions are looked into only
    where operands are the same."""
    alike = earlier.setdefault((eqn.primitive, eqn.inputs), {None: eqn})
    only = alike.pop(None, None)  # whose regions nobody has looked into
    if only is eqn:
        alike[None] = eqn
        return eqn
    if only is not None:
        alike[_structure(only)] = only
    return alike.setdefault(_structure(eqn), eqn)


def _structure(eqn: Equation) -> Any:
    params = {name: by_structure(value) for name, value in eqn.params.items()}
    return equation_key(eqn.primitive, eqn.inputs, params)


@dataclass(frozen=True)
class Cse(Pass):
    """Replace an equation by an equal earlier one. Effects and custom rules are never merged."""

    name: ClassVar[str] = "cse"
    law: ClassVar[str] = "equal outputs"

    def run_graph(self, graph: Graph) -> Graph:
        return cse_graph(graph)

    def counters(self, before: Module, after: Module) -> dict[str, int]:
        return fewer_equations(before, after, "merged")
