"""How moves between memories transform: a tangent is kept where its primal is."""

from __future__ import annotations

from ...ir.builder import Builder, Operand
from ...ir.graph import Equation
from ...ir.ops import placement as ops
from .. import tables
from ..tables import unary_transpose
from .shape import batch_with, kept


@unary_transpose(ops.device_put)
def transpose_device_put(b: Builder, eqn: Equation, ct: Operand) -> Operand:
    """The cotangent goes the other way."""
    return b.device_put(ct, source=eqn.params["target"], target=eqn.params["source"])


tables.batch.define(ops.device_put, batch_with(source=kept, target=kept))
