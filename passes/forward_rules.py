"""Forward mode through custom_vjp functions, whose bwd rule is the transpose of what it needs.

    y = custom_vjp_call[graph=@f, fwd=@fwd, bwd=@bwd] x
                =>    y = custom_jvp_call[graph=@f, jvp=@f.forward] x

    func @f.forward(x, dx):    y, residuals = fwd(x);    dy = bwd.transpose(residuals, dx)

Law: the same outputs. Where bwd is the transpose of the derivative, as it should be, also the same
derivatives.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from ..ir.builder import Builder
from ..ir.graph import Equation, Graph, Thunk, Value, memoised, remembered, walk_graphs
from ..ir.module import Module
from ..ir.ops import call as c
from ..ir.ops.call import Flags, call, custom_jvp_call, custom_vjp_call
from .base import Pass
from .counting import uses
from .jvp import tangent_name
from .regions import arranged, select, with_regions
from .transpose import transpose_graph

Params = dict[str, Any]


def with_forward_rules(graph: Graph) -> Graph:
    """The graph, and those it holds, with a custom_jvp_call for each custom_vjp_call."""
    for callee in walk_graphs(graph):
        memoised(callee, "forward rules", lambda callee=callee: _rewrite(callee))  # type: ignore[misc]
    made: Graph = remembered(graph, "forward rules")
    return made


def _rewrite(graph: Graph) -> Graph:
    equations = [_forward(eqn) for eqn in graph.equations]
    if all(a is b for a, b in zip(equations, graph.equations, strict=True)):
        return graph
    return graph.with_equations(equations)


def _forward(eqn: Equation) -> Equation:
    if not eqn.primitive.has_regions:
        return eqn
    if eqn.primitive is custom_vjp_call:
        old = eqn.params
        rule = memoised(old["graph"], ("forward rule", old["fwd"], old["bwd"]), lambda: _rule(old))
        params = {key: old[key] for key in ("graph", "num_consts", "symbolic_zeros")}
        complete = custom_jvp_call.complete({**params, "jvp": rule})
        eqn = eqn.replace(primitive=custom_jvp_call, params=complete)
    return with_regions(eqn, _forward_of)


def _forward_of(region: Graph) -> Graph:
    done: Graph = (
        remembered(region, "forward rules") if "forward rules" in region.derived else region
    )
    return done


def _rule(params: Params) -> Thunk | Graph:
    """The jvp rule: a thunk, like the rules that it is made of, or a graph."""
    if isinstance(params["fwd"], Thunk) or isinstance(params["bwd"], Thunk):
        return Thunk(
            f"{params['graph'].name}.forward", lambda nonzero: forward_rule(params, nonzero)
        )
    graph: Graph = params["graph"]
    return forward_rule(params, c.inexact_flags(graph.input_types, params["num_consts"]))[0]


def forward_rule(params: Params, nonzero: Flags) -> tuple[Graph, Flags]:
    """The graph (inputs, tangents) -> (outputs, tangents), and which outputs it gives tangents of.

    Raises PassError or MissingRule when bwd is not linear in its cotangents.
    """
    graph: Graph = params["graph"]
    n_out = len(graph.outputs)
    can = c.inexact_flags(graph.output_types)
    if params["carried"]:  # second values of mutable arrays have no tangents
        n_own = len(nonzero) - params["carried"]
        nonzero = (*nonzero[:n_own], *[False] * params["carried"])
        can = (*can[: n_out - params["carried"]], *[False] * params["carried"])
    fwd = c.fwd_rule_graph(params["fwd"], nonzero)
    bwd, given = c.bwd_rule_graph(params["bwd"], nonzero, can)
    asked = arranged(bwd, bwd.inputs, select(bwd.outputs, select(nonzero, given)))
    n_residuals = len(fwd.outputs) - n_out
    linear = [i >= n_residuals for i in range(len(bwd.inputs))]
    push, _ = transpose_graph(asked, linear, force=linear)
    b = Builder()
    inputs = [Value(v.type, v.name) for v in graph.inputs]
    dxs = [Value(v.type, tangent_name(v.name)) for v in inputs]
    both = [n and g for n, g in zip(nonzero, given, strict=True)]
    made = b.emit(call, *inputs, graph=fwd)
    dys = b.emit(call, *made[n_out:], *select(dxs, both), graph=push)
    result = b.graph(
        (*inputs, *select(dxs, nonzero)), (*made[:n_out], *dys), f"{graph.name}.forward"
    )
    return result, can


@dataclass(frozen=True)
class ForwardRules(Pass):
    """Give custom_vjp functions a forward rule: the transpose of their bwd rule.

    Run it before jvp, which cannot differentiate them otherwise. It relies on bwd being the
    transpose of a derivative; a bwd that is not linear (it clips, say) is an error in jvp.
    """

    name: ClassVar[str] = "forward_rules"
    law: ClassVar[str] = "equal outputs"

    def run_graph(self, graph: Graph) -> Graph:
        return with_forward_rules(graph)

    def counters(self, before: Module, after: Module) -> dict[str, int]:
        return {"rules": uses(before, "custom_vjp_call")}
