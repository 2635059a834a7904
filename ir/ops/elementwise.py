"""Elementwise primitives: arithmetic, transcendental functions, comparisons, bits, selection.

Operands have one shape; scalars, and axes of length 1 against longer ones, broadcast.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from ..errors import TypeRuleError
from ..primitive import PRIMITIVES, Primitive, Types, define
from ..types import (
    BOOL,
    Dtype,
    TensorType,
    complex_dtype,
    dtype_category,
    dtype_name,
    real_dtype,
)
from .elementwise_folds import FOLDS
from .operands import (
    ANY,
    BITS,
    COMPLEX,
    DISCRETE,
    FLOAT,
    INEXACT,
    INTEGER,
    NUMBER,
    ORDERED,
    SIGNED,
    accept,
    all_weak,
    bit_width,
    broadcast_shapes,
    same_dtype,
)

Result = Callable[[Dtype, dict[str, Any]], Dtype]

STEPS: Final = "it is constant between steps"


def elementwise(
    name: str,
    accepted: frozenset[str],
    arity: int = 1,
    result: Result | None = None,
    **fields: Any,
) -> Primitive:
    """Define an elementwise primitive whose operands share a dtype of an accepted category."""

    def infer(types: Types, params: dict[str, Any]) -> TensorType:
        first = types[0]
        if len(types) != arity:
            raise TypeRuleError(f"{name} takes {arity} operands, got {len(types)}")
        shape = first.shape if arity == 1 else broadcast_shapes(name, types)
        dtype = first.dtype if arity == 1 else same_dtype(name, types)
        accept(name, dtype, accepted)
        if result is not None:
            return TensorType(shape, result(dtype, params), all_weak(types))
        if arity == 1:
            return first
        return TensorType(shape, dtype, all_weak(types))

    return define(name, infer, elementwise=True, **{"family": "elementwise", **fields})


ACCURACY: Final = {"accuracy": None}


def _unary(names: str, accepted: frozenset[str], **fields: Any) -> tuple[Primitive, ...]:
    return tuple(elementwise(name, accepted, **fields) for name in names.split())


def _binary(names: str, accepted: frozenset[str], **fields: Any) -> tuple[Primitive, ...]:
    return tuple(elementwise(name, accepted, 2, **fields) for name in names.split())


# -- arithmetic ----------------------------------------------------------------------------------


def _infer_mul(types: Types, params: dict[str, Any]) -> TensorType:
    x, y = types
    dtype = params["out_dtype"]
    if dtype is None:
        dtype = x.dtype if x.dtype == y.dtype else same_dtype("mul", types)
    accept("mul", x.dtype, NUMBER)
    accept("mul", y.dtype, NUMBER)
    return TensorType(broadcast_shapes("mul", types), dtype, x.weak and y.weak)


def _infer_add_any(types: Types, params: dict[str, Any]) -> TensorType:
    x, y = types
    dtype = x.dtype if x.dtype == y.dtype else same_dtype("add_any", types)
    accept("add_any", dtype, NUMBER)
    return TensorType(broadcast_shapes("add_any", types), dtype, x.weak)


neg = elementwise("neg", NUMBER, linear_in=(0,), jointly_linear=True)
(sign,) = _unary("sign", NUMBER)
add = elementwise("add", NUMBER, 2, linear_in=(0, 1), jointly_linear=True, commutative=True)
add_any = define(
    "add_any",
    _infer_add_any,
    elementwise=True,
    linear_in=(0, 1),
    jointly_linear=True,
    family="elementwise",
)
"""The sum of two tangents or cotangents, as weakly typed as the first: so it does not commute."""
sub = elementwise("sub", NUMBER, 2, linear_in=(0, 1), jointly_linear=True)
mul = define(
    "mul",
    _infer_mul,
    elementwise=True,
    linear_in=(0, 1),
    commutative=True,
    defaults={"out_dtype": None},
)
"""With an `out_dtype`, operands of any dtypes are converted to it and then multiplied."""

div = elementwise("div", NUMBER, 2, linear_in=(0,))
(rem,) = _binary("rem", INTEGER | FLOAT)
max_, min_ = _binary("max min", NUMBER | {"bool"})
(nextafter,) = _binary("nextafter", FLOAT)
square, one_minus_square = _unary("square one_minus_square", NUMBER)
(mulhi,) = _binary("mulhi", INTEGER, not_differentiable=DISCRETE)
floor, ceil = _unary("floor ceil", FLOAT, not_differentiable=STEPS)
(round_,) = _unary(
    "round", FLOAT, not_differentiable=STEPS, defaults={"rounding_method": "AWAY_FROM_ZERO"}
)
(abs_,) = _unary("abs", SIGNED, result=lambda dtype, _: real_dtype(dtype))


def _infer_integer_pow(types: Types, params: dict[str, Any]) -> TensorType:
    accept("integer_pow", types[0].dtype, NUMBER)
    if params["y"] < 0 and dtype_category(types[0].dtype) in INTEGER:
        raise TypeRuleError("integer_pow cannot raise integers to a negative power")
    return types[0]


def _infer_pow(types: Types, params: dict[str, Any]) -> TensorType:
    base, exponent = types
    accept("pow", base.dtype, INEXACT)
    if dtype_category(exponent.dtype) not in INTEGER:
        same_dtype("pow", types)
    return TensorType(broadcast_shapes("pow", types), base.dtype, all_weak(types))


def _infer_polynomial(types: Types, params: dict[str, Any]) -> TensorType:
    if len(types) < 2:
        raise TypeRuleError("polynomial takes its argument and at least one coefficient")
    dtype = same_dtype("polynomial", types)
    accept("polynomial", dtype, NUMBER)
    return TensorType(broadcast_shapes("polynomial", types), dtype, all_weak(types))


integer_pow = define("integer_pow", _infer_integer_pow, elementwise=True, defaults={"y": 2})
pow_ = define("pow", _infer_pow, elementwise=True)
polynomial = define("polynomial", _infer_polynomial, elementwise=True, defaults={"unroll": None})
"""`polynomial x c0 c1 ...` is c0 + c1 x + c2 x^2 ..., by Horner's rule."""

