"""Loops whose states are found again are lowered as the loops that they stand for."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from ...ir.graph import Equation, Graph
from ...ir.ops.rewind import replay, rewind
from ...ir.rewinding import expand
from ..context import Context, MlirValue
from ..tables import callees, lower


@callees.rule(replay, rewind)
def expanded(eqn: Equation) -> Iterable[Graph]:
    return (expand(eqn),)


@lower.rule(replay, rewind)
def lower_rewind(ctx: Context, eqn: Equation, operands: Sequence[MlirValue]) -> Sequence[MlirValue]:
    return ctx.inline(expand(eqn), operands)
