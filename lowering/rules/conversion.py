"""Conversions between dtypes, and selection."""

from __future__ import annotations

from collections.abc import Sequence

from ...ir.graph import Equation
from ...ir.ops import elementwise as e
from ...ir.types import BOOL, Dtype, TensorType, dtype_category, is_complex, real_dtype
from ..context import Context, MlirValue
from ..mlir_types import physical
from ..monoids import compare
from ..tables import lower

Operands = Sequence[MlirValue]


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
