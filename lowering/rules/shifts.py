"""Sums over small windows that overlap, as sums of shifted arrays: such convolutions, too, whose
groups are of one feature or one image.

XLA's CPU backend takes these one element at a time. A depthwise convolution is a sum over the
elements of its window, of the images, shifted, times that element of the kernel; the gradient by
its kernel has, for each element, the sum of such a product. Both are chains of elementwise
operations, which XLA fuses, and are summed in the order in which it sums.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Final

import numpy as np

from ...ir.graph import Equation
from ...ir.types import TensorType
from .. import monoids
from ..context import Context, MlirValue
from ..narrow import converted
from ..ordered import loop
from .control import put, row, take
from .shape import slice_of

MOST: Final = 64
"""Terms that a program is made longer by, at most."""

FLOAT: Final = np.dtype(np.float32)


def is_depthwise(eqn: Equation) -> bool:
    """Whether each group of features is one, and windows are small."""
    kernel, spec = eqn.inputs[1].type.shape, eqn.params["rhs_spec"]
    if eqn.params["feature_group_count"] == 1 or kernel[spec[1]] != 1:
        return False
    return bool(math.prod([kernel[i] for i in spec[2:]]) <= MOST)


def is_depthwise_kernel(eqn: Equation) -> bool:
    """Whether each group of images is one, and there are few windows: what the gradient by the
    kernel of a depthwise convolution is."""
    out, spec = eqn.outputs[0].type.shape, eqn.params["out_spec"]
    if eqn.params["batch_group_count"] == 1 or out[spec[0]] != 1:
        return False
    return bool(math.prod([out[i] for i in spec[2:]]) <= MOST)


def is_small_sum(eqn: Equation) -> bool:
    """Whether windows are small and overlap, and sums are not rounded to halves on the way."""
    p, type = eqn.params, eqn.outputs[0].type
    sizes, strides = p["window_dimensions"], p["window_strides"]
    taken = [-(-n // d) for n, d in zip(sizes, p["base_dilation"], strict=True)]  # others are zeros
    if type.dtype.kind not in "iufc" or type.dtype.itemsize < FLOAT.itemsize or not type.size:
        return False
    overlap = [n > s for n, s in zip(taken, strides, strict=True)]
    return any(overlap) and bool(math.prod(sizes) <= MOST)


def small_sum(ctx: Context, eqn: Equation, x: MlirValue) -> MlirValue:
    """The sum over the window's elements of the shifted array."""
    p, out, type = eqn.params, eqn.outputs[0].type, eqn.inputs[0].type
    axes = range(len(out.shape))
    padding = {"padding": p["padding"], "lhs_dilation": p["base_dilation"]}
    x, _ = _padded(ctx, x, type, padding, (-1, -1, *axes))
    total = None
    for element in np.ndindex(*p["window_dimensions"]):
        at = [k * d for k, d in zip(element, p["window_dilation"], strict=True)]
        part = strided(ctx, x, out, axes, at, p["window_strides"])
        total = part if total is None else ctx.op("stablehlo.add", out, total, part)
    return total


def depthwise(ctx: Context, eqn: Equation, operands: Sequence[MlirValue]) -> MlirValue:
    """The sum over the window's elements of shifted images times that element."""
    p, out = eqn.params, eqn.outputs[0].type
    lhs, rhs, result = (p[f"{side}_spec"] for side in ("lhs", "rhs", "out"))
    (x, type), (w, kernel) = _prepared(ctx, eqn, operands, lhs[1])
    features = kernel.shape[rhs[0]]
    shape = list(type.shape)
    for i, o in zip(lhs[2:], result[2:], strict=True):
        shape[i] = out.shape[o]
    shifted, vector = type.with_shape(tuple(shape)), TensorType((features,), type.dtype)
    total = None
    for element in np.ndindex(*[kernel.shape[i] for i in rhs[2:]]):
        at = [k * d for k, d in zip(element, p["rhs_dilation"], strict=True)]
        part = strided(ctx, x, shifted, lhs[2:], at, p["window_strides"])
        weight = ctx.reshape(_element(ctx, w, kernel, rhs[2:], element), vector)
        spread = ctx.broadcast(weight, shifted, (lhs[1],))
        term = ctx.op("stablehlo.multiply", shifted, part, spread)
        total = term if total is None else ctx.op("stablehlo.add", shifted, total, term)
    return _arranged(ctx, total, shifted, dict(zip(result, lhs, strict=True)), out)


