"""Layouts and metadata: attributes of the operations that make or call something."""

from __future__ import annotations

from collections.abc import Sequence

from jax.experimental.layout import Layout
from jaxlib.mlir import ir

from ...ir.graph import Equation
from ...ir.ops import annotation as ops
from ...ir.ops.annotation import attribute_value
from ..context import Context, MlirValue
from ..frontend_attributes import annotate
from ..jax_compat import attribute_of
from ..tables import lower

Operands = Sequence[MlirValue]


@lower.rule(ops.layout_constraint)
def lower_layout_constraint(ctx: Context, eqn: Equation, operands: Operands) -> Operands:
    if 0 in eqn.outputs[0].type.shape:  # laid out by nothing; XLA may divide by its size
        return operands
    types = [x.type for x in eqn.inputs], [v.type for v in eqn.outputs]
    layout = Layout(*eqn.params.values())
    return ctx.borrow("layout_constraint", *types, operands, layout=layout)


@lower.rule(ops.xla_metadata_value)
def lower_metadata_value(ctx: Context, eqn: Equation, operands: Operands) -> Operands:
    annotate(ctx, operands, eqn.params["xla_metadata_kvs"])
    return operands


@lower.rule(ops.xla_metadata_call)
def lower_metadata_call(ctx: Context, eqn: Equation, operands: Operands) -> Operands:
    results = ctx.call(eqn.params["graph"], operands)
    annotate(ctx, results[:1], eqn.params["xla_metadata"])
    return results


@lower.rule(ops.annotated)
def lower_annotated(ctx: Context, eqn: Equation, operands: Operands) -> Operands:
    """The operations are written here, even if the graph is a function as well."""
    outer, location, equation = ctx.attributed, ctx.location, ctx.equation
    ctx.attributed = (*outer, *eqn.params["attributes"])
    results = ctx.write(eqn.params["graph"], operands)
    ctx.attributed, ctx.location, ctx.equation = outer, location, equation
    return results


@lower.rule(ops.composite)
def lower_composite(ctx: Context, eqn: Equation, operands: Operands) -> Operands:
    """One operation with the graph, a function, beside it; its first operands are captured."""
    p, graph = eqn.params, eqn.params["graph"]
    if graph.effects:  # which no operation that is known by name has
        return ctx.inline(graph, operands)
    symbol, constants = ctx.functions[graph]
    types = [v.type for v in eqn.outputs]
    values = ((key, attribute_value(plain)) for key, plain in p["attributes"])
    given = {key: attribute_of(value) for key, value in values if value is not None}
    return ctx.ops(
        "stablehlo.composite",
        types,
        [*(ctx.constants[c] for c in constants), *operands],
        name=ctx.attributes.text(p["name"]),
        decomposition=ir.FlatSymbolRefAttr.get(symbol),
        composite_attributes=ir.DictAttr.get(given, ctx.module.context),
        version=ctx.attributes.integer(p["version"], 32),
    )
