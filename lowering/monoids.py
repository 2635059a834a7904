"""Comparisons, and the binary operations that reductions, scatters and windows combine with."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..ir.extremes import largest, smallest
from ..ir.types import BOOL, Dtype, TensorType, dtype_category, is_complex, real_dtype
from .context import Context, MlirValue


def compare(
    ctx: Context,
    direction: str,
    x: MlirValue,
    y: MlirValue,
    type: TensorType,
    total: bool = False,
) -> MlirValue:
    """`stablehlo.compare` of two arrays of one type; floats by IEEE's partial or total order.

    Complex numbers are equal in total order where their parts are.
    """
    category = dtype_category(type.dtype)
    if total and category == "complex":
        part = type.with_dtype(real_dtype(type.dtype))
        names = ("stablehlo.real", "stablehlo.imag")
        sides = [(ctx.op(name, part, x), ctx.op(name, part, y)) for name in names]
        same = [compare(ctx, direction, a, c, part, total) for a, c in sides]
        return ctx.op("stablehlo.and", TensorType(type.shape, BOOL), *same)
    kind = {"int": "SIGNED", "float": "FLOAT", "complex": "FLOAT"}.get(category, "UNSIGNED")
    if total and kind == "FLOAT":
        kind = "TOTALORDER"
    parse = ctx.attributes.parse
    return ctx.op(
        "stablehlo.compare",
        TensorType(type.shape, BOOL),
        x,
        y,
        comparison_direction=parse(f"#stablehlo<comparison_direction {direction}>"),
        compare_type=parse(f"#stablehlo<comparison_type {kind}>"),
    )


def extremum(
    ctx: Context, direction: str, x: MlirValue, y: MlirValue, type: TensorType
) -> MlirValue:
    """The larger (GT) or smaller (LT); complex numbers compare by real, then imaginary part."""
    if not is_complex(type.dtype):
        name = "stablehlo.maximum" if direction == "GT" else "stablehlo.minimum"
        return ctx.op(name, type, x, y)
    part = TensorType(type.shape, real_dtype(type.dtype))
    (rx, ry), (ix, iy) = (
        [ctx.op(f"stablehlo.{name}", part, z) for z in (x, y)] for name in ("real", "imag")
    )
    is_first = ctx.op(
        "stablehlo.select",
        TensorType(type.shape, BOOL),
        compare(ctx, "EQ", rx, ry, part),
        compare(ctx, direction, ix, iy, part),
        compare(ctx, direction, rx, ry, part),
    )
    return ctx.op("stablehlo.select", type, is_first, x, y)


@dataclass(frozen=True)
class Monoid:
    """An associative operation on scalars, and its identity in each dtype."""

    combine: Callable[[Context, TensorType, MlirValue, MlirValue], MlirValue]
    identity: Callable[[Dtype], Any]

    def region(self, ctx: Context, dtype: Dtype) -> tuple[Any, Any]:
        """The region of a reduction: (argument types, body)."""
        scalar = TensorType((), dtype)
        return (scalar, scalar), lambda pair: [self.combine(ctx, scalar, *pair)]


def operation(name: str, identity: Callable[[Dtype], Any]) -> Monoid:
    """The monoid of one StableHLO operation."""
    return Monoid(lambda ctx, type, x, y: ctx.op(name, type, x, y), identity)


def _every_bit(dtype: Dtype) -> Any:
    return np.array(-1).astype(dtype)  # type: ignore[arg-type]


ADD = operation("stablehlo.add", lambda dtype: 0)
MUL = operation("stablehlo.multiply", lambda dtype: 1)
AND = operation("stablehlo.and", _every_bit)
OR = operation("stablehlo.or", lambda dtype: 0)
XOR = operation("stablehlo.xor", lambda dtype: 0)
MAX = Monoid(lambda ctx, type, x, y: extremum(ctx, "GT", x, y, type), smallest)
MIN = Monoid(lambda ctx, type, x, y: extremum(ctx, "LT", x, y, type), largest)


def reduce(
    ctx: Context, monoid: Monoid, x: MlirValue, type: TensorType, axes: tuple[int, ...]
) -> MlirValue:
    """x combined along axes, which the result lacks."""
    out = TensorType(tuple(n for i, n in enumerate(type.shape) if i not in axes), type.dtype)
    start = ctx.full(monoid.identity(type.dtype), TensorType((), type.dtype))
    (result,) = ctx.ops(
        "stablehlo.reduce",
        (out,),
        (x, start),
        [monoid.region(ctx, type.dtype)],
        dimensions=ctx.attributes.integers(axes),
    )
    return result
