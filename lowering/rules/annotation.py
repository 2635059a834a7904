"""Layouts and metadata: attributes of the operations that make or call something."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from jax.experimental.layout import Layout
from jaxlib.mlir import ir

from ...ir.graph import Equation
from ...ir.ops import annotation as ops
from ..context import Context, MlirValue
from ..tables import called, lower

Operands = Sequence[MlirValue]
ATTRIBUTES = "mhlo.frontend_attributes"

called.add(ops.xla_metadata_call)


@lower.rule(ops.layout_constraint)
def lower_layout_constraint(ctx: Context, eqn: Equation, operands: Operands) -> Operands:
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


def annotate(ctx: Context, values: Operands, pairs: Iterable[tuple[str, str]]) -> None:
    """Add attributes to the operations that make values; the arguments of a block have none."""
    for value in values:
        owner = value.owner
        if isinstance(owner, ir.Block):
            continue
        attributes = owner.operation.attributes
        given = {key: ctx.attributes.text(text) for key, text in pairs}
        if ATTRIBUTES in attributes:
            there = ir.DictAttr(attributes[ATTRIBUTES])
            given |= {there[i].name: there[i].attr for i in range(len(there))}
        attributes[ATTRIBUTES] = ir.DictAttr.get(given, ctx.module.context)
