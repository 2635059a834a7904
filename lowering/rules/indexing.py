"""Slices, gathers and scatters.

XLA moves windows of gathers and dynamic slices inside their operand, and drops scattered windows
that are not inside: the other modes are made of these by masking and by clamping indices.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

import ml_dtypes
import numpy as np
from jaxlib.mlir.dialects import stablehlo as hlo

from ...ir.graph import Equation
from ...ir.ops import indexing as ops
from ...ir.primitive import Primitive
from ...ir.types import BOOL, Dtype, TensorType, dtype_category, real_dtype
from .. import monoids
from ..context import Context, MlirValue
from ..mlir_types import physical, tail
from ..monoids import compare
from ..tables import lower
from .conversion import convert
from .shape import repeated_scalar, slice_of

Operands = Sequence[MlirValue]
Combine = Callable[[Context, TensorType, MlirValue, MlirValue], MlirValue]


@lower.rule(ops.slice_)
def lower_slice(ctx: Context, eqn: Equation, operands: Operands) -> Operands:
    p, out = eqn.params, eqn.outputs[0].type
    start, limit, strides = p["start_indices"], p["limit_indices"], p["strides"]
    return [slice_of(ctx, operands[0], out, start, limit, strides)]


def _starts(ctx: Context, eqn: Equation, operands: Operands, first: int) -> Operands:
    """The start indices, with zeros for the words of typed keys."""
    words = tail(eqn.inputs[0].type)
    if not words:
        return operands[first:]
    type = eqn.inputs[first].type if len(operands) > first else TensorType((), np.dtype("int32"))
    return [*operands[first:], *[ctx.full(0, type)] * len(words)]


@lower.rule(ops.dynamic_slice)
def lower_dynamic_slice(ctx: Context, eqn: Equation, operands: Operands) -> Operands:
    out = eqn.outputs[0].type
    starts = _starts(ctx, eqn, operands, 1)
    sizes = ctx.attributes.integers(physical(out).shape)
    return [ctx.op("stablehlo.dynamic_slice", out, operands[0], *starts, slice_sizes=sizes)]


@lower.rule(ops.dynamic_update_slice)
def lower_dynamic_update_slice(ctx: Context, eqn: Equation, operands: Operands) -> Operands:
    starts = _starts(ctx, eqn, operands, 2)
    out = eqn.outputs[0].type
    return [ctx.op("stablehlo.dynamic_update_slice", out, *operands[:2], *starts)]


# -- gather --------------------------------------------------------------------------------------


@lower.rule(ops.gather)
def lower_gather(ctx: Context, eqn: Equation, operands: Operands) -> Operands:
    out = eqn.outputs[0].type
    if 0 in out.shape:
        seen = physical(out)
        return [ctx.full(0, seen)]
    x, indices = operands
    index_type = eqn.inputs[1].type
    if eqn.params["mode"] != "FILL_OR_DROP":
        return [_gather(ctx, eqn, x, indices, index_type)]
    index_dtype = np.dtype(
        "int64" if max(eqn.inputs[0].type.shape, default=0) >= 2**31 else "int32"
    )
    indices = convert(ctx, indices, index_type, index_dtype)
    index_type = TensorType(index_type.shape, index_dtype)
    is_inside = _inside(ctx, eqn, indices, index_type)
    found = _gather(ctx, eqn, x, indices, index_type)
    seen = physical(out)
    offset = eqn.params["offset_dims"]
    batch = [i for i in range(len(out.shape)) if i not in offset]
    mask = ctx.broadcast(is_inside, TensorType(seen.shape, BOOL), batch)
    fill = ctx.full(_fill_value(eqn, seen.dtype), seen)
    return [ctx.op("stablehlo.select", seen, mask, found, fill)]


def _gather(
    ctx: Context, eqn: Equation, x: MlirValue, indices: MlirValue, index_type: TensorType
) -> MlirValue:
    """The gather itself: windows outside of x are moved inside."""
    p, out = eqn.params, eqn.outputs[0].type
    scalar = repeated_scalar(x)
    if scalar is not None:
        return ctx.broadcast(scalar, out, ())
    words = tail(out)
    rank = len(out.shape)
    numbers = hlo.GatherDimensionNumbers.get(
        offset_dims=[*p["offset_dims"], *range(rank, rank + len(words))],
        collapsed_slice_dims=list(p["collapsed_slice_dims"]),
        operand_batching_dims=list(p["operand_batching_dims"]),
        start_indices_batching_dims=list(p["start_indices_batching_dims"]),
        start_index_map=list(p["start_index_map"]),
        index_vector_dim=len(index_type.shape) - 1,
    )
    return ctx.op(
        "stablehlo.gather",
        out,
        x,
        indices,
        dimension_numbers=numbers,
        slice_sizes=ctx.attributes.integers((*p["slice_sizes"], *words)),
        indices_are_sorted=ctx.attributes.flag(p["indices_are_sorted"]),
    )


def _inside(ctx: Context, eqn: Equation, indices: MlirValue, index_type: TensorType) -> MlirValue:
    """bool[*batch]: whether the window at each position lies inside the operand. One comparison
    tells both ends: read without a sign, negative indices are larger than all that there are."""
    shape, sizes = eqn.inputs[0].type.shape, eqn.params["slice_sizes"]
    last = [shape[i] - sizes[i] for i in eqn.params["start_index_map"]]
    rank = len(index_type.shape) - 1
    unsigned = index_type.with_dtype(np.dtype(f"u{index_type.dtype}"))
    read = ctx.op("stablehlo.bitcast_convert", unsigned, indices)
    inside = compare(ctx, "LE", read, _row(ctx, last, unsigned), unsigned)
    return monoids.reduce(ctx, monoids.AND, inside, index_type.with_dtype(BOOL), (rank,))


def _row(ctx: Context, numbers: Sequence[int], type: TensorType) -> MlirValue:
    """A vector repeated along all axes but the last, which it fills."""
    vector = ctx.array(np.array(numbers, type.dtype))  # type: ignore[arg-type]
    return ctx.broadcast(vector, type, (len(type.shape) - 1,))


def _fill_value(eqn: Equation, dtype: Dtype) -> Any:
    """The value of elements outside: as asked for, else NaN, or an integer that is out of range."""
    value = eqn.params["fill_value"]
    if value is not None:
        return value
    category = dtype_category(dtype)
    if category in ("float", "complex"):
        return np.nan
    if category == "bool":
        return True
    info = ml_dtypes.iinfo(dtype)
    return info.min if category == "int" else info.max


# -- scatter -------------------------------------------------------------------------------------


COMBINE: Final[dict[Primitive, Combine]] = {
    ops.scatter: lambda ctx, type, old, new: new,
    ops.scatter_add: monoids.ADD.combine,
    ops.scatter_sub: lambda ctx, type, old, new: ctx.op("stablehlo.subtract", type, old, new),
    ops.scatter_mul: monoids.MUL.combine,
    ops.scatter_min: monoids.MIN.combine,
    ops.scatter_max: monoids.MAX.combine,
}


@lower.rule(*COMBINE)
def lower_scatter(ctx: Context, eqn: Equation, operands: Operands) -> Operands:
    x, indices, updates = operands
    if eqn.params["mode"] == "CLIP":
        indices = _clamp_indices(ctx, eqn, indices)
    out, new = physical(eqn.outputs[0].type), physical(eqn.inputs[2].type)
    is_sum = eqn.primitive in (ops.scatter_add, ops.scatter_sub)
    if not (is_sum and out.dtype.name == "complex128" and ctx.is_on("gpu")):
        return [_scatter(ctx, eqn, x, indices, updates, out)]
    dtype = real_dtype(out.dtype)  # no atomic operation on a GPU is so wide: part by part
    part, new_part = TensorType(out.shape, dtype), TensorType(new.shape, dtype)
    parts = [
        _scatter(ctx, eqn, ctx.op(name, part, x), indices, ctx.op(name, new_part, updates), part)
        for name in ("stablehlo.real", "stablehlo.imag")
    ]
    return [ctx.op("stablehlo.complex", out, *parts)]


@lower.rule(ops.scatter_apply)
def lower_scatter_apply(ctx: Context, eqn: Equation, operands: Operands) -> Operands:
    x, indices, windows = operands
    if eqn.params["mode"] == "CLIP":
        indices = _clamp_indices(ctx, eqn, indices)
    return [_scatter(ctx, eqn, x, indices, windows, eqn.outputs[0].type)]


def _scatter(
    ctx: Context,
    eqn: Equation,
    x: MlirValue,
    indices: MlirValue,
    updates: MlirValue,
    out: TensorType,
) -> MlirValue:
    """The scatter itself: windows outside of x are dropped."""
    p = eqn.params
    rank, words = len(eqn.inputs[2].type.shape), len(tail(eqn.inputs[0].type))
    numbers = hlo.ScatterDimensionNumbers.get(
        update_window_dims=[*p["update_window_dims"], *range(rank, rank + words)],
        inserted_window_dims=list(p["inserted_window_dims"]),
        input_batching_dims=list(p["operand_batching_dims"]),
        scatter_indices_batching_dims=list(p["scatter_indices_batching_dims"]),
        scattered_dims_to_operand_dims=list(p["scatter_dims_to_operand_dims"]),
        index_vector_dim=len(eqn.inputs[1].type.shape) - 1,
    )
    scalar = TensorType((), out.dtype)

    def combine(pair: Operands) -> Operands:
        if eqn.primitive is ops.scatter_apply:
            return ctx.inline(p["graph"], pair[:1])
        return [COMBINE[eqn.primitive](ctx, scalar, *pair)]

    (result,) = ctx.ops(
        "stablehlo.scatter",
        (out,),
        (x, indices, updates),
        [((scalar, scalar), combine)],
        scatter_dimension_numbers=numbers,
        indices_are_sorted=ctx.attributes.flag(p["indices_are_sorted"]),
        unique_indices=ctx.attributes.flag(p["unique_indices"]),
    )
    return result


def _clamp_indices(ctx: Context, eqn: Equation, indices: MlirValue) -> MlirValue:
    """Indices moved so that every window lies inside the operand."""
    p, x, type = eqn.params, eqn.inputs[0].type, eqn.inputs[1].type
    dropped = (*p["inserted_window_dims"], *p["operand_batching_dims"])
    window = iter(p["update_window_dims"])
    updates = eqn.inputs[2].type.shape
    sizes = [1 if i in dropped else updates[next(window)] for i in range(len(x.shape))]
    most = int(ml_dtypes.iinfo(type.dtype).max)
    last = [min(x.shape[i] - sizes[i], most) for i in p["scatter_dims_to_operand_dims"]]
    return ctx.op("stablehlo.clamp", type, ctx.full(0, type), indices, _row(ctx, last, type))
