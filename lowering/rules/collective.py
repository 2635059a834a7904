"""Collectives over an axis that nothing maps: there is nothing to lower them to."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NoReturn

from ...ir.errors import CovectorError
from ...ir.graph import Equation
from ...ir.ops import collective as ops
from ..context import Context, MlirValue
from ..tables import lower


@lower.rule(*ops.COLLECTIVES)
def lower_unmapped(ctx: Context, eqn: Equation, operands: Sequence[MlirValue]) -> NoReturn:
    axes = ", ".join(map(str, ops.axes_of(eqn.params)))
    raise CovectorError(
        f"{eqn.primitive.name} over the axis {axes} is left in the program",
        eqn,
        stage="lowering",
        hint=ops.NO_AXIS,
    )
