"""Custom derivative rules under passes: the rule of a batched or pruned function.

Each function here takes the rules of a custom call (thunks or graphs, see `ir/ops/call.py`) and
gives those of the changed function: thunks that ask the old rule when they are asked, and change
its graph. They are kept with the function's graph, so that equal calls have the same rules.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from ...ir.builder import Builder
from ...ir.graph import Graph, Thunk, Value, memoised
from ...ir.ops import call as c
from ...ir.ops.call import Flags
from ...ir.types import TensorType, has_tangent
from ..batch import batch_graph
from ..dce import region_of
from ..effects import guarded
from ..regions import arranged, select, widened

Params = dict[str, Any]
Rule = Thunk | Graph


def kept(params: Params, key: Any, make: Callable[[], Any]) -> Any:
    """The changed rules, made once for the function and the change."""
    rules = tuple(params[name] for name in ("jvp", "fwd", "bwd") if name in params)
    return memoised(params["graph"], (key, rules), make)


def like(rule: Rule, make: Callable[..., Any], signature: tuple[Flags, ...]) -> Rule:
    """A changed rule in the form of the old one: a thunk, or the graph for this signature."""
    if isinstance(rule, Thunk):
        return Thunk(rule.name, make)
    made = make(*signature)
    graph: Graph = made if isinstance(made, Graph) else made[0]
    return graph


def full_flags(params: Params) -> tuple[Flags, Flags]:
    """The inputs and outputs that can have tangents."""
    graph: Graph = params["graph"]
    inputs = c.inexact_flags(graph.input_types, params["num_consts"])
    return inputs, c.inexact_flags(graph.output_types)


def ct_flags(out_types: Sequence[tuple[Any, Any]], flags: Sequence[bool] | None = None) -> Flags:
    """Flags over all outputs of a custom_vjp function, from flags over those that have tangents."""
    can = tuple(has_tangent(TensorType(shape, dtype)) for shape, dtype in out_types)
    return can if flags is None else widened(flags, can)


# -- batch ---------------------------------------------------------------------------------------


def batch_jvp(params: Params, batched: Flags, size: int) -> Rule:
    def make(nonzero: Flags) -> tuple[Graph, Flags]:
        graph, out_active = c.jvp_rule_graph(params["jvp"], params["graph"], nonzero)
        flags = (*batched, *select(batched, nonzero))
        return batch_graph(graph, flags, size, (True,) * len(graph.outputs))[0], out_active

    def change() -> Rule:
        return like(params["jvp"], make, full_flags(params)[:1])

    rule: Rule = kept(params, ("batch", batched, size), change)
    return rule


def batch_vjp(params: Params, batched: Flags, size: int) -> tuple[Rule, Rule]:
    n_out = len(params["graph"].outputs)

    def batched_fwd(nonzero: Flags) -> tuple[Graph, Flags]:
        graph = c.fwd_rule_graph(params["fwd"], nonzero)
        force = [i < n_out for i in range(len(graph.outputs))]
        return batch_graph(graph, batched, size, force)

    def fwd(nonzero: Flags) -> Graph:
        return batched_fwd(nonzero)[0]

    def bwd(nonzero: Flags, ct_nonzero: Flags) -> tuple[Graph, Flags]:
        graph, in_active = c.bwd_rule_graph(params["bwd"], nonzero, ct_nonzero)
        residuals = batched_fwd(nonzero)[1][n_out:]
        return batch_bwd(graph, residuals, select(batched, in_active), size), in_active

    def change() -> tuple[Rule, Rule]:
        flags = full_flags(params)
        return like(params["fwd"], fwd, flags[:1]), like(params["bwd"], bwd, flags)

    rules: tuple[Rule, Rule] = kept(params, ("batch", batched, size), change)
    return rules


def batch_bwd(graph: Graph, residuals: Sequence[bool], wanted: Sequence[bool], size: int) -> Graph:
    """Batch a graph residuals | cts -> cts, all of whose given cotangents have a batch axis.

    `wanted` says which of the cotangents that it returns are to have one; those of inputs that are
    the same for all examples are summed over the batch.
    """
    flags = [residuals[i] if i < len(residuals) else True for i in range(len(graph.inputs))]
    rows, _ = batch_graph(graph, flags, size, (True,) * len(graph.outputs))
    if all(wanted):
        return rows
    b = Builder()
    for eqn in rows.equations:
        b.append(eqn)
    outputs = [
        ct if is_wanted else b.reduce_sum(ct, axes=(0,))
        for ct, is_wanted in zip(rows.outputs, wanted, strict=True)
    ]
    return b.graph(rows.inputs, outputs, rows.name)


def batch_bwd_everywhere(params: Params, residuals: Flags, size: int) -> Rule:
    """The bwd rule of a batched custom_vjp_linear, all of whose tangents have a batch axis."""

    def make(nonzero: Flags, ct_nonzero: Flags) -> tuple[Graph, Flags]:
        graph, in_active = c.bwd_rule_graph(params["bwd"], nonzero, ct_nonzero)
        return batch_bwd(graph, residuals, (True,) * len(graph.outputs), size), in_active

    return like(params["bwd"], make, (params["nonzero"], ct_flags(params["out_types"])))


# -- effects -------------------------------------------------------------------------------------


def guard_jvp(params: Params) -> Rule:
    def make(nonzero: Flags) -> tuple[Graph, Flags]:
        graph, out_active = c.jvp_rule_graph(params["jvp"], params["graph"], nonzero[1:])
        return guarded(graph), out_active

    def change() -> Rule:
        return like(params["jvp"], make, ((False, *full_flags(params)[0]),))

    rule: Rule = kept(params, "guard", change)
    return rule


def guard_vjp(params: Params) -> tuple[Rule, Rule]:
    """fwd hands its `here` on to bwd, before the other residuals."""
    n_out = len(params["graph"].outputs)

    def fwd(nonzero: Flags) -> Graph:
        graph = guarded(c.fwd_rule_graph(params["fwd"], nonzero[1:]))
        here, outputs = graph.inputs[0], graph.outputs
        return arranged(graph, graph.inputs, (*outputs[:n_out], here, *outputs[n_out:]))

    def bwd(nonzero: Flags, ct_nonzero: Flags) -> tuple[Graph, Flags]:
        graph, in_active = c.bwd_rule_graph(params["bwd"], nonzero[1:], ct_nonzero)
        return guarded(graph), (False, *in_active)

    def change() -> tuple[Rule, Rule]:
        inputs, cts = full_flags(params)
        signature = ((False, *inputs), cts)
        return like(params["fwd"], fwd, signature[:1]), like(params["bwd"], bwd, signature)

    rules: tuple[Rule, Rule] = kept(params, "guard", change)
    return rules


def guard_bwd(params: Params) -> Rule:
    """The bwd rule of a custom_vjp_linear, one of whose residuals is `here`."""

    def make(nonzero: Flags, ct_nonzero: Flags) -> tuple[Graph, Flags]:
        graph, in_active = c.bwd_rule_graph(params["bwd"], nonzero, ct_nonzero)
        return guarded(graph), in_active

    return like(params["bwd"], make, (params["nonzero"], ct_flags(params["out_types"])))


# -- dead code -----------------------------------------------------------------------------------


def pruned(graph: Graph, used: Sequence[bool]) -> Graph:
    return region_of(graph, used, (True,) * len(graph.inputs))


def prune_jvp(params: Params, used: Flags) -> Rule:
    def make(nonzero: Flags) -> tuple[Graph, Flags]:
        graph, out_active = c.jvp_rule_graph(params["jvp"], params["graph"], nonzero)
        return pruned(graph, (*used, *select(used, out_active))), tuple(select(out_active, used))

    def change() -> Rule:
        return like(params["jvp"], make, full_flags(params)[:1])

    rule: Rule = kept(params, ("dce rule", used), change)
    return rule


def prune_vjp(params: Params, used: Flags) -> tuple[Rule, Rule]:
    n_out = len(used)
    can = full_flags(params)[1]
    exact = params["symbolic_zeros"] and isinstance(params["bwd"], Thunk)
    n_exact = n_out - (params["carried"] if isinstance(params["bwd"], Thunk) else 0)

    def fwd(nonzero: Flags) -> Graph:
        graph = c.fwd_rule_graph(params["fwd"], nonzero)
        return pruned(graph, [i >= n_out or used[i] for i in range(len(graph.outputs))])

    def bwd(nonzero: Flags, ct_nonzero: Flags) -> tuple[Graph, Flags]:
        given = widened(ct_nonzero, used)
        asked = given if exact else (*can[:n_exact], *given[n_exact:])
        graph, in_active = c.bwd_rule_graph(params["bwd"], nonzero, asked)
        return (graph if exact else _without_cts(graph, asked, given)), in_active

    def change() -> tuple[Rule, Rule]:
        inputs = full_flags(params)[0]
        signature = (inputs, tuple(select(can, used)))
        return like(params["fwd"], fwd, signature[:1]), like(params["bwd"], bwd, signature)

    rules: tuple[Rule, Rule] = kept(params, ("dce rule", used), change)
    return rules


def _without_cts(graph: Graph, can: Flags, given: Flags) -> Graph:
    """A bwd graph that takes the given cotangents only; others that it can are zeros."""
    n_residuals = len(graph.inputs) - sum(can)
    b = Builder()
    cts = [Value(v.type, v.name) for v in graph.inputs[n_residuals:]]
    is_given = select(given, can)
    values = [ct if g else b.full(ct.type, 0) for ct, g in zip(cts, is_given, strict=True)]
    outputs = b.inline(graph, (*graph.inputs[:n_residuals], *values))
    return b.graph((*graph.inputs[:n_residuals], *select(cts, is_given)), outputs, graph.name)
