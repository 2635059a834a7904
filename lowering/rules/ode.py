"""Solves are lowered as the programs that they stand for."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from ...ir.graph import Equation, Graph
from ...ir.ops import ode as ops
from ...ir.solvers.expansion import expand
from ..context import Context, MlirValue
from ..kernels import with_kernels
from ..tables import callees, lower


@callees.rule(ops.ode, ops.linear_ode, ops.linear_ode_back)
def expanded(eqn: Equation) -> Iterable[Graph]:
    """What stands in the program instead: it calls the dynamics."""
    return (with_kernels(expand(eqn)),)


@lower.rule(ops.ode, ops.linear_ode, ops.linear_ode_back)
def lower_ode(ctx: Context, eqn: Equation, operands: Sequence[MlirValue]) -> Sequence[MlirValue]:
    return ctx.inline(with_kernels(expand(eqn)), operands)
