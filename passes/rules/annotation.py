"""How what is said to the compiler of a value transforms. (Calls with metadata are in call.py.)"""

from __future__ import annotations

from collections.abc import Sequence

from ...ir.builder import Builder, Operand
from ...ir.graph import Equation
from ...ir.ops import annotation as ops
from .. import tables
from ..tables import Operands, unary_transpose
from .shape import shift


@unary_transpose(ops.layout_constraint)
def transpose_layout_constraint(b: Builder, eqn: Equation, ct: Operand) -> Operand:
    return b.layout_constraint(ct, **eqn.params)


@unary_transpose(ops.xla_metadata_value)
def transpose_metadata_value(b: Builder, eqn: Equation, ct: Operand) -> Operand:
    """The cotangent itself: what makes it is not what was spoken of."""
    return ct


@tables.batch.rule(ops.layout_constraint)
def batch_layout_constraint(
    b: Builder, eqn: Equation, inputs: Operands, batched: Sequence[bool], size: int
) -> tuple[Operands, Sequence[bool]]:
    """Each example as it was asked for, one after the other."""
    order = (0, *shift(eqn.params["major_to_minor"]))
    params = {**eqn.params, "major_to_minor": order}
    return b.emit(ops.layout_constraint, *inputs, **params), (True,)
