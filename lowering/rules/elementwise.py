"""Elementwise primitives in StableHLO.

What has an operation of its own is a row of a table. What XLA would compute less exactly, or not at
all, is written with other primitives; each of these agrees with JAX operation by operation, so that
results agree to the last bit.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Final

import numpy as np

from ...ir.builder import Builder
from ...ir.graph import Equation
from ...ir.ops import elementwise as e
from ...ir.primitive import Primitive
from ...ir.types import BOOL, Dtype, TensorType, dtype_category, is_complex, real_dtype
from .. import monoids
from ..context import Context, MlirValue
from ..mlir_types import physical
from ..monoids import compare, extremum
from ..tables import Lower, expanded, expansion, lower, nary, unary

Operands = Sequence[MlirValue]

UNARY: Final[dict[Primitive, str]] = {
    e.neg: "stablehlo.negate",
    e.floor: "stablehlo.floor",
    e.ceil: "stablehlo.ceil",
    e.abs_: "stablehlo.abs",
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


@expansion(e.mulhi)
def expand_mulhi(b: Builder, x: Any, y: Any) -> Any:
    """The upper half of the double-width product."""
    dtype = x.type.dtype
    bits = 8 * dtype.itemsize
    if bits == 64:
        return _mulhi_wide(b, x, y)
    kind = dtype_category(dtype)
    wide = np.dtype(f"{kind}{2 * bits}")
    product = b.mul(b.convert(x, wide), b.convert(y, wide))
    shift = b.shift_right_arithmetic if kind == "int" else b.shift_right_logical
    return b.convert(shift(product, bits), dtype)


def _mulhi_wide(b: Builder, x: Any, y: Any) -> Any:
    """Schoolbook multiplication of halves: x = a 2^32 + c, y = d 2^32 + e, without sign.

    As numbers with a sign, x is 2^64 less than its bits say where it is negative.
    """
    word = np.dtype(np.uint64)
    u, v = b.convert(x, word), b.convert(y, word)

    def high(z: Any) -> Any:
        return b.shift_right_logical(z, 32)

    def low(z: Any) -> Any:
        return b.emit(e.and_, z, 2**32 - 1)[0]

    (a, c), (d, e_) = (high(u), low(u)), (high(v), low(v))
    middle = b.add(b.mul(a, e_), high(b.mul(c, e_)))
    rest = b.add(b.mul(c, d), low(middle))
    result = b.convert(b.add(b.add(b.mul(a, d), high(middle)), high(rest)), x.type.dtype)
    if dtype_category(x.type.dtype) == "int":
        sign_x, sign_y = (b.shift_right_arithmetic(z, 63) for z in (x, y))
        result = b.add(result, b.add(b.mul(sign_x, y), b.mul(sign_y, x)))
    return result


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
    if dtype_category(type.dtype) in e.INTEGER:
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


@expansion(e.polynomial)
def expand_polynomial(b: Builder, x: Any, *coefficients: Any, unroll: int | None) -> Any:
    """Horner's rule, written out."""
    total = coefficients[-1]
    for c in reversed(coefficients[:-1]):
        total = b.add(b.mul(total, x), c)
    shape = e.broadcast_shapes("polynomial", tuple(z.type for z in (x, *coefficients)))
    return (
        total
        if total.type.shape == shape
        else b.broadcast(total, shape, range(len(total.type.shape)))
    )


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

# -- transcendental ------------------------------------------------------------------------------


@lower.rule(e.exp2)
def lower_exp2(ctx: Context, eqn: Equation, operands: Operands) -> Operands:
    """2^x = exp(x log 2)."""
    type = eqn.outputs[0].type
    x = ctx.op("stablehlo.multiply", type, ctx.full(math.log(2), type), *operands)
    accuracy = ctx.accuracy(eqn.params["accuracy"])
    return [ctx.op("stablehlo.exponential", type, x, **accuracy)]


@expansion(e.log2)
def expand_log2(b: Builder, x: Any, accuracy: Any) -> Any:
    """log2 x = log x / log 2, part by part where x is complex."""
    y = b.log(x, accuracy=accuracy)
    if not is_complex(x.type.dtype):
        return b.mul(y, 1 / math.log(2))
    return b.complex(b.mul(b.real(y), 1 / math.log(2)), b.mul(b.imag(y), 1 / math.log(2)))


@expansion(e.logistic)
def expand_logistic(b: Builder, x: Any, accuracy: Any) -> Any:
    """1 / (1 + exp(-x))."""
    return b.div(1, b.add(1, b.exp(b.neg(x))))


@expansion(e.one_minus_square)
def expand_one_minus_square(b: Builder, x: Any) -> Any:
    """(1 + x) (1 - x), exact near |x| = 1 where 1 - x^2 cancels."""
    return b.mul(b.add(1, x), b.sub(1, x))


@expansion(e.conj)
def expand_conj(b: Builder, x: Any, input_dtype: Dtype | None) -> Any:
    if not is_complex(x.type.dtype):
        return b.complex(x, b.literal(0, x.type))
    return b.complex(b.real(x), b.neg(b.imag(x)))


def _hyperbolic(b: Builder, y: Any) -> tuple[Any, Any]:
    """sinh y and cosh y from expm1, which does not cancel where y is small."""
    up, down = b.expm1(y), b.expm1(b.neg(y))
    return b.div(b.sub(up, down), 2), b.div(b.add(b.add(up, down), 2), 2)


