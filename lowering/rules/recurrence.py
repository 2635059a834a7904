"""Linear recurrences: a loop along the axis on CPUs, a tree elsewhere."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

from ...ir.builder import Builder
from ...ir.graph import Equation, Graph, Value
from ...ir.ops import cumulative as ops
from ...ir.types import TensorType
from ..context import Context, MlirValue
from ..monoids import compare
from ..narrow import converted, in_bytes
from ..ordered import loop
from ..tables import lower
from .control import put, row, take
from .prefixes import INDEX, wider
from .shape import around, transposed

Operands = Sequence[MlirValue]


@lower.rule(ops.linear_recurrence)
def lower_recurrence(ctx: Context, eqn: Equation, operands: Operands) -> Operands:
    type, axis, reverse = eqn.inputs[1].type, eqn.params["axis"], eqn.params["reverse"]
    if type.shape[axis] < 2 or not type.size:
        return operands[1:]
    if ctx.platforms == ("cpu",) and in_bytes(type) is type:
        return [_in_steps(ctx, operands, type, axis, reverse)]
    key = (ops.linear_recurrence, type, axis, reverse)
    graph = ctx.expansions.get(key)
    if graph is None:
        graph = ctx.expansions[key] = tree(type, axis, reverse)
    return ctx.write(graph, operands, is_expansion=True)


def _in_steps(
    ctx: Context, operands: Operands, type: TensorType, axis: int, reverse: bool
) -> MlirValue:
    """A loop over the axis but its first element, rows of which take the place of their terms."""
    before, n, after = around(type.shape, axis)
    whole, rows = type.with_shape((before, n, after)), type.with_shape((n, before, after))
    lanes = type.with_shape((n, before * after))
    a, y = (
        ctx.reshape(transposed(ctx, ctx.reshape(x, whole), rows, (1, 0, 2)), lanes)
        for x in operands
    )
    y = _steps(ctx, a, y, lanes, reverse)
    return ctx.reshape(transposed(ctx, ctx.reshape(y, rows), whole, (1, 0, 2)), type)


def _steps(ctx: Context, a: MlirValue, y: MlirValue, type: TensorType, reverse: bool) -> MlirValue:
    """y_i = a_i y_(i-1) + y_i along the first axis, in a wider type if there is one."""
    line, n = TensorType(type.shape[1:], type.dtype), type.shape[0]
    wide, one, last = line.with_dtype(wider(line.dtype)), ctx.full(1, INDEX), ctx.full(n - 1, INDEX)

    def body(carry: Operands) -> Operands:
        i, before, a, y = carry
        at = ctx.op("stablehlo.subtract", INDEX, last, i) if reverse else i
        factor, term = (take(ctx, x, line, at, INDEX) for x in (a, y))
        factor, term = converted(ctx, [factor, term], [line] * 2, [wide] * 2)
        product = ctx.op("stablehlo.multiply", wide, factor, before)
        now = ctx.op("stablehlo.add", wide, product, term)
        (result,) = converted(ctx, [now], [wide], [line])
        y = put(ctx, y, type, result, line, at, INDEX)
        return [ctx.op("stablehlo.add", INDEX, i, one), now, a, y]

    def is_unfinished(carry: Operands) -> Operands:
        return [compare(ctx, "LE", carry[0], last, INDEX)]

    first = row(ctx, y, line, n - 1 if reverse else 0)
    start = [one, *converted(ctx, [first], [line], [wide]), a, y]
    return loop(ctx, (INDEX, wide, type, type), start, is_unfinished, body, ())[-1]


def tree(type: TensorType, axis: int, reverse: bool) -> Graph:
    """The recurrence in a logarithmic number of steps.

    After the step of width w, y_i holds the terms of the w latest t, and a_i the product of the
    w latest a. No division: zeros among the a are as good as any numbers.
    """
    b, n, width = Builder(), type.shape[axis], 1
    given = Value(type, "a"), Value(type, "t")
    a, y = cast(tuple[Any, Any], given)

    def part(x: Any, start: int, stop: int) -> Any:
        if reverse:
            start, stop = n - stop, n - start
        starts, limits = [0] * x.type.ndim, list(x.type.shape)
        starts[axis], limits[axis] = start, stop
        return b.slice(x, start_indices=tuple(starts), limit_indices=tuple(limits), strides=None)

    def joined(first: Any, rest: Any) -> Any:
        parts = (rest, first) if reverse else (first, rest)
        return b.concatenate(*parts, dimension=axis)

    while width < n:
        rest = part(a, width, n)
        more = b.mul(rest, part(y, 0, n - width))
        y = joined(part(y, 0, width), b.add(part(y, width, n), more))
        if 2 * width < n:
            a = joined(part(a, 0, width), b.mul(rest, part(a, 0, n - width)))
        width *= 2
    return b.graph(given, (y,), "recurrence")
