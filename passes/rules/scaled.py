"""How scaled products transform."""

from __future__ import annotations

from collections.abc import Sequence

from ...ir.builder import Builder
from ...ir.graph import Equation, Graph, Value
from ...ir.ops import scaled as ops
from .. import tables
from ..jvp import jvp_graph
from ..regions import nonzero, select, spread
from ..tables import Operands, materialise_batch
from .shape import shift

tables.restates_primal.update((ops.scaled_dot, ops.scaled_matmul))


@tables.jvp.rule(ops.scaled_dot, ops.scaled_matmul)
def jvp_scaled(b: Builder, eqn: Equation, tangents: Operands) -> Operands:
    """The derivative of the product written with dot_general, in the dtype that it computes in."""
    b.append(eqn)
    active = nonzero(tangents)
    forward, out_nonzero = jvp_graph(_written_out(eqn), active)
    found = b.inline(forward, (*eqn.inputs, *select(tangents, active)))
    return spread(found[1:], out_nonzero, eqn.outputs)


def _written_out(eqn: Equation) -> Graph:
    inner = Builder()
    inputs = [Value(x.type.strong) for x in eqn.inputs]
    return inner.graph(inputs, [ops.expand(inner, *inputs, **eqn.params)], eqn.primitive.name)


@tables.batch.rule(ops.scaled_dot, ops.scaled_matmul)
def batch_scaled(
    b: Builder, eqn: Equation, inputs: Operands, batched: Sequence[bool], size: int
) -> tuple[Operands, Sequence[bool]]:
    """The batch axis is one more batch axis of the product, in front; scaled_matmul, which has one
    such axis, merges it with its own."""
    pairs = zip(inputs, batched, strict=True)
    full = [materialise_batch(b, x, is_batched, size) for x, is_batched in pairs]
    if eqn.primitive is ops.scaled_matmul:
        merged = [b.reshape(x, new_sizes=(size * x.type.shape[1], *x.type.shape[2:])) for x in full]
        (y,) = b.emit(ops.scaled_matmul, *merged, **eqn.params)
        return [b.reshape(y, new_sizes=(size, *eqn.outputs[0].type.shape))], (True,)
    contracting, batch = eqn.params["dimension_numbers"]
    numbers = (tuple(map(shift, contracting)), tuple((0, *shift(axes)) for axes in batch))
    return b.emit(ops.scaled_dot, *full, **{**eqn.params, "dimension_numbers": numbers}), (True,)
