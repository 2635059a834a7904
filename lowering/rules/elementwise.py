"""Elementwise primitives in StableHLO.

What has an operation of its own is a row of a table.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from ...ir.builder import Builder
from ...ir.graph import Equation
from ...ir.ops import elementwise as e
from ...ir.ops.operands import INTEGER
from ...ir.primitive import Primitive
from ...ir.types import BOOL, TensorType, dtype_category
from .. import monoids
from ..context import Context, MlirValue
from ..mlir_types import physical
from ..monoids import compare, extremum
from ..tables import Lower, expansion, lower, nary, unary

Operands = Sequence[MlirValue]

UNARY: Final[dict[Primitive, str]] = {
    e.neg: "stablehlo.negate",
    e.floor: "stablehlo.floor",
    e.ceil: "stablehlo.ceil",
    e.exp: "stablehlo.exponential",
    e.log: "stablehlo.log",
    e.log1p: "stablehlo.log_plus_one",
    e.expm1: "stablehlo.exponential_minus_one",
    e.tanh: "stablehlo.tanh",
    e.tan: "stablehlo.tan",
    e.sqrt: "stablehlo.sqrt",
    e.rsqrt: "stablehlo.rsqrt",
    e.cbrt: "stablehlo.cbrt",
    e.acos: "chlo.acos",
    e.atan: "chlo.atan",
    e.sinh: "chlo.sinh",
    e.cosh: "chlo.cosh",
    e.asinh: "chlo.asinh",
    e.acosh: "chlo.acosh",
    e.atanh: "chlo.atanh",
    e.real: "stablehlo.real",
    e.imag: "stablehlo.imag",
    e.is_finite: "stablehlo.is_finite",
    e.not_: "stablehlo.not",
    e.population_count: "stablehlo.popcnt",
    e.clz: "stablehlo.count_leading_zeros",
}

NARY: Final[dict[Primitive, str]] = {
    e.add: "stablehlo.add",
    e.add_any: "stablehlo.add",
    e.sub: "stablehlo.subtract",
    e.div: "stablehlo.divide",
    e.rem: "stablehlo.remainder",
    e.nextafter: "chlo.next_after",
    e.atan2: "stablehlo.atan2",
    e.complex_: "stablehlo.complex",
    e.and_: "stablehlo.and",
    e.or_: "stablehlo.or",
    e.xor: "stablehlo.xor",
    e.shift_left: "stablehlo.shift_left",
    e.shift_right_arithmetic: "stablehlo.shift_right_arithmetic",
    e.shift_right_logical: "stablehlo.shift_right_logical",
    e.clamp: "stablehlo.clamp",
}

for primitive, name in UNARY.items():
    lower.define(primitive, unary(name))
for primitive, name in NARY.items():
    lower.define(primitive, nary(name))


@lower.rule(e.stop_gradient, e.copy, e.copy_p)
def lower_identity(ctx: Context, eqn: Equation, operands: Operands) -> Operands:
    return operands


# -- arithmetic ----------------------------------------------------------------------------------


@lower.rule(e.mul)
def lower_mul(ctx: Context, eqn: Equation, operands: Operands) -> Operands:
    """Operands are widened to `out_dtype` before they are multiplied."""
    out = eqn.outputs[0].type
    operands = ctx.spread(eqn.inputs, operands, out.shape)
    if eqn.params["out_dtype"] is not None:
        operands = [ctx.op("stablehlo.convert", out, x) for x in operands]
    return [ctx.op("stablehlo.multiply", out, *operands)]


@lower.rule(e.sign)
def lower_sign(ctx: Context, eqn: Equation, operands: Operands) -> Operands:
    """StableHLO's sign does not take unsigned numbers, whose sign is x != 0."""
    type = eqn.outputs[0].type
    if dtype_category(type.dtype) != "uint":
        return [ctx.op("stablehlo.sign", type, *operands)]
    zero = ctx.full(0, type)
    is_zero = compare(ctx, "EQ", operands[0], zero, type)
    return [ctx.op("stablehlo.select", type, is_zero, zero, ctx.full(1, type))]


@lower.rule(e.round_)
def lower_round(ctx: Context, eqn: Equation, operands: Operands) -> Operands:
    to_even = eqn.params["rounding_method"] == "TO_NEAREST_EVEN"
    name = "stablehlo.round_nearest_even" if to_even else "stablehlo.round_nearest_afz"
    return [ctx.op(name, eqn.outputs[0].type, *operands)]


@lower.rule(e.square)
def lower_square(ctx: Context, eqn: Equation, operands: Operands) -> Operands:
    type, x = eqn.outputs[0].type, operands[0]
    if dtype_category(type.dtype) in INTEGER:
        return [ctx.op("stablehlo.multiply", type, x, x)]
    return [ctx.op("chlo.square", type, x)]


@expansion(e.integer_pow)
def expand_integer_pow(b: Builder, x: Any, y: int) -> Any:
    """By repeated squaring: x^y is the product of x^(2^i) over the bits i of |y|."""
    if y == 3:
        return b.mul(b.mul(x, x), x)
    result, power, rest = None, x, abs(y)
    while rest:
        if rest & 1:
            result = power if result is None else b.mul(result, power)
        rest >>= 1
        if rest:
            power = b.mul(power, power)
    if result is None:
        return b.full(x.type, 1)
    return b.div(1, result) if y < 0 else result


@lower.rule(e.pow_)
def lower_pow(ctx: Context, eqn: Equation, operands: Operands) -> Operands:
    out = eqn.outputs[0].type
    x, y = ctx.spread(eqn.inputs, operands, out.shape)
    if eqn.inputs[1].type.dtype != out.dtype:
        y = ctx.op("stablehlo.convert", out, y)
    return [ctx.op("stablehlo.power", out, x, y)]


def minmax(direction: str) -> Lower:
    def lower_minmax(ctx: Context, eqn: Equation, operands: Operands) -> Operands:
        out = eqn.outputs[0].type
        x, y = ctx.spread(eqn.inputs, operands, out.shape)
        return [extremum(ctx, direction, x, y, out)]

    return lower_minmax


lower.define(e.max_, minmax("GT"))
lower.define(e.min_, minmax("LT"))

# -- comparisons ---------------------------------------------------------------------------------


def comparison(direction: str, total: bool = False) -> Lower:
    def lower_comparison(ctx: Context, eqn: Equation, operands: Operands) -> Operands:
        shape = eqn.outputs[0].type.shape
        type = TensorType(shape, eqn.inputs[0].type.dtype)
        x, y = ctx.spread(eqn.inputs, operands, shape)
        seen = physical(type)
        same = compare(ctx, direction, x, y, seen, total)
        if seen is type:
            return [same]
        words = tuple(range(len(shape), len(seen.shape)))
        monoid = monoids.AND if direction == "EQ" else monoids.OR
        return [monoids.reduce(ctx, monoid, same, TensorType(seen.shape, BOOL), words)]

    return lower_comparison


for primitive, direction in {
    e.eq: "EQ", e.ne: "NE", e.lt: "LT", e.le: "LE", e.gt: "GT", e.ge: "GE",
}.items():  # fmt: skip
    lower.define(primitive, comparison(direction))
for primitive, direction in {e.eq_to: "EQ", e.lt_to: "LT", e.le_to: "LE"}.items():
    lower.define(primitive, comparison(direction, total=True))
