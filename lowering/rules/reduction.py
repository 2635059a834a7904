"""Reductions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from ...ir.graph import Equation
from ...ir.ops import reduction as ops
from ...ir.primitive import Primitive
from ...ir.types import BOOL, INT32, TensorType, dtype_category
from .. import monoids
from ..context import Context, MlirValue
from ..monoids import Monoid, compare
from ..narrow import converted, in_bytes
from ..tables import Lower, lower

Operands = Sequence[MlirValue]

MONOIDS: Final[dict[Primitive, Monoid]] = {
    ops.reduce_sum: monoids.ADD,
    ops.reduce_prod: monoids.MUL,
    ops.reduce_max: monoids.MAX,
    ops.reduce_min: monoids.MIN,
    ops.reduce_and: monoids.AND,
    ops.reduce_or: monoids.OR,
    ops.reduce_xor: monoids.XOR,
}


@lower.rule(*MONOIDS)
def lower_reduction(ctx: Context, eqn: Equation, operands: Operands) -> Operands:
    monoid, axes = MONOIDS[eqn.primitive], eqn.params["axes"]
    return [monoids.reduce(ctx, monoid, operands[0], eqn.inputs[0].type, axes)]


@lower.rule(ops.reduce)
def lower_reduce(ctx: Context, eqn: Equation, operands: Operands) -> Operands:
    """Operands and their initial values; the region combines accumulated ones with new ones."""
    given, outs = [x.type for x in eqn.inputs], [v.type for v in eqn.outputs]
    made = [in_bytes(t) for t in outs]
    scalars = [TensorType((), t.dtype) for t in outs]
    wide = [in_bytes(t) for t in scalars]

    def combine(values: Operands) -> Operands:
        pairs = converted(ctx, values, (*wide, *wide), (*scalars, *scalars))
        return converted(ctx, ctx.inline(eqn.params["graph"], pairs), scalars, wide)

    found = ctx.ops(
        "stablehlo.reduce",
        made,
        converted(ctx, operands, given, [in_bytes(t) for t in given]),
        [((*wide, *wide), combine)],
        dimensions=ctx.attributes.integers(eqn.params["dimensions"]),
    )
    return converted(ctx, found, made, outs)


# -- positions of extrema ------------------------------------------------------------------------

LONG: Final = 64
LARGE: Final = 1 << 16
"""Axes and arrays of floats of which XLA's CPU backend reduces values, and positions, much faster
than pairs of both: so much that it pays for another kernel to compile."""


def locator(direction: str, monoid: Monoid) -> Lower:
    """Reduce (value, position) pairs: a better value wins, then NaN, then the first position."""

    def lower_locator(ctx: Context, eqn: Equation, operands: Operands) -> Operands:
        given, out = eqn.inputs[0].type, eqn.outputs[0].type
        x = in_bytes(given)
        (operand,) = converted(ctx, operands, [given], [x])
        value, position = TensorType((), x.dtype), TensorType((), out.dtype)
        (axis,) = eqn.params["axes"]
        is_large = LONG <= x.shape[axis] < 2**31 and x.size >= LARGE
        if ctx.platforms == ("cpu",) and is_large and dtype_category(x.dtype) == "float":
            return [_first_best(ctx, monoid, (operand, x), out, axis)]
        where = ctx.attributes.integer(axis)
        positions = ctx.op("stablehlo.iota", TensorType(x.shape, out.dtype), iota_dimension=where)
        starts = ctx.full(monoid.identity(x.dtype), value), ctx.full(0, position)

        def pick(values: Operands) -> Operands:
            return _pick(ctx, direction, value, position, *values)

        return ctx.ops(
            "stablehlo.reduce",
            (TensorType(out.shape, x.dtype), out),
            (operand, positions, *starts),
            [((value, position, value, position), pick)],
            dimensions=ctx.attributes.integers((axis,)),
        )[1:]

    return lower_locator


def _first_best(
    ctx: Context, monoid: Monoid, operand: tuple[MlirValue, TensorType], out: TensorType, axis: int
) -> MlirValue:
    """The first position of the extremum; if there are NaNs, of these, since XLA's CPU backend
    drops some on the way to an extremum: theirs are counted from the end, and so below 0."""
    (x, type), select = operand, "stablehlo.select"
    n, positions, best_type = type.shape[axis], type.with_dtype(INT32), out.with_dtype(INT32)
    best = monoids.reduce(ctx, monoid, x, type, (axis,))
    best = ctx.broadcast(best, type, [i for i in range(len(type.shape)) if i != axis])
    place = ctx.op("stablehlo.iota", positions, iota_dimension=ctx.attributes.integer(axis))
    length, last = ctx.full(n, positions), ctx.full(n - 1, positions)
    found = ctx.op(select, positions, compare(ctx, "EQ", x, best, type), place, last)
    before = ctx.op("stablehlo.subtract", positions, place, length)
    found = ctx.op(select, positions, compare(ctx, "NE", x, x, type), before, found)
    first = monoids.reduce(ctx, monoids.MIN, found, positions, (axis,))
    is_nan = compare(ctx, "LT", first, ctx.full(0, best_type), best_type)
    after = ctx.op("stablehlo.add", best_type, first, ctx.full(n, best_type))
    first = ctx.op(select, best_type, is_nan, after, first)
    return converted(ctx, [first], [best_type], [out])[0]


def _pick(
    ctx: Context,
    direction: str,
    value: TensorType,
    position: TensorType,
    best: MlirValue,
    best_position: MlirValue,
    new: MlirValue,
    new_position: MlirValue,
) -> Operands:
    to_bool = TensorType((), BOOL)
    better = compare(ctx, direction, best, new, value)
    is_nan = compare(ctx, "NE", best, best, value)
    keep = ctx.op("stablehlo.or", to_bool, better, is_nan)
    equal = compare(ctx, "EQ", best, new, value)
    earlier = compare(ctx, "LT", best_position, new_position, position)
    tie = ctx.op("stablehlo.and", to_bool, equal, earlier)
    keep_position = ctx.op("stablehlo.or", to_bool, keep, tie)
    return [
        ctx.op("stablehlo.select", value, keep, best, new),
        ctx.op("stablehlo.select", position, keep_position, best_position, new_position),
    ]


lower.define(ops.argmax, locator("GT", monoids.MAX))
lower.define(ops.argmin, locator("LT", monoids.MIN))
