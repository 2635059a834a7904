"""Scaled products: XLA's fused kernels where it has them."""

from __future__ import annotations

from collections.abc import Sequence

from ...ir.graph import Equation
from ...ir.ops import scaled as ops
from ..context import Context, MlirValue
from ..tables import expanded, lower

Operands = Sequence[MlirValue]

lower_written_out = expanded(ops.expand)


@lower.rule(ops.scaled_dot, ops.scaled_matmul)
def lower_scaled(ctx: Context, eqn: Equation, operands: Operands) -> Operands:
    """Of scaled_matmul, JAX has lowerings for some platforms."""
    types = [x.type for x in eqn.inputs], [v.type for v in eqn.outputs]
    if eqn.primitive is ops.scaled_matmul and not ctx.is_on("gpu"):
        return lower_written_out(ctx, eqn, operands)
    return ctx.borrow(eqn.primitive.name, *types, operands, **eqn.params)