def depthwise_kernel(ctx: Context, eqn: Equation, operands: Sequence[MlirValue]) -> MlirValue:
    """For each window, the sum of its elements times the kernel's, which is as large."""
    p, out = eqn.params, eqn.outputs[0].type
    lhs, rhs, result = (p[f"{side}_spec"] for side in ("lhs", "rhs", "out"))
    (x, type), (w, kernel) = _prepared(ctx, eqn, operands, lhs[0])
    features = kernel.shape[rhs[0]]
    order = dict(zip(lhs, rhs, strict=True))
    window = kernel.with_shape(tuple(kernel.shape[order[i]] for i in range(len(lhs))))
    w = _arranged(ctx, w, kernel, order, window)
    positions = [out.shape[i] for i in result[2:]]
    sums = _sums_of_products(ctx, (x, type), (w, window), lhs, positions, p)
    table = TensorType((*positions, 1, features), type.dtype)
    n = len(positions)
    order = dict(zip(result, (n, n + 1, *range(n)), strict=True))
    return _arranged(ctx, ctx.reshape(sums, table), table, order, out)


def _sums_of_products(
    ctx: Context,
    images: tuple[MlirValue, TensorType],
    kernel: tuple[MlirValue, TensorType],
    spec: Sequence[int],
    positions: Sequence[int],
    p: dict[str, Any],
) -> MlirValue:
    """[positions, features]: for each position of the kernel on the images, the sums of their
    product over all axes but that of the features. A loop, as XLA compiles each sum by itself."""
    (x, type), (w, window) = images, kernel
    index, n_axes = TensorType((), np.dtype(np.int32)), len(spec)
    every = np.array([*np.ndindex(*positions)]).reshape(-1, n_axes - 2) * p["window_strides"]
    at = np.zeros((len(every), n_axes), np.int32)
    at[:, spec[2:]] = every
    starts, step = TensorType(at.shape, at.dtype), [1] * n_axes
    for axis, stride in zip(spec[2:], p["rhs_dilation"], strict=True):
        step[axis] = stride
    spans = [(n - 1) * s + 1 for n, s in zip(window.shape, step, strict=True)]
    span, sizes = type.with_shape(tuple(spans)), ctx.attributes.integers(spans)
    others = tuple(i for i in range(n_axes) if i != spec[0])
    row_type = TensorType((window.shape[spec[0]],), type.dtype)
    result = TensorType((len(every), *row_type.shape), type.dtype)

    def body(carry: Sequence[MlirValue]) -> list[MlirValue]:
        i, x, w, table, sums = carry
        place = take(ctx, table, TensorType((n_axes,), at.dtype), i, index)
        first = [row(ctx, place, index, axis) for axis in range(n_axes)]
        part = ctx.op("stablehlo.dynamic_slice", span, x, *first, slice_sizes=sizes)
        if span.shape != window.shape:
            part = slice_of(ctx, part, window, [0] * n_axes, spans, step)
        product = ctx.op("stablehlo.multiply", window, part, w)
        total = monoids.reduce(ctx, monoids.ADD, product, window, others)
        sums = put(ctx, sums, result, total, row_type, i, index)
        return [ctx.op("stablehlo.add", index, i, ctx.full(1, index)), x, w, table, sums]

    def is_unfinished(carry: Sequence[MlirValue]) -> list[MlirValue]:
        bound = ctx.full(len(every), index)
        return [monoids.compare(ctx, "LT", carry[0], bound, index)]

    types = (index, type, window, starts, result)
    given = (ctx.full(0, index), x, w, ctx.array(at), ctx.full(0, result))
    return loop(ctx, types, given, is_unfinished, body, ())[-1]


