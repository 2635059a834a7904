"""Reductions over sliding windows, and the choice of one element in each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from jaxlib.mlir import ir

from ...ir.extremes import largest, smallest
from ...ir.graph import Equation
from ...ir.ops import window as ops
from ...ir.primitive import Primitive
from ...ir.types import BOOL, TensorType
from .. import monoids
from ..context import Context, MlirValue
from ..monoids import Monoid, compare
from ..narrow import converted, in_bytes
from ..tables import lower
from .choices import is_small_choice, scattered
from .shape import slice_of
from .shifts import is_small_sum, small_sum

Operands = Sequence[MlirValue]

MONOIDS: Final[dict[Primitive, Monoid]] = {
    ops.reduce_window_sum: monoids.ADD,
    ops.reduce_window_max: monoids.MAX,
    ops.reduce_window_min: monoids.MIN,
}


def window_attributes(ctx: Context, params: dict[str, Any]) -> dict[str, ir.Attribute]:
    """A window as StableHLO describes it; strides and dilations where there are any."""
    names = {
        "window_dimensions": "window_dimensions",
        "window_strides": "window_strides",
        "base_dilation": "base_dilations",
        "window_dilation": "window_dilations",
    }
    attributes = {
        theirs: ctx.attributes.integers(params[ours])
        for ours, theirs in names.items()
        if ours in params
    }
    padding = np.array(params["padding"], np.int64).reshape(-1, 2)
    return {**attributes, "padding": ctx.attributes.dense(padding)}


def reduce_window(
    ctx: Context, monoid: Monoid, x: MlirValue, out: TensorType, params: dict[str, Any]
) -> Operands:
    """Each window of x combined."""
    return ctx.ops(
        "stablehlo.reduce_window",
        (out,),
        (x, ctx.full(monoid.identity(out.dtype), TensorType((), out.dtype))),
        [monoid.region(ctx, out.dtype)],
        **window_attributes(ctx, params),
    )


@lower.rule(*MONOIDS)
def lower_window_reduction(ctx: Context, eqn: Equation, operands: Operands) -> Operands:
    monoid, out = MONOIDS[eqn.primitive], eqn.outputs[0].type
    if monoid is monoids.ADD and ctx.platforms == ("cpu",) and is_small_sum(eqn):
        return [small_sum(ctx, eqn, operands[0])]
    return reduce_window(ctx, monoid, operands[0], out, eqn.params)


@lower.rule(ops.reduce_window)
def lower_reduce_window(ctx: Context, eqn: Equation, operands: Operands) -> Operands:
    scalars = [TensorType((), v.type.dtype) for v in eqn.outputs]
    return ctx.ops(
        "stablehlo.reduce_window",
        [v.type for v in eqn.outputs],
        operands,
        [((*scalars, *scalars), lambda values: ctx.inline(eqn.params["graph"], values))],
        **window_attributes(ctx, eqn.params),
    )


# -- selection within windows --------------------------------------------------------------------


@lower.rule(ops.select_and_gather_add)
def lower_select_and_gather(ctx: Context, eqn: Equation, operands: Operands) -> Operands:
    """Reduce (key, value) pairs: the pair of the better key wins."""
    direction = eqn.params["select_prim"].upper()
    out = eqn.outputs[0].type
    wide = in_bytes(out)
    scalar = TensorType((), wide.dtype)
    given = [x.type for x in eqn.inputs]
    values, keys = converted(ctx, operands, given, [in_bytes(t) for t in given])

    def pick(four: Operands) -> Operands:
        key, value, new_key, new_value = four
        keep = compare(ctx, direction, key, new_key, scalar)
        pairs = ((key, new_key), (value, new_value))
        return [ctx.op("stablehlo.select", scalar, keep, *pair) for pair in pairs]

    bound = smallest if direction == "GE" else largest
    worst = ctx.full(bound(out.dtype), scalar)
    _, chosen = ctx.ops(
        "stablehlo.reduce_window",
        (wide, wide),
        (keys, values, worst, ctx.full(0, scalar)),
        [((scalar,) * 4, pick)],
        **window_attributes(ctx, eqn.params),
    )
    return converted(ctx, [chosen], [wide], [out])


@lower.rule(ops.select_and_scatter_add)
def lower_select_and_scatter_add(ctx: Context, eqn: Equation, operands: Operands) -> Operands:
    """XLA's scatter; where it cannot pad by itself, the keys are padded first."""
    source, keys = operands
    p, type = eqn.params, eqn.outputs[0].type
    if not type.shape:
        return [source]  # of the one window; XLA for CPUs dies of it
    direction = p["select_prim"].upper()
    if ctx.is_on("tpu"):
        return [_scatter_sums(ctx, direction, keys, source, type, p)]
    low, high = ([pair[side] for pair in p["padding"]] for side in (0, 1))
    shape = tuple(n + a + b for n, a, b in zip(type.shape, low, high, strict=True))
    padded = TensorType(shape, type.dtype)
    worst = smallest if direction == "GE" else largest
    integers = ctx.attributes.integers
    keys = ctx.op(
        "stablehlo.pad",
        padded,
        keys,
        ctx.full(worst(type.dtype), TensorType((), type.dtype)),
        edge_padding_low=integers(low),
        edge_padding_high=integers(high),
        interior_padding=integers([0] * len(low)),
    )
    if ctx.platforms == ("cpu",) and eqn.inputs[0].type.size and is_small_choice(type, p):
        given = (source, eqn.inputs[0].type)
        sums = scattered(ctx, direction, (keys, padded), given, p)
    else:
        unpadded = {**p, "padding": ((0, 0),) * len(low)}
        sums = _scatter_sums(ctx, direction, keys, source, padded, unpadded)
    limit = [a + n for a, n in zip(low, type.shape, strict=True)]
    return [slice_of(ctx, sums, type, low, limit)]


def _scatter_sums(
    ctx: Context,
    direction: str,
    keys: MlirValue,
    source: MlirValue,
    type: TensorType,
    params: dict[str, Any],
) -> MlirValue:
    scalar = TensorType((), type.dtype)

    def is_better(pair: Operands) -> Operands:
        x, y = pair
        return [compare(ctx, direction, x, y, scalar)]

    name = "stablehlo.or" if type.dtype == BOOL else "stablehlo.add"
    (result,) = ctx.ops(
        "stablehlo.select_and_scatter",
        (type,),
        (keys, source, ctx.full(0, scalar)),
        [
            ((scalar, scalar), is_better),
            ((scalar, scalar), lambda pair: [ctx.op(name, scalar, *pair)]),
        ],
        **window_attributes(ctx, params),
    )
    return result


@lower.rule(ops.select_and_scatter)
def lower_select_and_scatter(ctx: Context, eqn: Equation, operands: Operands) -> Operands:
    p, type = eqn.params, eqn.outputs[0].type
    if not type.shape:  # one window, of one element; XLA for CPUs dies of it
        _, source, init = operands
        return ctx.inline(p["scatter_graph"], (init, source))
    scalar = TensorType((), type.dtype)
    return ctx.ops(
        "stablehlo.select_and_scatter",
        (type,),
        operands,
        [
            ((scalar, scalar), lambda pair: ctx.inline(p["select_graph"], pair)),
            ((scalar, scalar), lambda pair: ctx.inline(p["scatter_graph"], pair)),
        ],
        **window_attributes(ctx, p),
    )
