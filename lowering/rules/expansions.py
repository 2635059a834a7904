"""Elementwise primitives written with others, where XLA has no operation or a worse one.

They agree with JAX operation by operation, so that results agree to the last bit.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from ...ir.builder import Builder
from ...ir.graph import Equation
from ...ir.ops import elementwise as e
from ...ir.ops.operands import broadcast_shapes
from ...ir.types import Dtype, dtype_category, is_complex
from ..context import Context, MlirValue
from ..tables import Lower, expanded, expansion, lower, unary

Operands = Sequence[MlirValue]

# -- arithmetic ----------------------------------------------------------------------------------


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


@expansion(e.polynomial)
def expand_polynomial(b: Builder, x: Any, *coefficients: Any, unroll: int | None) -> Any:
    """Horner's rule, written out."""
    total = coefficients[-1]
    for c in reversed(coefficients[:-1]):
        total = b.add(b.mul(total, x), c)
    shape = broadcast_shapes("polynomial", tuple(z.type for z in (x, *coefficients)))
    return (
        total
        if total.type.shape == shape
        else b.broadcast(total, shape, range(len(total.type.shape)))
    )


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


def real_or_complex(real: Lower, complex: Lower) -> Lower:
    """The lowering that the operand's dtype asks for."""

    def lower_either(ctx: Context, eqn: Equation, operands: Operands) -> Operands:
        rule = complex if is_complex(eqn.inputs[0].type.dtype) else real
        return rule(ctx, eqn, operands)

    return lower_either


lower.define(e.sin, real_or_complex(unary("stablehlo.sine"), expanded(_sin_complex)))
lower.define(e.cos, real_or_complex(unary("stablehlo.cosine"), expanded(_cos_complex)))


def borrowed(ctx: Context, eqn: Equation, operands: Operands) -> Operands:
    """JAX's own lowering: of what each version of it writes in another way."""
    return ctx.borrow(
        eqn.primitive.name, [x.type for x in eqn.inputs], [eqn.outputs[0].type], operands
    )


lower.define(e.asin, borrowed)
lower.define(e.abs_, real_or_complex(unary("stablehlo.abs"), borrowed))
