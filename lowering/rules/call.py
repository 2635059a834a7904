"""Calls, captured arrays, and the calls that carry instructions for the passes.

A custom derivative rule means nothing here: the function itself is lowered.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ...ir.errors import ForwardModeError
from ...ir.graph import Equation
from ...ir.ops import call as ops
from ...ir.ops.custom_vmap import custom_vmap_call
from ...ir.ops.forward_call import forward_call
from ...ir.ops.linear_call import linear_call
from ..context import Context, MlirValue
from ..tables import lower

Operands = Sequence[MlirValue]


@lower.rule(ops.call)
def lower_call(ctx: Context, eqn: Equation, operands: Operands) -> Operands:
    p = eqn.params
    return ctx.call(p["graph"], operands, outlined=p["outlined"], kernel=p["kernel"])


@lower.rule(ops.constant)
def lower_constant(ctx: Context, eqn: Equation, operands: Operands) -> Operands:
    """An argument of the function; a small array is written out."""
    constant = eqn.params["value"]
    found = ctx.constants.get(constant)
    if found is None:
        array = np.asarray(constant.array).astype(constant.type.dtype, copy=False)
        found = ctx.array(array)
    return [found]


@lower.rule(ops.custom_jvp_call, ops.custom_vjp_call, linear_call, custom_vmap_call, forward_call)
def lower_custom(ctx: Context, eqn: Equation, operands: Operands) -> Operands:
    return ctx.inline(eqn.params["graph"], operands)


@lower.rule(ops.custom_vjp_linear)
def lower_custom_vjp_linear(ctx: Context, eqn: Equation, operands: Operands) -> Operands:
    name = eqn.params["name"]
    hint = ops.forward_mode_hint(name, eqn.location, eqn.params["bwd"].name)
    raise ForwardModeError(ops.forward_mode_claim(name), eqn, hint=hint)


@lower.rule(ops.checkpoint)
def lower_checkpoint(ctx: Context, eqn: Equation, operands: Operands) -> Operands:
    """What is computed again stands behind a barrier: XLA would find it equal to what was saved."""
    p = eqn.params
    if p["differentiated"] and p["prevent_cse"]:
        kept = p["prevent_cse"]
        kept = [True] * len(operands) if kept is True else kept
        values = [x for x, is_kept in zip(operands, kept, strict=True) if is_kept]
        types = [x.type for x, is_kept in zip(eqn.inputs, kept, strict=True) if is_kept]
        if values:
            behind = iter(ctx.barrier(types, values))
            operands = [
                next(behind) if is_kept else x for x, is_kept in zip(operands, kept, strict=True)
            ]
    return ctx.inline(p["graph"], operands)


@lower.rule(ops.name)
def lower_name(ctx: Context, eqn: Equation, operands: Operands) -> Operands:
    return operands
