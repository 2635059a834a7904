"""Calls and captured arrays."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ...ir.graph import Equation
from ...ir.ops import call as ops
from ..context import Context, MlirValue
from ..tables import called, lower

called.add(ops.call)


@lower.rule(ops.call)
def lower_call(ctx: Context, eqn: Equation, operands: Sequence[MlirValue]) -> Sequence[MlirValue]:
    return ctx.call(eqn.params["graph"], operands)


@lower.rule(ops.constant)
def lower_constant(
    ctx: Context, eqn: Equation, operands: Sequence[MlirValue]
) -> Sequence[MlirValue]:
    """An argument of the function; a small array is written out."""
    constant = eqn.params["value"]
    found = ctx.constants.get(constant)
    if found is None:
        array = np.asarray(constant.array).astype(constant.type.dtype, copy=False)
        found = ctx.array(array)
    return [found]
