"""A program as it is lowered: calls, custom rules and checkpoint regions become their equations.

A second computation of a checkpoint region stands behind an optimization barrier, as lowering puts
it there. What the policy of a region saves, its user wants saved: those values are kept.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ...ir.builder import Builder
from ...ir.graph import Equation, Graph, Value, memoised, walk_graphs
from ...ir.ops.call import call, checkpoint, custom_jvp_call, custom_vjp_call
from ...ir.ops.shape import optimization_barrier
from ..inline import enter_results

_WRITTEN_OUT = frozenset({call, checkpoint, custom_jvp_call, custom_vjp_call})


@dataclass(frozen=True)
class Flat:
    """A graph without calls at its own level, and the values that a user's policy saves."""

    graph: Graph
    kept: frozenset[Value]


def flat_graph(graph: Graph) -> Flat:
    """The graph with its calls written out; the bodies of loops and branches stay as they are."""
    for callee in walk_graphs(graph):  # callees first: no recursion
        memoised(callee, "flat", lambda callee=callee: _flat(callee))  # type: ignore[misc]
    found: Flat = graph.derived["flat"]
    return found


def _flat(graph: Graph) -> Flat:
    if not any(eqn.primitive in _WRITTEN_OUT for eqn in graph.equations):
        return Flat(graph, frozenset())
    b = Builder()
    env: dict[Any, Any] = {}
    kept: set[Value] = set()
    for eqn in graph.equations:
        b.location = eqn.location
        inputs = tuple([env.get(x, x) for x in eqn.inputs])
        if eqn.primitive not in _WRITTEN_OUT:
            b.append(eqn if inputs == eqn.inputs else eqn.replace(inputs=inputs))
            continue
        if eqn.primitive is checkpoint:
            inputs = behind_barrier(b, eqn, inputs)
        flat: Flat = eqn.params["graph"].derived["flat"]
        outputs = b.inline(flat.graph, inputs)
        enter_results(b, env, eqn, outputs)
        if eqn.primitive is checkpoint and eqn.params["policy"] and not _is_again(eqn):
            kept.update(x for x in map(env.get, eqn.outputs) if isinstance(x, Value))
    outputs = [env.get(x, x) for x in graph.outputs]
    flat_one = Graph(graph.inputs, b.equations, outputs, graph.name, graph.linear_from)
    return Flat(flat_one, frozenset(kept))


def _is_again(eqn: Equation) -> bool:
    return bool(eqn.params["differentiated"])


def behind_barrier(b: Builder, eqn: Equation, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
    """The operands of a checkpoint region as its second computation reads them."""
    flags = eqn.params["prevent_cse"]
    if not (_is_again(eqn) and flags):
        return inputs
    hidden = [True] * len(inputs) if flags is True else list(flags)
    chosen = [x for x, is_hidden in zip(inputs, hidden, strict=True) if is_hidden]
    if not chosen:
        return inputs
    behind = iter(b.emit(optimization_barrier, *chosen))
    return tuple(
        next(behind) if is_hidden else x for x, is_hidden in zip(inputs, hidden, strict=True)
    )
