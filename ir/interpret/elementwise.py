"""The meaning of elementwise primitives.

Small floats are computed in float32, as XLA computes them; the loop rounds results to their dtype.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, Final

import ml_dtypes
import numpy as np

from ..ops import elementwise as e
from ..ops.operands import bit_width
from ..primitive import Primitive
from ..types import complex_dtype, dtype_category, is_complex
from . import means

Array = Any
NumPy = Callable[..., Any]


def widened(x: Array) -> Array:
    """x, floats narrower than float32 as float32, integers narrower than a byte as int32."""
    x = np.asarray(x)
    category = dtype_category(x.dtype)
    if category == "float" and x.dtype.itemsize < 4:
        return x.astype(np.float32)
    if category in ("int", "uint") and x.dtype.kind not in "iu":
        return x.astype(np.int32)
    return x


def _mean_by(function: NumPy) -> NumPy:
    @functools.wraps(function)
    def meaning(*xs: Array, **params: Any) -> Array:
        return function(*map(widened, xs))

    return meaning


# -- arithmetic ----------------------------------------------------------------------------------


def _quotient(x: Array, y: Array) -> Array:
    """x / y; integers round to zero, and division of integers by zero gives all bits set."""
    if dtype_category(x.dtype) not in ("int", "uint"):
        return np.divide(x, y)
    by_zero = y == 0
    is_negated = (y == -1) if x.dtype.kind == "i" else np.zeros_like(by_zero)
    safe = np.where(by_zero | is_negated, np.asarray(1, y.dtype), y)
    quotient = np.where(is_negated, np.negative(x), (x - np.fmod(x, safe)) // safe)
    return np.where(by_zero, np.asarray(-1).astype(x.dtype), quotient)


def _remainder(x: Array, y: Array) -> Array:
    """The remainder with the sign of x; of integers by zero, x."""
    if dtype_category(x.dtype) not in ("int", "uint"):
        return np.fmod(x, y)
    by_zero = y == 0
    trivial = by_zero | ((y == -1) if x.dtype.kind == "i" else np.zeros_like(by_zero))
    rest = np.fmod(x, np.where(trivial, np.asarray(1, y.dtype), y))
    return np.where(by_zero, x, rest)


def _sign(x: Array) -> Array:
    """Zero keeps its sign, NaN stays; of a complex number, x / |x|."""
    if is_complex(x.dtype):
        return np.where(x == 0, x, x / np.where(x == 0, 1, np.abs(x)))
    if dtype_category(x.dtype) == "float":
        return np.where(x == 0, x, np.sign(x))
    return np.sign(x)


def _atan2(y: Array, x: Array) -> Array:
    if not is_complex(x.dtype):
        return np.arctan2(y, x)
    return -1j * np.log((x + 1j * y) / np.sqrt(x * x + y * y))


def _integer_pow(x: Array, y: int) -> Array:
    """By repeated squaring, as it is lowered."""
    power, square, n = np.ones_like(x), x, abs(y)
    while n:
        if n & 1:
            power = power * square
        square = square * square
        n >>= 1
    return np.reciprocal(power) if y < 0 else power


def _pow(x: Array, y: Array) -> Array:
    if is_complex(x.dtype):
        z = np.power(x, y.astype(x.dtype))
        return np.where(y == 0, np.asarray(1, x.dtype), z)
    return np.power(x, y.astype(x.dtype))


_FUNCTIONS: Final[dict[Primitive, NumPy]] = {
    e.neg: np.negative, e.sign: _sign, e.abs_: np.abs, e.square: np.square,
    e.add: np.add, e.add_any: np.add, e.sub: np.subtract, e.div: _quotient, e.rem: _remainder,
    e.max_: np.maximum, e.min_: np.minimum, e.pow_: _pow,
    e.one_minus_square: lambda x: (1 + x) * (1 - x),
    e.floor: np.floor, e.ceil: np.ceil, e.is_finite: np.isfinite,
    e.exp: np.exp, e.exp2: np.exp2, e.log: np.log, e.log1p: np.log1p, e.expm1: np.expm1,
    e.log2: np.log2, e.sqrt: np.sqrt, e.cbrt: np.cbrt, e.rsqrt: lambda x: 1 / np.sqrt(x),
    e.logistic: lambda x: 1 / (1 + np.exp(-x)),
    e.sin: np.sin, e.cos: np.cos, e.tan: np.tan, e.sinh: np.sinh, e.cosh: np.cosh,
    e.tanh: np.tanh, e.asin: np.arcsin, e.acos: np.arccos, e.atan: np.arctan, e.atan2: _atan2,
    e.asinh: np.arcsinh, e.acosh: np.arccosh, e.atanh: np.arctanh,
    e.real: np.real, e.imag: np.imag, e.conj: np.conj,
    e.lt: np.less, e.le: np.less_equal, e.gt: np.greater, e.ge: np.greater_equal,
    e.not_: np.invert, e.and_: np.bitwise_and, e.or_: np.bitwise_or, e.xor: np.bitwise_xor,
}  # fmt: skip

for _primitive, _function in _FUNCTIONS.items():
    means(_primitive)(_mean_by(_function))


@means(e.copy, e.copy_p, e.stop_gradient)
def identity(x: Array) -> Array:
    return x


@means(e.eq)
def eq(x: Array, y: Array) -> Array:
    return np.equal(x, y)


@means(e.ne)
def ne(x: Array, y: Array) -> Array:
    return np.not_equal(x, y)


@means(e.mul)
def mul(x: Array, y: Array, *, out_dtype: Any) -> Array:
    if out_dtype is not None:
        x, y = x.astype(out_dtype), y.astype(out_dtype)
    return np.multiply(widened(x), widened(y))


@means(e.integer_pow)
def integer_pow(x: Array, *, y: int) -> Array:
    return _integer_pow(widened(x), y)


@means(e.polynomial)
def polynomial(x: Array, *coefficients: Array, unroll: int | None) -> Array:
    x = widened(x)
    total = np.zeros((), x.dtype)
    for c in reversed(coefficients):
        total = total * x + widened(c)
    return np.broadcast_to(total, np.broadcast_shapes(np.shape(total), x.shape))


@means(e.mulhi)
def mulhi(x: Array, y: Array) -> Array:
    """The high half of the product, which has twice the bits."""
    product = x.astype(object) * y.astype(object)
    return np.asarray(product >> bit_width(x.dtype)).astype(x.dtype)


@means(e.round_)
def round_(x: Array, *, rounding_method: str) -> Array:
    x = widened(x)
    if rounding_method == "TO_NEAREST_EVEN":
        return np.rint(x)
    whole = np.trunc(x)
    away = whole + np.copysign(np.asarray(1, x.dtype), x)
    return np.where(np.abs(x - whole) >= 0.5, away, whole)


@means(e.nextafter)
def nextafter(x: Array, y: Array) -> Array:
    return np.nextafter(x, y)


@means(e.complex_)
def complex_(re: Array, im: Array) -> Array:
    """Not re + 1j * im, which makes NaNs of infinities."""
    dtype: Any = complex_dtype(re.dtype)
    out = np.empty(np.broadcast_shapes(re.shape, im.shape), dtype)
    out.real, out.imag = re, im
    return out


# -- conversion and selection --------------------------------------------------------------------


@means(e.convert_element_type)
def convert_element_type(x: Array, *, new_dtype: Any, weak_type: bool) -> Array:
    """Complex numbers lose their imaginary part; floats saturate to integers, NaN becomes 0."""
    if is_complex(x.dtype) and not is_complex(new_dtype):
        x = x.real
    if dtype_category(x.dtype) != "float" or dtype_category(new_dtype) not in ("int", "uint"):
        return x.astype(new_dtype)
    info = ml_dtypes.iinfo(new_dtype)
    low, high = int(info.min), int(info.max)
    wide = np.nan_to_num(np.trunc(x.astype(np.float64)), nan=0, posinf=np.inf, neginf=-np.inf)
    inside = (wide >= low) & (wide < high)
    whole = np.where(inside, wide, 0).astype(np.uint64 if low == 0 else np.int64)
    nearest = np.where(wide < low, whole.dtype.type(low), whole.dtype.type(high))
    return np.where(inside, whole, nearest).astype(new_dtype)


@means(e.bitcast_convert_type)
def bitcast_convert_type(x: Array, *, new_dtype: Any) -> Array:
    old, new = x.dtype.itemsize, new_dtype.itemsize
    if bit_width(x.dtype) != 8 * old or bit_width(new_dtype) != 8 * new:
        raise ValueError("dtypes narrower than a byte have no bits of their own in memory")
    flat = np.array(x, order="C")
    if old == new:
        return flat.view(new_dtype)
    if old > new:
        return flat[..., None].view(new_dtype)
    return flat.view(new_dtype)[..., 0]


@means(e.reduce_precision)
def reduce_precision(x: Array, *, exponent_bits: int, mantissa_bits: int) -> Array:
    """Round to fewer bits, ties to even; what leaves the exponent's range becomes inf or zero."""
    wide = np.asarray(x, np.float64)
    fraction, exponent = np.frexp(wide)  # |fraction| in [1/2, 1)
    rounded = np.ldexp(np.rint(np.ldexp(fraction, mantissa_bits + 1)), exponent - mantissa_bits - 1)
    largest = 2 ** (exponent_bits - 1) - 1
    overflows = np.abs(rounded) >= 2.0 ** (largest + 1) if largest < 1023 else np.isinf(rounded)
    underflows = np.abs(rounded) < 2.0 ** (1 - largest) if largest < 1023 else rounded == 0
    result = np.where(overflows, np.copysign(np.inf, wide), rounded)
    result = np.where(underflows, np.copysign(0.0, wide), result)
    return np.where(np.isfinite(wide), result, wide)


@means(e.select_n)
def select_n(which: Array, *cases: Array) -> Array:
    """Out-of-range selectors take the nearest case."""
    index = np.clip(which.astype(np.int64), 0, len(cases) - 1)
    out = np.array(cases[0])
    for i, case in enumerate(cases[1:], 1):
        out = np.where(index == i, case, out)
    return out


@means(e.clamp)
def clamp(low: Array, x: Array, high: Array) -> Array:
    return np.minimum(np.maximum(low, x), high)