# -- transcendental ------------------------------------------------------------------------------

exp, exp2, log, log1p, expm1, tanh, logistic, sin, cos, tan, sqrt, rsqrt = _unary(
    "exp exp2 log log1p expm1 tanh logistic sin cos tan sqrt rsqrt", INEXACT, defaults=ACCURACY
)
(cbrt,) = _unary("cbrt", FLOAT, defaults=ACCURACY)
asin, acos, atan, sinh, cosh, asinh, acosh, atanh = _unary(
    "asin acos atan sinh cosh asinh acosh atanh", INEXACT
)
(log2,) = _unary("log2", INEXACT, defaults=ACCURACY)
(atan2,) = _binary("atan2", INEXACT)

# -- complex numbers -----------------------------------------------------------------------------

real, imag = _unary(
    "real imag",
    COMPLEX,
    result=lambda dtype, _: real_dtype(dtype),
    linear_in=(0,),
    jointly_linear=True,
)


def _complex_of(dtype: Dtype, _params: dict[str, Any]) -> Dtype:
    if dtype.itemsize < 4:
        raise TypeRuleError(f"there are no complex numbers with parts in {dtype_name(dtype)}")
    return complex_dtype(dtype)


complex_ = elementwise(
    "complex",
    FLOAT,
    2,
    result=_complex_of,
    linear_in=(0, 1),
    jointly_linear=True,
)
conj = elementwise(
    "conj",
    INEXACT,
    result=_complex_of,
    linear_in=(0,),
    jointly_linear=True,
    defaults={"input_dtype": None},
)

# -- comparisons and bits ------------------------------------------------------------------------


def _to_bool(_dtype: Dtype, _params: dict[str, Any]) -> Dtype:
    return BOOL


eq, ne = _binary("eq ne", ANY, result=_to_bool, not_differentiable=DISCRETE)
lt, le, gt, ge, lt_to, le_to = _binary(
    "lt le gt ge lt_to le_to", ORDERED, result=_to_bool, not_differentiable=DISCRETE
)
(eq_to,) = _binary("eq_to", ANY - {"extended"}, result=_to_bool, not_differentiable=DISCRETE)
(is_finite,) = _unary("is_finite", FLOAT, result=_to_bool, not_differentiable=DISCRETE)
(not_,) = _unary("not", BITS, not_differentiable=DISCRETE)
and_, or_, xor = _binary("and or xor", BITS, commutative=True, not_differentiable=DISCRETE)
population_count, clz = _unary("population_count clz", INTEGER, not_differentiable=DISCRETE)
shift_left, shift_right_arithmetic, shift_right_logical = _binary(
    "shift_left shift_right_arithmetic shift_right_logical", INTEGER, not_differentiable=DISCRETE
)

