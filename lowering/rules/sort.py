"""Sorting and the largest elements."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np

from ...ir.graph import Equation
from ...ir.ops import sort as ops
from ...ir.types import BOOL, TensorType, dtype_category, real_dtype
from ..context import Context, MlirValue
from ..monoids import compare
from ..narrow import converted, in_bytes
from ..tables import lower
from .packed_sort import canonical, is_packed, packed_sort, packed_top

Operands = Sequence[MlirValue]
Keys = list[tuple[MlirValue, MlirValue, TensorType]]

FLOAT: Final = np.dtype(np.float32)


@lower.rule(ops.sort)
def lower_sort(ctx: Context, eqn: Equation, operands: Operands) -> Operands:
    p = eqn.params
    types = [in_bytes(x.type) for x in eqn.inputs]
    given = converted(ctx, operands, [x.type for x in eqn.inputs], types)
    outs = [v.type for v in eqn.outputs]
    how = p["num_keys"], p["dimension"]
    if ctx.platforms == ("cpu",) and is_packed(types, *how):
        return converted(ctx, packed_sort(ctx, given, types, *how), types, outs)
    scalars = [TensorType((), t.dtype) for t in types]
    pairs = [t for scalar in scalars for t in (scalar, scalar)]

    def is_before(values: Operands) -> Operands:
        return [_is_before(ctx, values, scalars[: p["num_keys"]])]

    found = ctx.ops(
        "stablehlo.sort",
        types,
        given,
        [(pairs, is_before)],
        dimension=ctx.attributes.integer(p["dimension"]),
        is_stable=ctx.attributes.flag(p["is_stable"]),
    )
    return converted(ctx, found, types, outs)


def _is_before(ctx: Context, values: Operands, scalars: Sequence[TensorType]) -> MlirValue:
    """Lexicographic order: x1 < y1, or x1 = y1 and (x2 < y2, or ...), in the total order."""
    to_bool = TensorType((), BOOL)
    result = None
    for x, y, type in reversed(_keys(ctx, values, scalars)):
        less = compare(ctx, "LT", x, y, type, total=True)
        if result is None:
            result = less
        else:
            equal = compare(ctx, "EQ", x, y, type, total=True)
            rest = ctx.op("stablehlo.and", to_bool, equal, result)
            result = ctx.op("stablehlo.or", to_bool, less, rest)
    return result


def _keys(ctx: Context, values: Operands, scalars: Sequence[TensorType]) -> Keys:
    """What is compared: numbers of which equal ones have equal bits; parts of complex ones."""
    keys: Keys = []
    for i, type in enumerate(scalars):
        x, y = values[2 * i : 2 * i + 2]
        category = dtype_category(type.dtype)
        if category == "complex":
            part = TensorType((), real_dtype(type.dtype))
            for name in ("stablehlo.real", "stablehlo.imag"):
                a, c = (canonical(ctx, ctx.op(name, part, z), part) for z in (x, y))
                keys.append((a, c, part))
        elif category == "float":
            keys.append((canonical(ctx, x, type), canonical(ctx, y, type), type))
        else:
            keys.append((x, y, type))
    return keys


@lower.rule(ops.top_k)
def lower_top_k(ctx: Context, eqn: Equation, operands: Operands) -> Operands:
    """XLA looks along the last axis: another one changes places with it. Its CPU backend has a fast
    way for float32, and sorts what is of other dtypes: what is narrower becomes float32."""
    axis, k = eqn.params["axis"], eqn.params["k"]
    x, outs = eqn.inputs[0].type, [v.type for v in eqn.outputs]
    is_on_cpu, is_narrow = ctx.platforms == ("cpu",), x.dtype.itemsize < FLOAT.itemsize
    if is_on_cpu and not is_narrow and x.dtype != FLOAT and is_packed([x, outs[1]], 1, axis):
        return packed_top(ctx, operands[0], x, axis, k)
    order = list(range(len(x.shape)))
    order[axis], order[-1] = order[-1], order[axis]
    permutation = ctx.attributes.integers(order)
    is_last = axis == len(x.shape) - 1

    def swapped(value: MlirValue, type: TensorType) -> MlirValue:
        return ctx.op("stablehlo.transpose", type, value, permutation=permutation)

    def turned(type: TensorType) -> TensorType:
        return type.with_shape(tuple(type.shape[i] for i in order))

    seen = in_bytes(x)
    if is_on_cpu and is_narrow:
        seen = seen.with_dtype(FLOAT)
    (value,) = converted(ctx, operands, [x], [seen])
    types = [outs[0].with_dtype(seen.dtype), outs[1]]
    value = value if is_last else swapped(value, turned(seen))
    attributes = {} if eqn.params["is_stable"] else {"is_stable": ctx.attributes.flag(False)}
    found = ctx.ops(
        "chlo.top_k",
        [turned(t) for t in types],
        [value],
        (),
        k=ctx.attributes.integer(k),
        **attributes,
    )
    if not is_last:
        found = [swapped(value, t) for value, t in zip(found, types, strict=True)]
    return converted(ctx, found, types, outs)


@lower.rule(ops.approx_top_k)
def lower_approx_top_k(ctx: Context, eqn: Equation, operands: Operands) -> Operands:
    types = [x.type for x in eqn.inputs], [v.type for v in eqn.outputs]
    return ctx.borrow("approx_top_k", *types, operands, **eqn.params)
