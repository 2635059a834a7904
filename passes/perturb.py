"""Add a perturbation to values of a program, inside of its loops and branches too.

    func @f(x: f32[3]) -> (f32[3]) {         func @f(x: f32[3], p: f32[3]) -> (f32[3]) {
      y: f32[3] = sin x                        y: f32[3] = sin x
      z: f32[3] = cos y               =>       a: f32[3] = add_any y p
      return z                                 z: f32[3] = cos a
    }                                          return z
                                             }

Law: with perturbations of zero, the same outputs. The derivative by a perturbation is that by the
value, wherever it is read.
"""

from __future__ import annotations

from typing import Any

from ..ir.builder import Builder
from ..ir.graph import Equation, Graph, Value
from ..ir.ops.call import checkpoint
from ..ir.ops.control import cond, scan
from ..ir.types import TensorType

Perturbations = dict[Value, Value]
"""For each value, the input that is added to it: of a value inside a scan, one for all steps."""


def perturb(
    graph: Graph, chosen: frozenset[Value], moved: dict[Value, Value]
) -> tuple[Graph, Perturbations]:
    """The graph with one more input for each chosen value that it makes, in their order.

    `moved` is told what becomes of each value: the sum, which everything reads instead.
    """
    b = Builder()
    env: dict[Any, Any] = {}
    added: Perturbations = {}
    for eqn in graph.equations:
        eqn = eqn.replace(inputs=tuple([env.get(x, x) for x in eqn.inputs]))
        if eqn.primitive is scan:
            eqn = _body(eqn, chosen, moved, added, (eqn.params["length"],))
        elif eqn.primitive is cond:
            eqn = _cond(eqn, chosen, moved, added)
        elif eqn.primitive is checkpoint:
            eqn = _body(eqn, chosen, moved, added)
        b.append(eqn)
        for v in eqn.outputs:
            if v in chosen:
                added[v] = Value(v.type)
                b.location = eqn.location
                env[v] = moved[v] = b.add_any(v, added[v])
    outputs = [env.get(x, x) for x in graph.outputs]
    return Graph((*graph.inputs, *added.values()), b.equations, outputs, graph.name), added


def _body(
    eqn: Equation,
    chosen: frozenset[Value],
    moved: dict[Value, Value],
    added: Perturbations,
    stacked: tuple[int, ...] = (),
) -> Equation:
    """Each step of a scan takes its own slice of a stack of perturbations."""
    body, inside = perturb(eqn.params["graph"], chosen, moved)
    if not inside:
        return eqn
    stacks = {
        v: Value(TensorType((*stacked, *p.type.shape), p.type.dtype)) for v, p in inside.items()
    }
    added.update(stacks)
    return eqn.replace(params={**eqn.params, "graph": body}, inputs=(*eqn.inputs, *stacks.values()))


def _cond(
    eqn: Equation, chosen: frozenset[Value], moved: dict[Value, Value], added: Perturbations
) -> Equation:
    """All branches take the perturbations of each."""
    changed = [perturb(branch, chosen, moved) for branch in eqn.params["branches"]]
    all_added = {v: p for _, inside in changed for v, p in inside.items()}
    if not all_added:
        return eqn
    branches = []
    for (branch, inside), old in zip(changed, eqn.params["branches"], strict=True):
        extra = [inside.get(v) or Value(p.type) for v, p in all_added.items()]
        branches.append(Graph((*old.inputs, *extra), branch.equations, branch.outputs, branch.name))
    given = {v: Value(p.type) for v, p in all_added.items()}
    added.update(given)
    params = {**eqn.params, "branches": tuple(branches)}
    return eqn.replace(params=params, inputs=(*eqn.inputs, *given.values()))