# -- conversion and selection --------------------------------------------------------------------


def _infer_convert(types: Types, params: dict[str, Any]) -> TensorType:
    return TensorType(types[0].shape, params["new_dtype"], params["weak_type"])


def _infer_bitcast(types: Types, params: dict[str, Any]) -> TensorType:
    """Widths may differ: a trailing axis then holds the parts of one wider element."""
    for dtype in (types[0].dtype, params["new_dtype"]):
        if dtype_category(dtype) not in INTEGER | FLOAT and types[0].dtype != params["new_dtype"]:
            raise TypeRuleError(f"bitcast_convert_type does not take {dtype_name(dtype)}")
    old, new = bit_width(types[0].dtype), bit_width(params["new_dtype"])
    shape = types[0].shape
    if old > new:
        shape = (*shape, old // new)
    elif old < new:
        if not shape or shape[-1] * old != new:
            raise TypeRuleError(
                f"bitcast_convert_type from {dtype_name(types[0].dtype)} to "
                f"{dtype_name(params['new_dtype'])} needs a last axis of length {new // old}"
            )
        shape = shape[:-1]
    return TensorType(shape, params["new_dtype"])


def _infer_reduce_precision(types: Types, params: dict[str, Any]) -> TensorType:
    accept("reduce_precision", types[0].dtype, FLOAT)
    if params["exponent_bits"] < 1 or params["mantissa_bits"] < 0:
        raise TypeRuleError("reduce_precision keeps at least 1 exponent bit and 0 mantissa bits")
    return types[0]


def _infer_select(types: Types, params: dict[str, Any]) -> TensorType:
    which, cases = types[0], types[1:]
    if not cases:
        raise TypeRuleError("select_n takes a selector and at least one case")
    if dtype_category(which.dtype) == "bool":
        if len(cases) > 2:
            raise TypeRuleError(f"select_n by a bool takes at most 2 cases, got {len(cases)}")
    elif dtype_category(which.dtype) not in INTEGER:
        raise TypeRuleError(f"select_n selects by bool or integer, not {dtype_name(which.dtype)}")
    same_dtype("select_n", cases)
    if any(t.shape != cases[0].shape for t in cases):
        raise TypeRuleError(f"select_n takes cases of one shape; got {[t.shape for t in cases]}")
    if which.shape and which.shape != cases[0].shape:
        raise TypeRuleError(
            f"the selector of select_n is a scalar or has the cases' shape {cases[0].shape}; "
            f"got {which.shape}"
        )
    return TensorType(cases[0].shape, cases[0].dtype, all_weak(cases))


def _infer_clamp(types: Types, params: dict[str, Any]) -> TensorType:
    low, x, high = types
    accept("clamp", same_dtype("clamp", types), ANY - {"extended"})
    for bound in (low, high):
        if bound.shape and bound.shape != x.shape:
            raise TypeRuleError(f"clamp takes bounds that are scalars or of shape {x.shape}")
    return x.strong if not all_weak(types) else x


convert_element_type = define(
    "convert_element_type",
    _infer_convert,
    elementwise=True,
    linear_in=(0,),
    jointly_linear=True,
    defaults={"new_dtype": None, "weak_type": False},
)
bitcast_convert_type = define(
    "bitcast_convert_type",
    _infer_bitcast,
    not_differentiable="it reinterprets bits",
    defaults={"new_dtype": None},
)
reduce_precision = define(
    "reduce_precision",
    _infer_reduce_precision,
    elementwise=True,
    linear_in=(0,),
    jointly_linear=True,
    defaults={"exponent_bits": 8, "mantissa_bits": 23},
)
select_n = define("select_n", _infer_select, family="elementwise")
clamp = define("clamp", _infer_clamp, family="elementwise")
stop_gradient = define(
    "stop_gradient",
    lambda types, params: types[0],
    elementwise=True,
    family="elementwise",
    not_differentiable="it stops derivatives on request",
)
copy, copy_p = (
    define(
        name,
        lambda types, params: types[0],
        elementwise=True,
        family="elementwise",
        linear_in=(0,),
        jointly_linear=True,
    )
    for name in ("copy", "copy_p")
)

for _name, _fold in FOLDS.items():
    PRIMITIVES[_name].fold = _fold
