"""A program for each device of a mesh: a manual computation of Shardy's."""

from __future__ import annotations

from collections.abc import Sequence

from ...ir.errors import CovectorError
from ...ir.graph import Constant, Equation, Graph, walk_graphs
from ...ir.ops.call import constant
from ...ir.ops.shard_map import Mesh, parted_axes, shard_map
from ..context import Context, MlirValue
from ..host import effects_of_graphs
from ..manual import manual_computation
from ..tables import lower

Operands = Sequence[MlirValue]


@lower.rule(shard_map)
def lower_shard_map(ctx: Context, eqn: Equation, operands: Operands) -> Operands:
    p, graph = eqn.params, eqn.params["graph"]
    mesh: Mesh = p["mesh"]
    if effects_of_graphs((graph,)):
        raise CovectorError(
            "shard_map with ordered effects is not supported", eqn, stage="lowering",
            hint="devices have no order: use unordered effects",
        )  # fmt: skip
    outer, parted = (ctx.mesh, ctx.manual), parted_axes(p)
    ctx.mesh, ctx.manual = mesh, {axes.union(parted) for axes in ctx.manual}
    try:
        if not parted:
            return ctx.inline(graph, operands)
        return _manual(ctx, eqn, operands, _constants(graph))
    finally:
        ctx.mesh, ctx.manual = outer


def _manual(
    ctx: Context, eqn: Equation, operands: Operands, captured: Sequence[Constant]
) -> Operands:
    p, graph = eqn.params, eqn.params["graph"]
    arrays = [x for x in captured if x in ctx.constants]
    same = [((),) * len(x.type.shape) for x in arrays]
    types = [ctx.types[x.type] for x in (*arrays, *graph.inputs)]
    inputs = [*(ctx.constants[x] for x in arrays), *operands]
    results = [ctx.types[v.type] for v in eqn.outputs]

    def body(values: Operands) -> Operands:
        ctx.constants = dict(zip(arrays, values, strict=False))
        return ctx.inline(graph, values[len(arrays) :])

    given = inputs, types, (*same, *p["in_specs"])
    made = results, p["out_specs"]
    return manual_computation(ctx, p["mesh"], p["manual_axes"], given, made, body)


def _constants(graph: Graph) -> list[Constant]:
    """The captured arrays that a graph and what it calls read."""
    found: dict[Constant, None] = {}
    for inner in walk_graphs(graph):
        for eqn in inner.equations:
            if eqn.primitive is constant:
                found.setdefault(eqn.params["value"])
    return list(found)
