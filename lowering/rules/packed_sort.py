"""Sorting on CPUs: of integers that hold a part of the key and the position.

XLA's CPU backend calls a compiled function for every comparison, but for the plain order of one
array of integers. Keys are cut into words of thirty-two bits, integers in the order of the keys.
Sixty-four bits have room for a word and behind it the position: no two are equal, so that the order
is a stable one, and the positions in it say which element comes where. Longer keys are sorted word
by word, the last one first.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
from jaxlib.mlir.dialects import stablehlo as hlo

from ...ir.types import TensorType, dtype_category, real_dtype
from ..context import Context, MlirValue
from ..monoids import compare
from ..narrow import converted
from .shape import around, slice_of

LEAST: Final = 1024
"""Elements of an array that is worth it: it is more to compile."""

MOST_WORDS: Final = 2
"""Of a key that is sorted so faster than by comparisons."""

POSITION_BITS: Final = 31
LONG: Final = np.dtype(np.int64)
WORD: Final = np.dtype(np.int32)

Typed = tuple[MlirValue, TensorType]


def is_packed(types: Sequence[TensorType], num_keys: int, dimension: int) -> bool:
    """Whether arrays of these types are sorted so: their keys are short, and not all there is to
    sort if they are one array of integers."""
    first, keys = types[0], [t.dtype for t in types[:num_keys]]
    if first.size < LEAST or first.shape[dimension] >= 2**POSITION_BITS:
        return False
    if any([t.dtype.kind == "E" for t in types]):  # typed keys of generators are several numbers
        return False
    categories = {dtype_category(dtype) for dtype in keys}
    words = sum(-(-dtype.itemsize // WORD.itemsize) for dtype in keys)
    return words <= MOST_WORDS and (len(types) > 1 or bool(categories & {"float", "complex"}))


def packed_sort(
    ctx: Context,
    operands: Sequence[MlirValue],
    types: Sequence[TensorType],
    num_keys: int,
    dimension: int,
) -> list[MlirValue]:
    """The operands ordered along an axis by the first `num_keys`, in the total order."""
    whole = around(types[0].shape, dimension)
    flat = [t.with_shape(whole) for t in types]
    values = [ctx.reshape(x, t) for x, t in zip(operands, flat, strict=True)]
    keys = zip(values[:num_keys], flat, strict=False)
    words = [word for key in keys for word in _words(ctx, *key, alike=True)]
    order = None
    for word in reversed(words):
        order = _ordered(ctx, word, order)
    assert order is not None
    found = [_taken(ctx, x, t, order) for x, t in zip(values, flat, strict=True)]
    return [ctx.reshape(x, t) for x, t in zip(found, types, strict=True)]


def packed_top(
    ctx: Context, x: MlirValue, type: TensorType, axis: int, k: int
) -> tuple[MlirValue, MlirValue]:
    """The largest elements along an axis in the total order, and their positions: of equal ones
    the first."""
    whole = type.with_shape(around(type.shape, axis))
    before, _, after = whole.shape
    x, order = ctx.reshape(x, whole), None
    for word in reversed(_words(ctx, x, whole, alike=False)):
        order = _ordered(ctx, _reversed(ctx, *word), order)
    assert order is not None
    column = TensorType((before, k, after, 1), WORD)
    order = slice_of(ctx, order, column, (0, 0, 0, 0), column.shape)
    values = _taken(ctx, x, whole.with_shape(column.shape[:3]), order)
    shape = (*type.shape[:axis], k, *type.shape[axis + 1 :])
    return ctx.reshape(values, type.with_shape(shape)), ctx.reshape(order, TensorType(shape, WORD))


def _reversed(ctx: Context, x: MlirValue, type: TensorType) -> Typed:
    """Integers in the reversed order: all bits of which are."""
    return ctx.op("stablehlo.not", type, x), type


def _words(ctx: Context, x: MlirValue, type: TensorType, alike: bool) -> list[Typed]:
    """Integers in the total order of the keys, the most significant ones first. `alike` says
    whether all zeros are equal, and all NaNs."""
    category = dtype_category(type.dtype)
    if category == "complex":
        part = type.with_dtype(real_dtype(type.dtype))
        names = ("stablehlo.real", "stablehlo.imag")
        return [word for name in names for word in _words(ctx, ctx.op(name, part, x), part, alike)]
    if category == "float":
        x = canonical(ctx, x, type) if alike else x
        x, type = _as_integer(ctx, x, type)
    if type.dtype.itemsize <= WORD.itemsize:
        return [(x, type)]
    low = type.with_dtype(np.dtype(np.uint32))
    high, shift = (type.with_dtype(WORD), "arithmetic") if category != "uint" else (low, "logical")
    upper = ctx.op(f"stablehlo.shift_right_{shift}", type, x, ctx.full(32, type))
    return [*zip(converted(ctx, [upper, x], [type, type], [high, low]), (high, low), strict=True)]


def canonical(ctx: Context, x: MlirValue, type: TensorType) -> MlirValue:
    """Floats with one zero and one NaN, which comes last."""
    zero, nan = ctx.full(0, type), ctx.full(np.nan, type)
    x = ctx.op("stablehlo.select", type, compare(ctx, "EQ", x, zero, type), zero, x)
    return ctx.op("stablehlo.select", type, compare(ctx, "NE", x, x, type), nan, x)


def _as_integer(ctx: Context, x: MlirValue, type: TensorType) -> Typed:
    """Integers in the total order of floats: their bits, of negative ones all but the sign
    reversed."""
    is_short = type.dtype.itemsize <= WORD.itemsize
    wide = type.with_dtype(np.dtype(np.float32 if is_short else np.float64))
    bits = type.with_dtype(WORD if is_short else LONG)
    (x,) = converted(ctx, [x], [type], [wide])
    y = ctx.op("stablehlo.bitcast_convert", bits, x)
    is_negative = compare(ctx, "LT", y, ctx.full(0, bits), bits)
    reversed_ = ctx.op("stablehlo.xor", bits, y, ctx.full(np.iinfo(bits.dtype).max, bits))
    return ctx.op("stablehlo.select", bits, is_negative, reversed_, y), bits


def _ordered(ctx: Context, word: Typed, order: MlirValue | None) -> MlirValue:
    """Positions [..., 1] ordered by a word of the keys, and else as they are in `order`."""
    (x, type), index = word, word[1].with_dtype(WORD)
    if order is not None:
        x = _taken(ctx, x, type, order)
    long = type.with_dtype(LONG)
    scalar, flag = TensorType((), LONG), ctx.attributes.flag(False)
    (x,) = converted(ctx, [x], [type], [long])
    x = ctx.op("stablehlo.multiply", long, x, ctx.full(2**POSITION_BITS, long))
    places = ctx.op("stablehlo.iota", long, iota_dimension=ctx.attributes.integer(1))
    (x,) = ctx.ops(
        "stablehlo.sort",
        (long,),
        (ctx.op("stablehlo.or", long, x, places),),
        [((scalar, scalar), lambda pair: [compare(ctx, "LT", pair[0], pair[1], scalar)])],
        dimension=ctx.attributes.integer(1),
        is_stable=flag,
    )
    x = ctx.op("stablehlo.and", long, x, ctx.full(2**POSITION_BITS - 1, long))
    column = TensorType((*type.shape, 1), WORD)
    found = ctx.reshape(converted(ctx, [x], [long], [index])[0], column)
    if order is None:
        return found
    return ctx.reshape(_taken(ctx, ctx.reshape(order, index), index, found), column)


def _taken(ctx: Context, x: MlirValue, out: TensorType, positions: MlirValue) -> MlirValue:
    """The elements of [before, n, after] that are at these positions along the middle axis."""
    numbers = hlo.GatherDimensionNumbers.get(
        offset_dims=[],
        collapsed_slice_dims=[1],
        operand_batching_dims=[0, 2],
        start_indices_batching_dims=[0, 2],
        start_index_map=[1],
        index_vector_dim=3,
    )
    return ctx.op(
        "stablehlo.gather",
        out,
        x,
        positions,
        dimension_numbers=numbers,
        slice_sizes=ctx.attributes.integers((1, 1, 1)),
        indices_are_sorted=ctx.attributes.flag(False),
    )
