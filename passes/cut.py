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

from ..ir.builder import Builder
from ..ir.graph import Atom, Equation, Graph, Literal, Value
from ..ir.ops.call import checkpoint
from ..ir.ops.control import cond, scan
from ..ir.types import TensorType
from .dce import dce_graph, live_equations
from .inline import inline_graph


@dataclass(frozen=True)
class Cut:
    """`before` returns the cut values, the residuals, then the outputs that are not `dependent`;
    `between` takes the residuals, then the cut values, and returns the others."""

    before: Graph
    between: Graph
    n_residuals: int
    dependent: tuple[bool, ...]


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
    return Cut(before, between, len(residuals), flags)


# -- values inside of loops and branches -----------------------------------------------------------

Inside = dict[Value, Value]
"""For values made inside of loops and branches, what the outermost graph knows of them."""


def expose(graph: Graph) -> tuple[Graph, Inside]:
    """The graph with its calls inlined, and the named values of its loops, branches and
    checkpointed parts as outputs of these: stacked over the iterations of a scan, zero where a
    branch is not taken."""
    return _expose(inline_graph(graph))


def _expose(graph: Graph) -> tuple[Graph, Inside]:
    known: Inside = {}
    equations = []
    for eqn in graph.equations:
        if eqn.primitive is scan:
            eqn = _expose_scan(eqn, known)
        elif eqn.primitive is cond:
            eqn = _expose_cond(eqn, known)
        elif eqn.primitive is checkpoint:
            eqn = _expose_body(eqn, known)
        equations.append(eqn)
    return graph.with_equations(equations), known


def named_values(graph: Graph, known: Inside) -> dict[Value, Value]:
    """The values of a graph that bear names, and those inside, each with what is known of it."""
    own = {v: v for eqn in graph.equations for v in eqn.outputs if v.name}
    return {**known, **own}


def _expose_scan(eqn: Equation, known: Inside) -> Equation:
    return _expose_body(eqn, known, (eqn.params["length"],))


def _expose_body(eqn: Equation, known: Inside, stacked: tuple[int, ...] = ()) -> Equation:
    """The equation with more outputs: named values of its body, with these axes in front."""
    body, inside = _expose(eqn.params["graph"])
    named = named_values(body, inside)
    if not named:
        return eqn
    stacks = []
    for inner, value in named.items():
        t = value.type
        known[inner] = Value(TensorType((*stacked, *t.shape), t.dtype), inner.name)
        stacks.append(known[inner])
    body = Graph(body.inputs, body.equations, (*body.outputs, *named.values()), body.name)
    return eqn.replace(params={**eqn.params, "graph": body}, outputs=(*eqn.outputs, *stacks))


def _expose_cond(eqn: Equation, known: Inside) -> Equation:
    exposed = [_expose(branch) for branch in eqn.params["branches"]]
    named = [named_values(*pair) for pair in exposed]
    types = [v.type for values in named for v in values.values()]
    if not types:
        return eqn
    branches, start = [], 0
    for (branch, _), values in zip(exposed, named, strict=True):
        b = Builder()
        for e in branch.equations:
            b.append(e)
        extra: list[Any] = [b.full(t, 0) for t in types]
        extra[start : start + len(values)] = values.values()
        start += len(values)
        branches.append(b.graph(branch.inputs, (*branch.outputs, *extra), branch.name))
    outs = [Value(v.type, i.name) for values in named for i, v in values.items()]
    known.update(zip((i for values in named for i in values), outs, strict=True))
    params = {**eqn.params, "branches": tuple(branches)}
    return eqn.replace(params=params, outputs=(*eqn.outputs, *outs))