def _prepared(
    ctx: Context, eqn: Equation, operands: Sequence[MlirValue], axis: int
) -> tuple[tuple[MlirValue, TensorType], tuple[MlirValue, TensorType]]:
    """The padded images, each of the groups along an axis as often as it has output features, and
    the kernel, with their types: in floats where they are halves, which sums would round."""
    p, given = eqn.params, [x.type for x in eqn.inputs]
    wide = [t.with_dtype(FLOAT) if t.dtype.itemsize < FLOAT.itemsize else t for t in given]
    (x, w), (type, kernel) = converted(ctx, operands, given, wide), wide
    x, type = _padded(ctx, x, type, p, p["lhs_spec"])
    return _repeated(ctx, x, type, axis, kernel.shape[p["rhs_spec"][0]]), (w, kernel)


def _padded(
    ctx: Context, x: MlirValue, type: TensorType, p: dict[str, Any], spec: Sequence[int]
) -> tuple[MlirValue, TensorType]:
    """The images with zeros around and between their elements."""
    low, high, gaps = ([0] * len(type.shape) for _ in range(3))
    shape = list(type.shape)
    for i, pair, d in zip(spec[2:], p["padding"], p["lhs_dilation"], strict=True):
        (low[i], high[i]), gaps[i] = pair, d - 1
        shape[i] = pair[0] + pair[1] + max(type.shape[i] + (type.shape[i] - 1) * (d - 1), 0)
    if not any((*low, *high, *gaps)):
        return x, type
    padded, integers = type.with_shape(tuple(shape)), ctx.attributes.integers
    zero = ctx.full(0, TensorType((), type.dtype))
    widths = {"edge_padding_low": low, "edge_padding_high": high, "interior_padding": gaps}
    attributes = {name: integers(width) for name, width in widths.items()}
    return ctx.op("stablehlo.pad", padded, x, zero, **attributes), padded


def _repeated(
    ctx: Context, x: MlirValue, type: TensorType, axis: int, length: int
) -> tuple[MlirValue, TensorType]:
    """x with each index of an axis as often as gives that length."""
    n, shape = type.shape[axis], type.shape
    if n == length:
        return x, type
    before, after = shape[: axis + 1], shape[axis + 1 :]
    axes = [i if i <= axis else i + 1 for i in range(len(shape))]
    spread = ctx.broadcast(x, type.with_shape((*before, length // n, *after)), axes)
    repeated = type.with_shape((*before[:-1], length, *after))
    return ctx.reshape(spread, repeated), repeated


def strided(
    ctx: Context,
    x: MlirValue,
    out: TensorType,
    axes: Sequence[int],
    at: Sequence[int],
    strides: Sequence[int],
) -> MlirValue:
    """As much of x as `out` has, from some index of some axes on, in strides."""
    start, step = [0] * len(out.shape), [1] * len(out.shape)
    for axis, first, stride in zip(axes, at, strides, strict=True):
        start[axis], step[axis] = first, stride
    limit = [a + (n - 1) * s + 1 for a, n, s in zip(start, out.shape, step, strict=True)]
    return slice_of(ctx, x, out, start, limit, step)


def _element(
    ctx: Context, w: MlirValue, kernel: TensorType, axes: Sequence[int], element: Sequence[int]
) -> MlirValue:
    """The kernel at one element of its window."""
    shape = tuple(1 if i in axes else n for i, n in enumerate(kernel.shape))
    return strided(ctx, w, kernel.with_shape(shape), axes, element, [1] * len(axes))


def _arranged(
    ctx: Context, x: MlirValue, type: TensorType, order: dict[int, int], out: TensorType
) -> MlirValue:
    """x as `out`, whose axis i is axis order[i] of x."""
    permutation = [order[i] for i in range(len(order))]
    moved = type.with_shape(tuple(type.shape[i] for i in permutation))
    if permutation != sorted(permutation):
        x = ctx.op(
            "stablehlo.transpose", moved, x, permutation=ctx.attributes.integers(permutation)
        )
    return converted(ctx, [x], [moved], [out])[0]
