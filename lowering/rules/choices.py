"""What goes back to the element chosen in each window, by shifted arrays.

XLA's CPU backend looks for the element one by one, and adds to it as to any element. Where windows
are small, each of their elements is a shifted array: which is the best is found by comparing them
in their order, and what is sent back is shifted back, one element of the window after the other.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ...ir.types import TensorType
from ..context import Context, MlirValue
from ..monoids import compare
from .shifts import FLOAT, MOST, strided

INDEX = np.dtype(np.int32)


def is_small_choice(type: TensorType, params: dict[str, Any]) -> bool:
    """Whether windows are small, and sums are not rounded to halves on the way."""
    if type.dtype.kind not in "iuf" or type.dtype.itemsize < FLOAT.itemsize:
        return False
    return bool(math.prod(params["window_dimensions"]) <= MOST)


def scattered(
    ctx: Context,
    direction: str,
    keys: tuple[MlirValue, TensorType],
    source: tuple[MlirValue, TensorType],
    params: dict[str, Any],
) -> MlirValue:
    """Zeros of the keys' shape, and to the best key of each window its source added. Of several
    the first is the best. There is no padding."""
    (x, type), (ct, out) = keys, source
    strides, axes = params["window_strides"], range(len(type.shape))
    elements = [*np.ndindex(*params["window_dimensions"])]
    index = out.with_dtype(INDEX)
    best = chosen = None
    for n, element in enumerate(elements):
        key = strided(ctx, x, out, axes, element, strides)
        number = ctx.full(n, index)
        if best is None:
            best, chosen = key, number
            continue
        stays = compare(ctx, direction, best, key, out)
        best = ctx.op("stablehlo.select", out, stays, best, key)
        chosen = ctx.op("stablehlo.select", index, stays, chosen, number)
    zeros, zero, total = ctx.full(0, out), ctx.full(0, TensorType((), type.dtype)), None
    for n, element in enumerate(elements):
        is_chosen = compare(ctx, "EQ", chosen, ctx.full(n, index), index)
        part = ctx.op("stablehlo.select", out, is_chosen, ct, zeros)
        back = _shifted_back(ctx, part, out, type, element, strides, zero)
        total = back if total is None else ctx.op("stablehlo.add", type, total, back)
    return total


def _shifted_back(
    ctx: Context,
    x: MlirValue,
    type: TensorType,
    whole: TensorType,
    element: tuple[int, ...],
    strides: tuple[int, ...],
    zero: MlirValue,
) -> MlirValue:
    """The inverse of `strided`: x where it is taken from, and zeros elsewhere."""
    spans = [(n - 1) * s + 1 for n, s in zip(type.shape, strides, strict=True)]
    high = [n - a - m for n, a, m in zip(whole.shape, element, spans, strict=True)]
    integers = ctx.attributes.integers
    return ctx.op(
        "stablehlo.pad",
        whole,
        x,
        zero,
        edge_padding_low=integers(element),
        edge_padding_high=integers(high),
        interior_padding=integers([s - 1 for s in strides]),
    )
