"""Materialize: custom derivative rules that are still Python become graphs, and thereby text.

    y = custom_jvp_call[graph=@f, jvp=<rule>] x    =>    y = custom_jvp_call[graph=@f, jvp=@rule] x

Law: the same outputs, and the same derivatives.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from ..ir.builder import Builder, Zero
from ..ir.graph import Equation, Graph, Thunk, memoised, remembered, walk_graphs
from ..ir.ops import call as c
from ..ir.ops.call import Flags, custom_jvp_call, custom_vjp_linear
from ..ir.types import TensorType
from .base import Pass
from .dce import is_same
from .regions import with_regions


def materialize_graph(graph: Graph, depth: int = 1) -> Graph:
    """The graph, and those it holds, with the graphs of custom rules in place of their thunks.

    A rule may call the function whose rule it is, so rules inside of rules are materialized to a
    given depth only.
    """
    if depth == 0:
        return graph
    key = ("materialize", depth)
    for callee in walk_graphs(graph):
        memoised(callee, key, lambda callee=callee: _materialize(callee, key, depth))  # type: ignore[misc]
    made: Graph = remembered(graph, key)
    return made


def _materialize(graph: Graph, key: Any, depth: int) -> Graph:
    equations = []
    for eqn in graph.equations:
        if not eqn.outputs and not eqn.effects:  # dead; JAX cannot say what its rule would be
            continue
        if eqn.primitive.has_regions:
            eqn = with_regions(eqn, lambda region: remembered(region, key))
            eqn = with_rules(eqn, depth)
        equations.append(eqn)
    if is_same(equations, graph.equations):
        return graph
    return graph.with_equations(equations)


def with_rules(eqn: Equation, depth: int) -> Equation:
    """A custom call with graphs for rules, for all tangents and cotangents that there can be."""
    params = eqn.params
    if not any(isinstance(params.get(rule), Thunk) for rule in ("jvp", "fwd", "bwd")):
        return eqn
    rules: dict[str, Graph] = {}
    if eqn.primitive is custom_vjp_linear:
        types = iter(x.type for x in eqn.inputs[params["num_residuals"] :])
        wanted = [next(types) if flag else None for flag in params["nonzero"]]
        can = c.inexact_flags([TensorType(shape, dtype) for shape, dtype in params["out_types"]])
        rules["bwd"] = _bwd(params["bwd"], wanted, can)
    else:
        graph: Graph = params["graph"]
        asked = c.inexact_flags(graph.input_types, params["num_consts"])
        can = c.inexact_flags(graph.output_types)
        if eqn.primitive is custom_jvp_call:
            rule, given = c.jvp_rule_graph(params["jvp"], graph, asked)
            rules["jvp"] = complete(rule, len(can), given, _where(graph.output_types, can))
        else:
            rules["fwd"] = c.fwd_rule_graph(params["fwd"], asked)
            rules["bwd"] = _bwd(params["bwd"], _where(graph.input_types, asked), can)
    made = {name: materialize_graph(rule, depth - 1) for name, rule in rules.items()}
    return eqn.replace(params={**params, **made, "symbolic_zeros": False})


def _where(types: Sequence[TensorType], flags: Flags) -> list[TensorType | None]:
    return [t if flag else None for t, flag in zip(types, flags, strict=True)]


def _bwd(rule: Any, wanted: Sequence[TensorType | None], cts: Flags) -> Graph:
    graph, given = c.bwd_rule_graph(rule, tuple(t is not None for t in wanted), cts)
    return complete(graph, 0, given, wanted)


def complete(graph: Graph, n_kept: int, given: Flags, wanted: Sequence[TensorType | None]) -> Graph:
    """A rule's graph that gives, after its first outputs, every wanted one: zeros for the missing.

    `given` says which of them it gives.
    """
    if given == tuple(t is not None for t in wanted):
        return graph
    found = iter(graph.outputs[n_kept:])
    b = Builder()
    for eqn in graph.equations:
        b.append(eqn)
    outputs: list[Any] = list(graph.outputs[:n_kept])
    for type, is_given in zip(wanted, given, strict=True):
        x = next(found) if is_given else None
        if type is not None:
            outputs.append(Zero(type) if x is None else x)
    return b.graph(graph.inputs, outputs, graph.name)


@dataclass(frozen=True)
class Materialize(Pass):
    """Ask the custom derivative rules that are still Python for their graphs.

    Option depth: how deep to go into rules that call functions with rules (themselves, say).
    """

    name: ClassVar[str] = "materialize"
    law: ClassVar[str] = "equal outputs"

    depth: int = 1

    def run_graph(self, graph: Graph) -> Graph:
        return materialize_graph(graph, self.depth)
