"""Many products of small matrices on CPUs.

XLA's CPU backend calls its matrix product for each pair, which for small matrices takes a hundred
times longer than the product itself, unless they are tiny. Here it is the sum over the contracted
axes of elementwise products, each of one column with one row, of all pairs at once.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

import numpy as np

from ...ir.graph import Equation
from ...ir.types import TensorType
from ..context import Context, MlirValue
from .shape import slice_of, transposed

MOST: Final = 8
"""Rows, columns and terms of a small product."""

MANY: Final = 16
"""Products that are worth it."""

_DTYPES: Final = frozenset({"float32", "float64", "complex64", "complex128"})


def is_many_small(eqn: Equation) -> bool:
    """Whether an equation multiplies many small matrices: of one dtype, in which sums are taken."""
    (lhs, rhs), out = [x.type for x in eqn.inputs], eqn.outputs[0].type
    if out.dtype.name not in _DTYPES or not lhs.dtype == rhs.dtype == out.dtype:
        return False
    (contracted, _), (batch, _) = eqn.params["dimension_numbers"]
    pairs = math.prod([lhs.shape[i] for i in batch])
    terms = math.prod([lhs.shape[i] for i in contracted])
    if pairs < MANY or not contracted or not 0 < terms <= MOST:
        return False
    rows, columns = lhs.size // (pairs * terms), rhs.size // (pairs * terms)
    return bool(1 < max(rows, columns) <= MOST and min(rows, columns) > 0)


def small_products(ctx: Context, eqn: Equation, operands: Sequence[MlirValue]) -> MlirValue:
    """The sum of elementwise products, which what reads it does not compute anew."""
    out = eqn.outputs[0].type
    contracted, batch = eqn.params["dimension_numbers"]
    types = [x.type for x in eqn.inputs]
    n_batch, n_free = len(batch[0]), len(types[0].shape) - len(batch[0]) - len(contracted[0])
    total = None
    for element in np.ndindex(*[types[0].shape[i] for i in contracted[0]]):
        factors = []
        for side, first in ((0, n_batch), (1, n_batch + n_free)):
            at = dict(zip(contracted[side], element, strict=True))
            part, shape = _element(ctx, operands[side], types[side], at)
            kept = [i for i in range(len(types[side].shape)) if i not in at]
            free = iter(range(first, len(out.shape)))
            axes = [batch[side].index(i) if i in batch[side] else next(free) for i in kept]
            factors.append(_arranged(ctx, part, shape, axes, out))
        term = ctx.op("stablehlo.multiply", out, *factors)
        total = term if total is None else ctx.op("stablehlo.add", out, total, term)
    assert total is not None
    return ctx.border(out, [total])[0]


def _element(
    ctx: Context, x: MlirValue, type: TensorType, at: dict[int, int]
) -> tuple[MlirValue, TensorType]:
    """x at an index along some axes, which it then lacks."""
    rank = len(type.shape)
    start = [at.get(i, 0) for i in range(rank)]
    stop = [at[i] + 1 if i in at else n for i, n in enumerate(type.shape)]
    cut = type.with_shape(tuple(b - a for a, b in zip(start, stop, strict=True)))
    rest = type.with_shape(tuple(n for i, n in enumerate(type.shape) if i not in at))
    return ctx.reshape(slice_of(ctx, x, cut, start, stop), rest), rest


def _arranged(
    ctx: Context, x: MlirValue, type: TensorType, axes: Sequence[int], out: TensorType
) -> MlirValue:
    """x in the shape of the result, its axis i where axis `axes[i]` of that is."""
    order = sorted(range(len(axes)), key=lambda i: axes[i])
    if order != [*range(len(axes))]:
        turned = type.with_shape(tuple(type.shape[i] for i in order))
        x = transposed(ctx, x, turned, order)
    return ctx.broadcast(x, out, sorted(axes))
