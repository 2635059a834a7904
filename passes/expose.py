"""Values inside of loops, branches and checkpointed parts, as outputs of these.

    s: f32[] = scan[...] x ws                    s: f32[], q: f32[8,3] = scan[...] x ws
    @body: q: f32[3] = tanh c            =>      @body: returns q too

Of a value inside of a scan, the stack over its iterations; of one in a branch that is not taken, 0.

Law: the same outputs, and more.
"""

from __future__ import annotations

from typing import Any

from ..ir.builder import Builder
from ..ir.graph import Equation, Graph, Value
from ..ir.ops.call import checkpoint
from ..ir.ops.control import cond, scan
from ..ir.types import TensorType
from .regions import with_regions

OPENED = (scan, cond, checkpoint)
"""What is looked into: where the number of executions is known, and derivatives are ours."""

Inside = dict[Value, Value]
"""For values made inside of loops and branches, what the outermost graph knows of them."""


def expose(graph: Graph, wanted: frozenset[Value]) -> tuple[Graph, Inside]:
    """The graph with those of the wanted values that are made inside of `OPENED` as outputs of
    these equations, and where each is found."""
    known: Inside = {}
    equations = []
    for eqn in graph.equations:
        if eqn.primitive is scan:
            eqn = _body(eqn, wanted, known, (eqn.params["length"],))
        elif eqn.primitive is cond:
            eqn = _branches(eqn, wanted, known)
        elif eqn.primitive is checkpoint:
            eqn = _body(eqn, wanted, known)
        equations.append(eqn)
    return (graph.with_equations(equations), known) if known else (graph, known)


def _found(graph: Graph, wanted: frozenset[Value]) -> tuple[Graph, Inside]:
    """A region opened, and the wanted values that it makes, itself or further inside."""
    opened, known = expose(graph, wanted)
    own = {v: v for eqn in graph.equations for v in eqn.outputs if v in wanted}
    return opened, {**known, **own}


def _body(
    eqn: Equation, wanted: frozenset[Value], known: Inside, stacked: tuple[int, ...] = ()
) -> Equation:
    """The equation with more outputs, which have these axes in front."""
    body, found = _found(eqn.params["graph"], wanted)
    if not found:
        return eqn
    stacks = {
        v: Value(TensorType((*stacked, *x.type.shape), x.type.dtype), v.name)
        for v, x in found.items()
    }
    known.update(stacks)
    body = Graph(body.inputs, body.equations, (*body.outputs, *found.values()), body.name)
    params = {**eqn.params, "graph": body}
    return eqn.replace(params=params, outputs=(*eqn.outputs, *stacks.values()))


def _branches(eqn: Equation, wanted: frozenset[Value], known: Inside) -> Equation:
    """Every branch returns the values of all: zeros for those of the others."""
    opened = [_found(branch, wanted) for branch in eqn.params["branches"]]
    found = [pair for _, inside in opened for pair in inside.items()]
    if not found:
        return eqn
    branches = []
    for branch, inside in opened:
        b = Builder()
        for e in branch.equations:
            b.append(e)
        extra = [x if v in inside else b.full(x.type.strong, 0) for v, x in found]
        branches.append(b.graph(branch.inputs, (*branch.outputs, *extra), branch.name))
    outs = {v: Value(x.type.strong, v.name) for v, x in found}
    known.update(outs)
    params = {**eqn.params, "branches": tuple(branches)}
    return eqn.replace(params=params, outputs=(*eqn.outputs, *outs.values()))


# -- regions of their own --------------------------------------------------------------------------


def unshared(graph: Graph) -> tuple[Graph, Inside]:
    """The graph with a body of its own for each equation of `OPENED`, so that each value is made in
    one place; of values that are copies, what they are copies of. Law: the same outputs."""
    copies: Inside = {}
    return _unshared(graph, set(), copies), copies


def _unshared(graph: Graph, seen: set[Graph], copies: Inside) -> Graph:
    equations = []
    for eqn in graph.equations:
        if eqn.primitive in OPENED:
            eqn = with_regions(eqn, lambda region: _own(region, seen, copies))
        equations.append(eqn)
    changed = any(e is not old for e, old in zip(equations, graph.equations, strict=True))
    return graph.with_equations(equations) if changed else graph


def _own(region: Graph, seen: set[Graph], copies: Inside) -> Graph:
    if region in seen:
        return _copied(region, copies)
    seen.add(region)
    return _unshared(region, seen, copies)


def _copied(graph: Graph, copies: Inside) -> Graph:
    """The same program of other values."""
    env: dict[Any, Any] = {v: Value(v.type, v.name) for v in graph.inputs}
    equations = []
    for eqn in graph.equations:
        if eqn.primitive in OPENED:
            eqn = with_regions(eqn, lambda region: _copied(region, copies))
        made = {v: Value(v.type, v.name) for v in eqn.outputs}
        inputs = tuple([env.get(x, x) for x in eqn.inputs])
        env.update(made)
        copies.update((new, copies.get(v, v)) for v, new in made.items())
        equations.append(eqn.replace(inputs=inputs, outputs=tuple(made.values())))
    ends = [env.get(x, x) for x in graph.outputs]
    return Graph([env[v] for v in graph.inputs], equations, ends, graph.name)
