"""Derivatives and batching of sort and top_k: tangents are permuted as the elements were."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ...ir.builder import Builder, Operand, Zero
from ...ir.graph import Equation, Value
from ...ir.ops import sort as s
from ...ir.types import INT32, TensorType
from .. import tables
from ..tables import Operands, materialise_batch

Batched = tuple[Operands, Sequence[bool]]

tables.restates_primal.add(s.sort)


def take_along(b: Builder, t: Operand, index: Operand, axis: int) -> Operand:
    """t at distinct positions `index` along an axis, element by element along the others."""
    shape = index.type.shape
    if not index.type.size:
        return Zero(TensorType(shape, t.type.dtype, t.type.weak))
    others = tuple(i for i in range(len(shape)) if i != axis)
    return b.gather(
        t,
        b.reshape(index, new_sizes=(*shape, 1)),
        offset_dims=(),
        collapsed_slice_dims=(axis,),
        start_index_map=(axis,),
        operand_batching_dims=others,
        start_indices_batching_dims=others,
        slice_sizes=(1,) * len(shape),
        unique_indices=True,
        mode="PROMISE_IN_BOUNDS",
    )


@tables.jvp.rule(s.sort)
def jvp_sort(b: Builder, eqn: Equation, tangents: Operands) -> Operands:
    """The primal sort carries the positions along, unless (as in argsort) it does already."""
    axis = eqn.params["dimension"]
    index = _sorted_positions(b, eqn)
    if index is not None:
        b.append(eqn)
    else:
        shape = eqn.inputs[0].type.shape
        dtype = INT32 if shape[axis] < 2**31 else np.dtype(np.int64)
        positions = b.iota(dtype=dtype, shape=shape, dimension=axis)
        index = Value(positions.type)
        b.define((*eqn.outputs, index), eqn, inputs=(*eqn.inputs, positions))
    return [t if isinstance(t, Zero) else take_along(b, t, index, axis) for t in tangents]


def _sorted_positions(b: Builder, eqn: Equation) -> Value | None:
    """The output in which the equation returns where its elements were, if it has one."""
    for x, y in zip(eqn.inputs, eqn.outputs, strict=True):
        made = b.definition(x)
        is_iota = made is not None and made.primitive.name == "iota"
        if is_iota and made.params["dimension"] == eqn.params["dimension"]:  # type: ignore[union-attr]
            return y
    return None


@tables.jvp.rule(s.top_k)
def jvp_top_k(b: Builder, eqn: Equation, tangents: Operands) -> Operands:
    index = eqn.outputs[1]
    return [take_along(b, tangents[0], index, eqn.params["axis"]), Zero(index.type)]


@tables.jvp.rule(s.approx_top_k)
def jvp_approx_top_k(b: Builder, eqn: Equation, tangents: Operands) -> Operands:
    index = eqn.outputs[1]
    return [take_along(b, tangents[0], index, eqn.params["reduction_dimension"]), Zero(index.type)]


@tables.batch.rule(s.sort)
def batch_sort(
    b: Builder, eqn: Equation, inputs: Operands, batched: Sequence[bool], size: int
) -> Batched:
    params = {**eqn.params, "dimension": eqn.params["dimension"] + 1}
    given = zip(inputs, batched, strict=True)
    filled = [materialise_batch(b, x, is_batched, size) for x, is_batched in given]
    return b.emit(s.sort, *filled, **params), (True,) * len(filled)


@tables.batch.rule(s.top_k)
def batch_top_k(
    b: Builder, eqn: Equation, inputs: Operands, batched: Sequence[bool], size: int
) -> Batched:
    params = {**eqn.params, "axis": eqn.params["axis"] + 1}
    return b.emit(s.top_k, *inputs, **params), (True, True)


@tables.batch.rule(s.approx_top_k)
def batch_approx_top_k(
    b: Builder, eqn: Equation, inputs: Operands, batched: Sequence[bool], size: int
) -> Batched:
    """How many candidates there are depends on the rank: a vector's are then more than a row's."""
    params = {**eqn.params, "reduction_dimension": eqn.params["reduction_dimension"] + 1}
    return b.emit(s.approx_top_k, *inputs, **params), (True, True)
