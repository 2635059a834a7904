"""Derivatives of the elementwise primitives.

Each entry gives, for each input, the tangent of the output that a tangent t of that input causes;
z is the output. The parameters that the primal was asked for (accuracy) go on to its derivative.
What multiplies t is computed from primals alone, so that the linear half of a program is short.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import ml_dtypes

from ...ir.builder import Builder, Operand, Zero
from ...ir.errors import MissingRule
from ...ir.graph import Equation
from ...ir.ops import elementwise as e
from ...ir.ops.elementwise_folds import uniform
from ...ir.primitive import Primitive
from ...ir.types import TensorType, dtype_category, is_complex
from .. import tables
from ..tables import Operands
from ..weakness import is_slope_weak, typed_slope

Push = Callable[..., Operand]
Entry = Push | str | None
"""How to push a tangent; why none is known; or None: linear in that input."""


def ones(b: Builder, like: Operand) -> Operand:
    return b.full(like.type, 1)


def strong(b: Builder, x: Operand) -> Any:
    """x strongly typed; its cotangent is as weakly typed as x is."""
    return b.convert(x, x.type.dtype)


def as_weak(b: Builder, x: Operand, like: Operand) -> Any:
    """x as weakly typed as `like` is; its cotangent is as x is."""
    return b.convert(x, x.type.dtype, like.type.weak)


def scaled(b: Builder, t: Operand, slope: Operand) -> Any:
    """t slope, as jax.numpy multiplies: t is converted first if slope is strongly typed."""
    return b.mul(t if slope.type.weak else strong(b, t), slope)


def replace_zero(b: Builder, x: Operand) -> Operand:
    """x, with 1 where it is 0: for what is multiplied by zero there."""
    return b.select_n(b.eq(x, 0), x, ones(b, x))


# -- accuracy ------------------------------------------------------------------------------------


def push_tanh(b: Builder, t: Operand, z: Operand, x: Operand, **p: Any) -> Operand:
    """1 - z^2; most accurately, 4 logistic(2x) logistic(-2x), which does not cancel."""
    if p["accuracy"] != "HIGHEST":
        return b.mul(t, b.one_minus_square(z))
    sides = b.mul(b.logistic(b.mul(x, 2), **p), b.logistic(b.mul(x, -2), **p))
    return b.mul(t, b.mul(sides, 4))


def push_logistic(b: Builder, t: Operand, z: Operand, x: Operand, **p: Any) -> Operand:
    """z (1 - z); most accurately, z logistic(-x)."""
    most = p["accuracy"] == "HIGHEST"
    rest = b.logistic(b.neg(x), **p) if most else b.sub(b.literal(1, z.type), z)
    return b.mul(t, b.mul(z, rest))


# -- branch cuts: 1 / sqrt(a b) is 1 / sqrt(a) / sqrt(b) only on the principal branch ------------


def push_asin(b: Builder, t: Operand, z: Operand, x: Operand) -> Operand:
    return b.mul(t, typed_slope(b, e.asin, b.rsqrt(b.one_minus_square(x))))


def push_acos(b: Builder, t: Operand, z: Operand, x: Operand) -> Operand:
    return b.mul(t, typed_slope(b, e.acos, b.neg(b.rsqrt(b.one_minus_square(x)))))


def push_acosh(b: Builder, t: Operand, z: Operand, x: Operand) -> Operand:
    """1 / (sqrt(x - 1) sqrt(x + 1)): no square overflows, and 1 has the slope of its domain."""
    inner = x if is_complex(x.type.dtype) else b.abs(x)
    one = b.literal(1, x.type)
    return b.mul(t, b.mul(b.rsqrt(b.sub(inner, one)), b.rsqrt(b.add(inner, one))))


def push_asinh(b: Builder, t: Operand, z: Operand, x: Operand) -> Operand:
    """1 / sqrt(1 + x^2) = 1 / (sqrt(1 + ix) sqrt(1 - ix))."""
    if not is_complex(x.type.dtype):
        slope = _over_length(b, x)
    else:
        re, im = b.real(x), b.imag(x)
        one = b.literal(1, im.type)
        upper = b.rsqrt(b.complex(b.sub(one, im), re))
        lower = b.rsqrt(b.complex(b.add(im, one), b.neg(re)))
        slope = b.mul(upper, lower)
    return b.mul(t, typed_slope(b, e.asinh, slope))


def _over_length(b: Builder, x: Operand) -> Operand:
    """1 / sqrt(1 + x^2) = (1/s) / sqrt((1/s)^2 + (x/s)^2), where no square overflows.

    s is 1 but for the largest x; its own tangent adds nothing, as the quotient is the same for all.
    """
    half = int(ml_dtypes.finfo(x.type.dtype).maxexp) // 2
    bounds = b.literal(1, x.type), b.literal(2.0 ** (half + 2), x.type)
    size = b.mul(b.abs(x), b.literal(2.0 ** (2 - half), x.type))
    inverse = b.div(bounds[0], b.stop_gradient(b.clamp(bounds[0], size, bounds[1])))
    squares = b.add(b.square(b.mul(x, inverse)), b.square(inverse))
    return b.mul(inverse, b.rsqrt(squares))


# -- kinks ---------------------------------------------------------------------------------------


def push_abs(b: Builder, t: Operand, z: Operand, x: Operand) -> Operand:
    """The slope at 0 is 1. For complex x, d|x| = Re(conj(x) t) / |x|, and 0 at 0; typed strongly,
    as |x| is when JAX divides by it."""
    if is_complex(x.type.dtype):
        pushed = b.real(b.mul(t, conj(b, b.sign(x))))
        return strong(b, pushed) if pushed.type.weak else pushed
    return b.mul(t, b.select_n(b.ge(x, 0), b.full(x.type, -1), ones(b, x)))


def push_sign(b: Builder, t: Operand, z: Operand, x: Operand) -> Operand:
    """0; of a complex number, whose sign turns as its angle does, i z Im(conj(z) t) / |x|."""
    if not is_complex(x.type.dtype):
        return Zero(z.type)
    turn = b.div(b.imag(b.mul(conj(b, z), t)), replace_zero(b, b.abs(x)))
    return b.mul(z, b.complex(0, turn))


def conj(b: Builder, x: Operand) -> Operand:
    return b.conj(x, input_dtype=x.type.dtype)


def share(b: Builder, is_won: Operand, x: Operand, y: Operand, weak: bool = False) -> Operand:
    """1 where one of x and y has won, 1/2 where they are equal, else 0."""
    won = b.convert(is_won, x.type.dtype, weak)
    return b.select_n(b.eq(x, y), won, b.full(won.type, 0.5))


def wins(
    b: Builder, compare: Callable[..., Operand], x: Operand, y: Operand, one: Operand, z: Operand
) -> Operand:
    """Whether z, one of x and y, is that one: by comparison, which complex numbers do not have."""
    return b.eq(one, z) if is_complex(z.type.dtype) else compare(x, y)


def push_extremum(primitive: Primitive, is_greater: bool, place: int) -> Push:
    """t, or half of it where both operands are equal, where the one at this place is chosen."""

    def push(b: Builder, t: Operand, z: Operand, x: Operand, y: Operand) -> Operand:
        compare = b.gt if is_greater == (place == 0) else b.lt
        is_won = wins(b, compare, x, y, (x, y)[place], z)
        return b.mul(t, share(b, is_won, x, y, is_slope_weak(primitive, z.type)))

    return push


def push_divisor(b: Builder, t: Operand, z: Operand, x: Operand, y: Operand) -> Operand:
    """-z (t / y): its residuals are z and y, which other readers often need too. -z z t for 1 / y:
    z alone, and no second division."""
    numerator = uniform(b, x)
    if numerator is not None and numerator.value == 1:
        return b.neg(b.mul(z, b.mul(z, t)))
    return b.neg(b.mul(z, b.div(t, y)))


def push_rem_divisor(b: Builder, t: Operand, z: Operand, x: Operand, y: Operand) -> Operand:
    """x - y trunc(x / y)."""
    quotient = b.div(x, y)
    return b.mul(t, b.neg(b.mul(b.sign(quotient), b.floor(b.abs(quotient)))))


# -- powers --------------------------------------------------------------------------------------


def push_integer_pow(b: Builder, t: Operand, z: Operand, x: Operand, y: int) -> Operand:
    if y == 0:
        return Zero(z.type)
    return b.mul(t, b.mul(x if y == 2 else b.integer_pow(x, y=y - 1), y))


def push_pow_base(b: Builder, t: Operand, z: Operand, x: Operand, y: Operand) -> Operand:
    """y x^(y-1), strongly typed; for an integer y of 0, which has no slope, 0 even at x = 0."""
    x = strong(b, x)
    if dtype_category(y.type.dtype) in ("float", "complex"):
        y = strong(b, y)
        return b.mul(t, b.mul(y, b.pow(x, b.sub(y, 1))))
    y = match_shape(b, b.convert(y, x.type.dtype), z.type)
    slope = b.mul(replace_zero(b, y), b.pow(x, b.sub(y, 1)))
    return b.mul(t, b.select_n(b.eq(y, 0), slope, b.full(slope.type, 0)))


def push_pow_exponent(b: Builder, t: Operand, z: Operand, x: Operand, y: Operand) -> Operand:
    """log(x) x^y, and 0 at x = 0; strongly typed."""
    return strong(b, b.mul(t, b.mul(b.log(replace_zero(b, x)), z)))


def squares(b: Builder, x: Operand, y: Operand) -> Operand:
    return b.add(b.square(x), b.square(y))


# -- the table -----------------------------------------------------------------------------------

PUSH: dict[Primitive, tuple[Entry, ...]] = {
    e.exp: (lambda b, t, z, x, **p: b.mul(t, z),),
    e.exp2: (lambda b, t, z, x, **p: b.mul(t, b.mul(z, math.log(2))),),
    e.expm1: (lambda b, t, z, x, **p: b.mul(t, b.exp(x, **p)),),
    e.log: (lambda b, t, z, x, **p: b.div(t, x),),
    e.log2: (lambda b, t, z, x, **p: b.div(t, b.mul(x, math.log(2))),),
    e.log1p: (lambda b, t, z, x, **p: b.div(t, b.add(x, b.literal(1, x.type))),),
    e.tanh: (push_tanh,),
    e.logistic: (push_logistic,),
    e.sin: (lambda b, t, z, x, **p: b.mul(t, b.cos(x, **p)),),
    e.cos: (lambda b, t, z, x, **p: b.mul(t, b.neg(b.sin(x, **p))),),
    e.tan: (lambda b, t, z, x, **p: b.mul(t, b.add(b.square(z), 1)),),
    e.asin: (push_asin,),
    e.acos: (push_acos,),
    e.atan: (lambda b, t, z, x: b.div(t, b.add(b.square(x), 1)),),
    e.atan2: (
        lambda b, t, z, x, y: b.mul(t, b.div(y, squares(b, x, y))),
        lambda b, t, z, x, y: b.mul(t, b.div(b.neg(x), squares(b, x, y))),
    ),
    e.sinh: (lambda b, t, z, x: b.mul(t, b.cosh(x)),),
    e.cosh: (lambda b, t, z, x: b.mul(t, b.sinh(x)),),
    e.asinh: (push_asinh,),
    e.acosh: (push_acosh,),
    e.atanh: (lambda b, t, z, x: b.div(t, b.one_minus_square(x)),),
    e.sqrt: (lambda b, t, z, x, **p: b.mul(t, b.div(0.5, z)),),
    e.rsqrt: (lambda b, t, z, x, **p: b.mul(t, b.mul(b.div(z, x), -0.5)),),
    e.cbrt: (lambda b, t, z, x, **p: b.mul(t, b.div(1 / 3, b.square(z))),),
    e.square: (lambda b, t, z, x: b.mul(t, b.mul(x, 2)),),
    e.one_minus_square: (lambda b, t, z, x: b.mul(t, b.mul(x, -2)),),
    e.integer_pow: (push_integer_pow,),
    e.pow_: (push_pow_base, push_pow_exponent),
    e.div: (None, push_divisor),
    e.rem: (lambda b, t, z, x, y: t, push_rem_divisor),
    e.nextafter: (lambda b, t, z, x, y: t, lambda b, t, z, x, y: Zero(z.type)),
    e.abs_: (push_abs,),
    e.sign: (push_sign,),
    e.max_: (push_extremum(e.max_, True, 0), push_extremum(e.max_, True, 1)),
    e.min_: (push_extremum(e.min_, False, 0), push_extremum(e.min_, False, 1)),
}


def jvp_from_pushes(pushes: Sequence[Entry]) -> tables.JvpRule:
    """The jvp rule that sums the contributions of all inputs."""

    def jvp_elementwise(b: Builder, eqn: Equation, tangents: Operands) -> Operands:
        (z,) = eqn.outputs
        terms: list[Operand] = []
        for i, (push, t) in enumerate(zip(pushes, tangents, strict=True)):
            if isinstance(t, Zero):
                continue
            if isinstance(push, str):
                raise MissingRule(f"{eqn.primitive.name} has no derivative {push}", eqn)
            if push is None:
                inputs = (*eqn.inputs[:i], t, *eqn.inputs[i + 1 :])
                terms.extend(b.emit(eqn.primitive, *inputs, **eqn.params))
            else:
                term = push(b, t, z, *eqn.inputs, **eqn.params)
                terms.append(match_shape(b, term, z.type))
        return [b.sum_of(terms, z.type)]

    return jvp_elementwise


def match_shape(b: Builder, term: Operand, type: TensorType) -> Operand:
    """Broadcast what is smaller than the output: a scalar operand's contribution, say."""
    if isinstance(term, Zero) or term.type.shape == type.shape:
        return term
    return b.broadcast(term, type.shape, range(len(term.type.shape)))


