"""Cut a program at named values: the part between some of its values and others, by itself.

    before   inputs              -> (cut values, residuals, outputs that do not depend on them)
    between  (residuals, values) -> outputs that do

The values at which it is cut are inputs of `between`, independent of each other and of everything
else: what also reaches the outputs past them is a residual.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ..ir.graph import Atom, Equation, Graph, Literal, Value
from .dce import dce_graph, live_equations


@dataclass(frozen=True)
class Cut:
    """`before` returns the cut values, the residuals, then the outputs that are not `dependent`;
    `between` takes the residuals, then the cut values, and returns the others. `reached` are those
    of `dependent` that the cut values do reach: what a loop returns need not all depend on all that
    enters it."""

    before: Graph
    between: Graph
    n_residuals: int
    dependent: tuple[bool, ...]
    reached: tuple[bool, ...]


def cut_graph(graph: Graph, at: Sequence[Value], of: Sequence[Atom]) -> Cut:
    """Cut a graph at the values `at`; `of` are the values that are asked for."""
    cut, dependent = set(at), set(at)
    fresh: dict[Any, Any] = {}
    later: list[Equation] = []
    for eqn in graph.equations:
        if dependent.isdisjoint(eqn.inputs) and (eqn.inputs or eqn.effects):
            continue
        if not dependent.isdisjoint(eqn.inputs):
            dependent.update(v for v in eqn.outputs if v not in cut)
            if not cut.isdisjoint(eqn.outputs):  # its other outputs count, the cut ones are given
                outputs = tuple([Value(v.type) if v in cut else v for v in eqn.outputs])
                eqn = eqn.replace(outputs=outputs)
        elif not cut.isdisjoint(eqn.outputs):
            continue
        later.append(eqn)
    flags = tuple(x in dependent for x in of)
    wanted = [x for x, flag in zip(of, flags, strict=True) if flag]
    kept = live_equations(later, set(wanted))
    made = {v for eqn in kept for v in eqn.outputs}
    reads = dict.fromkeys(x for eqn in kept for x in eqn.inputs if not isinstance(x, Literal))
    residuals = [x for x in reads if x not in made and x not in cut]
    others = [x for x, flag in zip(of, flags, strict=True) if not flag]
    before = Graph(graph.inputs, graph.equations, (*at, *residuals, *others), graph.name)
    between = Graph((*residuals, *at), kept, [fresh.get(x, x) for x in wanted], "between")
    whole = dce_graph(before)[0]
    before = Graph(graph.inputs, whole.equations, whole.outputs, f"{graph.name}.before")
    return Cut(before, between, len(residuals), flags, _reached(between, len(residuals), flags))


def _reached(between: Graph, n_residuals: int, dependent: Sequence[bool]) -> tuple[bool, ...]:
    if not any(eqn.primitive.has_regions for eqn in between.equations):
        return tuple(dependent)
    n = len(between.outputs)
    reads = [dce_graph(between, [i == k for i in range(n)])[1][n_residuals:] for k in range(n)]
    reached = iter([any(flags) for flags in reads])
    return tuple([flag and next(reached) for flag in dependent])