def _sin_complex(b: Builder, z: Any, accuracy: Any) -> Any:
    """sin(x + iy) = sin x cosh y + i cos x sinh y; on x = 0 its real part is 0."""
    x, y = b.real(z), b.imag(z)
    sinh_y, cosh_y = _hyperbolic(b, y)
    re, im = b.mul(b.sin(x), cosh_y), b.mul(b.cos(x), sinh_y)
    return b.select_n(b.eq(x, 0), b.complex(re, im), b.complex(b.literal(0, x.type), im))


def _cos_complex(b: Builder, z: Any, accuracy: Any) -> Any:
    """cos(x + iy) = cos x cosh y - i sin x sinh y; on x = 0 the imaginary part is 0."""
    x, y = b.real(z), b.imag(z)
    sinh_y, cosh_y = _hyperbolic(b, y)
    re, im = b.mul(b.cos(x), cosh_y), b.mul(b.neg(b.sin(x)), sinh_y)
    return b.select_n(b.eq(x, 0), b.complex(re, im), b.complex(re, b.literal(0, x.type)))


def _asin_real(b: Builder, x: Any) -> Any:
    """atan2(x, sqrt((1 - x) (1 + x)))."""
    return b.atan2(x, b.sqrt(b.mul(b.sub(1, x), b.add(1, x))))


def real_or_complex(real: Lower, complex: Lower) -> Lower:
    """The lowering that the operand's dtype asks for."""

    def lower_either(ctx: Context, eqn: Equation, operands: Operands) -> Operands:
        rule = complex if is_complex(eqn.inputs[0].type.dtype) else real
        return rule(ctx, eqn, operands)

    return lower_either


lower.define(e.sin, real_or_complex(unary("stablehlo.sine"), expanded(_sin_complex)))
lower.define(e.cos, real_or_complex(unary("stablehlo.cosine"), expanded(_cos_complex)))


@lower.rule(e.asin)
def lower_asin(ctx: Context, eqn: Equation, operands: Operands) -> Operands:
    if is_complex(eqn.inputs[0].type.dtype) or ctx.is_on("gpu"):
        return [ctx.op("chlo.asin", eqn.outputs[0].type, *operands)]
    return expanded(_asin_real)(ctx, eqn, operands)


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

# -- conversion and selection --------------------------------------------------------------------


@lower.rule(e.convert_element_type)
def lower_convert(ctx: Context, eqn: Equation, operands: Operands) -> Operands:
    return [convert(ctx, operands[0], eqn.inputs[0].type, eqn.outputs[0].type.dtype)]


def convert(ctx: Context, x: MlirValue, type: TensorType, dtype: Dtype) -> MlirValue:
    """x in another dtype: to bool by x != 0; complex numbers to real ones by their real part."""
    if type.dtype == dtype:
        return x
    if is_complex(type.dtype) and not is_complex(dtype):
        type = TensorType(type.shape, real_dtype(type.dtype))
        x = ctx.op("stablehlo.real", type, x)
        if type.dtype == dtype:
            return x
    if dtype == BOOL:
        return compare(ctx, "NE", x, ctx.full(0, type), type)
    return ctx.op("stablehlo.convert", TensorType(type.shape, dtype), x)


@lower.rule(e.bitcast_convert_type)
def lower_bitcast(ctx: Context, eqn: Equation, operands: Operands) -> Operands:
    return [ctx.op("stablehlo.bitcast_convert", eqn.outputs[0].type, *operands)]


@lower.rule(e.reduce_precision)
def lower_reduce_precision(ctx: Context, eqn: Equation, operands: Operands) -> Operands:
    bits = {
        name: ctx.attributes.integer(eqn.params[name], bits=32)
        for name in ("exponent_bits", "mantissa_bits")
    }
    return [ctx.op("stablehlo.reduce_precision", eqn.outputs[0].type, *operands, **bits)]


@lower.rule(e.select_n)
def lower_select(ctx: Context, eqn: Equation, operands: Operands) -> Operands:
    which, *cases = operands
    out, selector = eqn.outputs[0].type, eqn.inputs[0].type
    shape = physical(out).shape
    if selector.shape and shape != out.shape:
        words = TensorType(shape, selector.dtype)
        which = ctx.broadcast(which, words, range(len(selector.shape)))
        selector = words
    if len(cases) == 1:
        return cases
    if dtype_category(selector.dtype) == "bool":
        return [ctx.op("stablehlo.select", out, which, cases[1], cases[0])]
    return [_select(ctx, which, selector, cases, 0, out)]


def _select(
    ctx: Context,
    which: MlirValue,
    selector: TensorType,
    cases: Sequence[MlirValue],
    first: int,
    out: TensorType,
) -> MlirValue:
    """Choose among cases numbered from `first` by halving."""
    if len(cases) == 1:
        return cases[0]
    half = len(cases) // 2
    is_low = compare(ctx, "LT", which, ctx.full(first + half, selector), selector)
    low = _select(ctx, which, selector, cases[:half], first, out)
    high = _select(ctx, which, selector, cases[half:], first + half, out)
    return ctx.op("stablehlo.select", out, is_low, low, high)
