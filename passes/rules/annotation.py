"""How what is said to the compiler of a value transforms. (Calls with metadata are in call.py.)"""

from __future__ import annotations

from collections.abc import Sequence

from ...ir.builder import Builder, Operand
from ...ir.graph import Equation, Value
from ...ir.ops import annotation as ops
from ...ir.ops.call import call
from .. import tables
from ..batch import batch_graph
from ..effects import call_with, guard, guarded, quiet_graph
from ..jvp import jvp_graph
from ..regions import arranged, nonzero, select, spread
from ..tables import Operands, unary_transpose
from .call import transpose_call
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


# -- composites: what a compiler knows by name is the value, not what is derived from it -----------


@tables.jvp.rule(ops.composite)
def jvp_composite(b: Builder, eqn: Equation, tangents: Operands) -> Operands:
    """The value keeps its name; its tangents are those of the graph."""
    b.append(eqn)
    active, n = nonzero(tangents), len(eqn.outputs)
    forward, out_nonzero = jvp_graph(eqn.params["graph"], active)
    if not any(out_nonzero):
        return spread((), out_nonzero, eqn.outputs)
    graph = quiet_graph(arranged(forward, forward.inputs, forward.outputs[n:]))
    dys = b.emit(call, *eqn.inputs, *select(tangents, active), graph=graph)
    return spread(dys, out_nonzero, eqn.outputs)


@tables.transpose.rule(ops.composite)
def transpose_composite(
    b: Builder, eqn: Equation, cts: Operands, linear: Sequence[bool]
) -> Operands:
    return transpose_call(b, eqn, cts, linear)


@guard.rule(ops.composite)
def guard_composite(b: Builder, eqn: Equation, here: Value) -> Equation:
    """A call, if it has effects; a compiler knows no other operands by its name."""
    if not eqn.effects:
        return eqn
    graph = guarded(eqn.params["graph"])
    return call_with(
        eqn.replace(primitive=call, params=call.complete({"graph": graph})), here, graph
    )


@tables.batch.rule(ops.composite)
def batch_composite(
    b: Builder, eqn: Equation, inputs: Operands, batched: Sequence[bool], size: int
) -> tuple[Operands, Sequence[bool]]:
    """A call: attributes such as an axis speak of the operands without the batch."""
    graph, out_batched = batch_graph(eqn.params["graph"], batched, size)
    return b.emit(call, *inputs, graph=graph), out_batched
