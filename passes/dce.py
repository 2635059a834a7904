"""Dead code: equations whose outputs nobody reads are dropped, inside regions too.

    c: f32[] = cos x
    y: f32[] f32[3] = scan[...] w x0 xs      =>     y: f32[] = scan[...] w x0
    return y                                        return y

Law: the same outputs, the same effects; idempotent.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from ..ir.graph import Equation, Graph, Value, memoised
from ..ir.module import Module
from .base import Pass
from .counting import fewer_equations
from .regions import Flags, select
from .tables import dce as rules


def dce_graph(graph: Graph, used: Sequence[bool] | None = None) -> tuple[Graph, Flags]:
    """The graph that computes the used outputs from the inputs that these need.

    Second result: which inputs those are. All outputs count as used if `used` is not given.
    """
    flags = tuple(used) if used is not None else (True,) * len(graph.outputs)
    made: tuple[Graph, Flags] = memoised(graph, ("dce", flags), lambda: _dce(graph, flags))
    return made


def _dce(graph: Graph, used: Flags) -> tuple[Graph, Flags]:
    outputs = select(graph.outputs, used)
    live: set[Any] = set(outputs)
    kept = live_equations(graph.equations, live)
    used_inputs = tuple(v in live for v in graph.inputs)
    if all(used) and all(used_inputs) and is_same(kept, graph.equations):
        return graph, used_inputs
    inputs = select(graph.inputs, used_inputs)
    return Graph(inputs, kept, outputs, graph.name), used_inputs


def live_equations(equations: Sequence[Equation], live: set[Any]) -> list[Equation]:
    """The equations that make live values or have effects; what they read becomes live."""
    kept = []
    for eqn in reversed(equations):
        if live.isdisjoint(eqn.outputs) and not eqn.effects:
            continue
        if eqn.primitive.has_regions:
            eqn = prune(eqn, live)
        live.update(eqn.inputs)
        kept.append(eqn)
    kept.reverse()
    return kept


def prune(eqn: Equation, live: set[Any]) -> Equation:
    """The equation without unused outputs, and its regions without dead code."""
    rule = rules.get(eqn.primitive)
    if rule is None:
        return eqn
    pruned = rule(eqn, tuple(v in live for v in eqn.outputs))
    same = pruned.inputs == eqn.inputs and pruned.outputs == eqn.outputs
    if same and pruned.params == eqn.params:
        return eqn
    return pruned


def is_same(a: Sequence[Any], b: Sequence[Any]) -> bool:
    return len(a) == len(b) and all(x is y for x, y in zip(a, b, strict=True))


def region_of(graph: Graph, used: Sequence[bool], kept_inputs: Sequence[bool]) -> Graph:
    """`dce_graph` with the inputs that are flagged, whether it needs them or not."""
    pruned, used_inputs = dce_graph(graph, used)
    if tuple(kept_inputs) == used_inputs:
        return pruned
    inputs: list[Value] = select(graph.inputs, kept_inputs)
    if is_same(inputs, graph.inputs) and pruned.equations == graph.equations and all(used):
        return graph
    key = ("dce", tuple(used), tuple(kept_inputs))
    made: Graph = memoised(
        graph, key, lambda: Graph(inputs, pruned.equations, pruned.outputs, graph.name)
    )
    return made


def remove_dead(graph: Graph) -> Graph:
    """The graph without dead code; its inputs stay, read or not."""
    pruned, _ = dce_graph(graph)
    if pruned is graph or is_same(pruned.equations, graph.equations):
        return graph
    return graph.with_equations(pruned.equations)


@dataclass(frozen=True)
class Dce(Pass):
    """Drop equations whose outputs nobody reads, and unused values of regions.

    Inputs and outputs of the module's own graphs stay.
    """

    name: ClassVar[str] = "dce"
    law: ClassVar[str] = "equal outputs"

    def run_graph(self, graph: Graph) -> Graph:
        return remove_dead(graph)

    def counters(self, before: Module, after: Module) -> dict[str, int]:
        return fewer_equations(before, after, "dropped")