def define_pushes(pushes: Mapping[Primitive, Sequence[Entry]]) -> None:
    for primitive, entries in pushes.items():
        tables.jvp.define(primitive, jvp_from_pushes(entries))


define_pushes(PUSH)
tables.reads_uniforms.add(e.div)


# -- transposes ----------------------------------------------------------------------------------


def _transpose_sum(*signs: int) -> tables.TransposeRule:
    def transpose_sum(b: Builder, eqn: Equation, cts: Operands, linear: Sequence[bool]) -> Operands:
        return [
            tables.unbroadcast(b, cts[0] if sign > 0 else b.neg(cts[0]), x.type)
            if is_linear
            else Zero(x.type)
            for sign, x, is_linear in zip(signs, eqn.inputs, linear, strict=True)
        ]

    return transpose_sum


tables.transpose.define(e.neg, _transpose_sum(-1))
tables.transpose.define(e.add, _transpose_sum(1, 1))
tables.transpose.define(e.add_any, _transpose_sum(1, 1))
tables.transpose.define(e.sub, _transpose_sum(1, -1))


@tables.transpose.rule(e.mul)
def transpose_mul(b: Builder, eqn: Equation, cts: Operands, linear: Sequence[bool]) -> Operands:
    """ct_x = ct y, in the dtype of x."""
    x, y = eqn.inputs
    is_typed = eqn.params["out_dtype"] is not None
    result: list[Operand] = [Zero(x.type), Zero(y.type)]
    for i, own, other in ((0, x, y), (1, y, x)):
        if linear[i]:
            factors = (cts[0], other) if i == 0 else (other, cts[0])
            out_dtype = own.type.dtype if is_typed else None
            result[i] = tables.unbroadcast(b, b.mul(*factors, out_dtype=out_dtype), own.type)
    return result
