"""Shape primitives: one StableHLO operation each, or a few that move elements.

An array of typed keys has the words of its elements behind its own axes: they are left alone.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from jaxlib.mlir import ir

from ...ir.graph import Equation, Literal
from ...ir.ops import shape as ops
from ...ir.types import TensorType
from ..context import Context, MlirValue
from ..mlir_types import tail
from ..narrow import converted, in_bytes
from ..tables import lower

Operands = Sequence[MlirValue]

WIDEST = 16
"""XLA compiles wide concatenations slowly: more operands than this are joined as a tree."""


@lower.rule(ops.broadcast_in_dim)
def lower_broadcast(ctx: Context, eqn: Equation, operands: Operands) -> Operands:
    out, axes = eqn.outputs[0].type, eqn.params["broadcast_dimensions"]
    x = eqn.inputs[0]
    if x.__class__ is Literal:
        return [ctx.full(x, out)]
    return [ctx.broadcast(operands[0], out, axes)]


def repeated_scalar(x: MlirValue) -> MlirValue | None:
    """The scalar that an array is made of, if it is one that is broadcast."""
    made = x.owner
    if isinstance(made, ir.Block) or made.name != "stablehlo.broadcast_in_dim":
        return None
    scalar = made.operands[0]
    return None if ir.RankedTensorType(scalar.type).shape else scalar


@lower.rule(ops.reshape, ops.squeeze)
def lower_reshape(ctx: Context, eqn: Equation, operands: Operands) -> Operands:
    return [ctx.op("stablehlo.reshape", eqn.outputs[0].type, *operands)]


@lower.rule(ops.transpose)
def lower_transpose(ctx: Context, eqn: Equation, operands: Operands) -> Operands:
    permutation = eqn.params["permutation"]
    rank = len(permutation)
    words = range(rank, rank + len(tail(eqn.inputs[0].type)))
    axes = ctx.attributes.integers((*permutation, *words))
    return [ctx.op("stablehlo.transpose", eqn.outputs[0].type, *operands, permutation=axes)]


@lower.rule(ops.rev)
def lower_rev(ctx: Context, eqn: Equation, operands: Operands) -> Operands:
    axes = ctx.attributes.integers(eqn.params["dimensions"])
    return [ctx.op("stablehlo.reverse", eqn.outputs[0].type, *operands, dimensions=axes)]


@lower.rule(ops.concatenate)
def lower_concatenate(ctx: Context, eqn: Equation, operands: Operands) -> Operands:
    types, (out,) = [x.type for x in eqn.inputs], [v.type for v in eqn.outputs]
    if out.dtype.name not in ("int2", "uint2"):
        return [concatenate(ctx, operands, types, eqn.params["dimension"])]
    wide = [in_bytes(t) for t in types]
    joined = concatenate(ctx, converted(ctx, operands, types, wide), wide, eqn.params["dimension"])
    return converted(ctx, [joined], [in_bytes(out)], [out])


def concatenate(ctx: Context, parts: Operands, types: Sequence[TensorType], axis: int) -> MlirValue:
    """Arrays joined along an axis, by a tree of concatenations."""
    where = ctx.attributes.integer(axis)
    values, kinds = list(parts), list(types)
    while len(values) > 1:
        groups = [slice(i, i + WIDEST) for i in range(0, len(values), WIDEST)]
        kinds, members = [_joined(kinds[g], axis) for g in groups], [values[g] for g in groups]
        values = [
            ctx.op("stablehlo.concatenate", kind, *group, dimension=where)
            for kind, group in zip(kinds, members, strict=True)
        ]
    return values[0]


def _joined(types: Sequence[TensorType], axis: int) -> TensorType:
    shape = types[0].shape
    length = sum([t.shape[axis] for t in types])
    return TensorType((*shape[:axis], length, *shape[axis + 1 :]), types[0].dtype)


@lower.rule(ops.pad)
def lower_pad(ctx: Context, eqn: Equation, operands: Operands) -> Operands:
    config = eqn.params["padding_config"]
    names = ("edge_padding_low", "edge_padding_high", "interior_padding")
    padding = {
        name: ctx.attributes.integers([axis[i] for axis in config]) for i, name in enumerate(names)
    }
    return [ctx.op("stablehlo.pad", eqn.outputs[0].type, *operands, **padding)]


@lower.rule(ops.iota)
def lower_iota(ctx: Context, eqn: Equation, operands: Operands) -> Operands:
    axis = ctx.attributes.integer(eqn.params["dimension"])
    return [ctx.op("stablehlo.iota", eqn.outputs[0].type, iota_dimension=axis)]


def slice_of(
    ctx: Context,
    x: MlirValue,
    out: TensorType,
    start: Sequence[int],
    limit: Sequence[int],
    strides: Sequence[int] | None = None,
) -> MlirValue:
    """`x[start:limit:strides]` of type `out`, with all words of its elements."""
    words = tail(out)
    integers = ctx.attributes.integers
    return ctx.op(
        "stablehlo.slice",
        out,
        x,
        start_indices=integers((*start, *[0] * len(words))),
        limit_indices=integers((*limit, *words)),
        strides=integers((*(strides or [1] * len(start)), *[1] * len(words))),
    )


def transposed(
    ctx: Context, x: MlirValue, type: TensorType, permutation: Sequence[int]
) -> MlirValue:
    """x with its axes in this order, of type `type`; elements of one word."""
    order = ctx.attributes.integers(permutation)
    return ctx.op("stablehlo.transpose", type, x, permutation=order)


def around(shape: tuple[int, ...], axis: int) -> tuple[int, int, int]:
    """A shape with the axes before one, and those behind it, as one each."""
    return math.prod(shape[:axis]), shape[axis], math.prod(shape[axis + 1 :])


@lower.rule(ops.split)
def lower_split(ctx: Context, eqn: Equation, operands: Operands) -> Operands:
    axis, shape = eqn.params["axis"], eqn.inputs[0].type.shape
    parts, position = [], 0
    for out in eqn.outputs:
        start, limit = [0] * len(shape), list(shape)
        start[axis] = position
        position = limit[axis] = position + out.type.shape[axis]
        parts.append(slice_of(ctx, operands[0], out.type, start, limit))
    return parts


@lower.rule(ops.unstack)
def lower_unstack(ctx: Context, eqn: Equation, operands: Operands) -> Operands:
    axis, x = eqn.params["axis"], eqn.inputs[0].type
    kept = x.with_shape((*x.shape[:axis], 1, *x.shape[axis + 1 :]))
    parts = []
    for i, out in enumerate(eqn.outputs):
        start, limit = [0] * len(x.shape), list(x.shape)
        start[axis], limit[axis] = i, i + 1
        part = slice_of(ctx, operands[0], kept, start, limit)
        parts.append(ctx.op("stablehlo.reshape", out.type, part))
    return parts


@lower.rule(ops.stack)
def lower_stack(ctx: Context, eqn: Equation, operands: Operands) -> Operands:
    axis, x = eqn.params["axis"], eqn.inputs[0].type
    kept = TensorType((*x.shape[:axis], 1, *x.shape[axis:]), x.dtype)
    axes = [i for i in range(len(kept.shape)) if i != axis]
    parts = [ctx.broadcast(part, kept, axes) for part in operands]
    return [concatenate(ctx, parts, [kept] * len(parts), axis)]


@lower.rule(ops.tile)
def lower_tile(ctx: Context, eqn: Equation, operands: Operands) -> Operands:
    """x[n, m] -> [r, n, s, m] -> [r n, s m]."""
    x, reps = eqn.inputs[0].type, eqn.params["reps"]
    repeated = [n for pair in zip(reps, x.shape, strict=True) for n in pair]
    spread = ctx.broadcast(
        operands[0], TensorType(tuple(repeated), x.dtype), range(1, len(repeated), 2)
    )
    return [ctx.op("stablehlo.reshape", eqn.outputs[0].type, spread)]


@lower.rule(ops.empty, ops.empty2)
def lower_empty(ctx: Context, eqn: Equation, operands: Operands) -> Operands:
    """Where XLA can hand out memory unwritten, a large array is not filled."""
    out = eqn.outputs[0].type
    if not out.shape or ctx.is_on("cpu"):
        return [ctx.full(0, out)]
    attributes = {
        "call_target_name": ctx.attributes.text("AllocateBuffer"),
        "has_side_effect": ctx.attributes.flag(False),
    }
    return [ctx.op("stablehlo.custom_call", out, **attributes)]


@lower.rule(ops.tie)
def lower_tie(ctx: Context, eqn: Equation, operands: Operands) -> Operands:
    return [operands[1]]


@lower.rule(ops.optimization_barrier)
def lower_barrier(ctx: Context, eqn: Equation, operands: Operands) -> Operands:
    if not operands:
        return []
    return ctx.barrier([v.type for v in eqn.outputs], operands)


@lower.rule(ops.dce_sink)
def lower_dce_sink(ctx: Context, eqn: Equation, operands: Operands) -> Operands:
    """Nothing, unless even the compiler must keep the operand."""
    if eqn.params["prevent_mlir_dce"]:
        ctx.ops(
            "stablehlo.custom_call",
            (),
            operands,
            call_target_name=ctx.attributes.text("dce_sink"),
            has_side_effect=ctx.attributes.flag(True),
            api_version=ctx.attributes.integer(4, bits=32),
        )
    return []
