"""A program for each device of a mesh: a manual computation of Shardy's."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from jaxlib.mlir import ir

from ...ir.errors import CovectorError
from ...ir.graph import Constant, Equation, Graph, walk_graphs
from ...ir.ops.call import constant
from ...ir.ops.shard_map import Mesh, Spec, shard_map
from ..context import Context, MlirValue, create
from ..host import effects_of_graphs
from ..tables import lower

Operands = Sequence[MlirValue]


@lower.rule(shard_map)
def lower_shard_map(ctx: Context, eqn: Equation, operands: Operands) -> Operands:
    """Reads nothing of what is around it: captured arrays are operands, the same for all."""
    p, graph = eqn.params, eqn.params["graph"]
    mesh: Mesh = p["mesh"]
    if effects_of_graphs((graph,)):
        raise CovectorError(
            "shard_map with ordered effects is not supported", eqn, stage="lowering",
            hint="devices have no order: use unordered effects",
        )  # fmt: skip
    outer, ctx.mesh = ctx.mesh, mesh
    try:
        if math.prod(size for name, size in mesh if name in p["manual_axes"]) == 1:
            return ctx.inline(graph, operands)
        return _manual(ctx, eqn, operands, _constants(graph))
    finally:
        ctx.mesh = outer


def _manual(
    ctx: Context, eqn: Equation, operands: Operands, captured: Sequence[Constant]
) -> Operands:
    p, graph = eqn.params, eqn.params["graph"]
    arrays = [x for x in captured if x in ctx.constants]
    same = [((),) * len(x.type.shape) for x in arrays]
    types = [ctx.types[x.type] for x in (*arrays, *graph.inputs)]
    inputs = [*(ctx.constants[x] for x in arrays), *operands]
    results = [ctx.types[v.type] for v in eqn.outputs]
    axes = ", ".join(f'"{name}"' for name in p["manual_axes"])
    made = create(
        "sdy.manual_computation",
        results,
        inputs,
        {
            "in_shardings": _shardings(ctx, p["mesh"], (*same, *p["in_specs"]), types),
            "out_shardings": _shardings(ctx, p["mesh"], p["out_specs"], results),
            "manual_axes": ctx.attributes.parse(f"#sdy<manual_axes{{{axes}}}>"),
        },
        regions=1,
        loc=ctx.location,
    )
    block = made.regions[0].blocks.append(*types, arg_locs=[ctx.location] * len(types))
    kept: tuple[Any, ...] = ctx.scalars, ctx.constants, ctx.location
    arguments = list(block.arguments)
    ctx.scalars, ctx.constants = {}, dict(zip(arrays, arguments, strict=False))
    with ir.InsertionPoint(block):
        outputs = ctx.inline(graph, arguments[len(arrays) :])
        create("sdy.return", [], list(outputs), loc=ctx.location)
    ctx.scalars, ctx.constants, ctx.location = kept
    return list(made.results)


def _constants(graph: Graph) -> list[Constant]:
    """The captured arrays that a graph and what it calls read."""
    found: dict[Constant, None] = {}
    for inner in walk_graphs(graph):
        for eqn in inner.equations:
            if eqn.primitive is constant:
                found.setdefault(eqn.params["value"])
    return list(found)


def _shardings(
    ctx: Context, mesh: Mesh, specs: Sequence[Spec], types: Sequence[ir.Type]
) -> ir.Attribute:
    """How values of these types are parted; keys have an axis more there, of their words."""
    axes = ", ".join(f'"{name}"={size}' for name, size in mesh)
    listed = []
    for spec, type in zip(specs, types, strict=True):
        whole = ((),) * (ir.RankedTensorType(type).rank - len(spec))
        cuts = (*spec, *whole)
        dims = ", ".join("{" + ", ".join(f'"{a}"' for a in cut) + "}" for cut in cuts)
        listed.append(f"<mesh<[{axes}]>, [{dims}]>")
    parsed: ir.Attribute = ctx.attributes.parse(f"#sdy.sharding_per_value<[{', '.join(listed)}]>")
    return parsed
