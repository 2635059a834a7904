"""Cumulative operations as loops along their axis.

XLA's CPU backend makes of a cumulative window a tree of windows, and takes their elements one at a
time, each many times. A loop along the axis combines each element once, all lanes (what is beside
the axis) at a time. Where there are few lanes, and where rounding errors add up from step
to step, the axis is cut into blocks, which become lanes too: what the blocks before amount to is a
cumulative operation again, over the blocks.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from ...ir.types import Dtype, TensorType, dtype_category
from .. import monoids
from ..context import Context, MlirValue
from ..monoids import Monoid, compare
from ..narrow import converted
from ..ordered import loop
from .control import put, take
from .shape import around, slice_of, transposed

FEW_LANES: Final = 8
LONG: Final = 2048
"""An axis that is so long is cut into blocks where there are fewer lanes."""

BLOCK: Final = 64
"""The length of blocks where rounding errors add up; axes up to four times as long are not cut."""

INDEX: Final = TensorType((), np.dtype(np.int32))


def prefixes(
    ctx: Context,
    monoid: Monoid,
    x: MlirValue,
    type: TensorType,
    axis: int,
    reverse: bool,
    adds_up: bool,
) -> MlirValue:
    """All elements of x up to each combined; with `reverse` those from each on.

    `adds_up` says whether the rounding errors of the steps do. Those of sums, and of halves, are
    avoided where there is a wider type: results are computed in it, and rounded once each.
    """
    is_half = type.dtype.itemsize < np.dtype(np.float32).itemsize
    wide = wider(type.dtype) if monoid is monoids.ADD or is_half else type.dtype
    way = _Prefixes(ctx, monoid, reverse, wide, adds_up and wide == type.dtype)
    whole = type.with_shape(around(type.shape, axis))
    y = way.of(ctx.reshape(x, whole), whole)
    return ctx.reshape(y, type)


def wider(dtype: Dtype) -> Dtype:
    """A type in which sums of some millions of elements are as good as exact, if there is one."""
    category, size = dtype_category(dtype), dtype.itemsize
    if category == "complex":
        return np.dtype(np.complex128)
    if category != "float":
        return dtype
    return np.dtype(np.float32 if size < 4 else np.float64)


@dataclass(frozen=True)
class _Prefixes:
    """How prefixes are computed, of arrays [before, n, after] along their middle axis.

    wide: the type that is computed in. adds_up: whether rounding errors do.
    """

    ctx: Context
    monoid: Monoid
    reverse: bool
    wide: Dtype
    adds_up: bool

    def of(self, x: MlirValue, type: TensorType) -> MlirValue:
        ctx, (before, n, after) = self.ctx, type.shape
        length = self._block_length(n, before * after)
        blocks = -(-n // length)
        padded = type.with_shape((before, blocks * length, after))
        cut = type.with_shape((before, blocks, length, after))
        rows = type.with_shape((length, before, blocks, after))
        if padded.shape != type.shape:
            x = self._padded(x, padded, 0, blocks * length - n)
        x = transposed(ctx, ctx.reshape(x, cut), rows, (2, 0, 1, 3))
        lanes = type.with_shape((length, math.prod(rows.shape[1:])))
        x, totals = self._steps(ctx.reshape(x, lanes), lanes)
        x = ctx.reshape(x, rows)
        if blocks > 1:
            x = self._continued(x, rows, totals)
        x = ctx.reshape(transposed(ctx, x, cut, (1, 2, 0, 3)), padded)
        return x if n == blocks * length else slice_of(ctx, x, type, (0, 0, 0), type.shape)

    def _block_length(self, n: int, lanes: int) -> int:
        if self.adds_up and n > 4 * BLOCK:
            return BLOCK
        if lanes < FEW_LANES and n >= LONG:
            return int(2 ** round(math.log2(n) / 2))
        return n

    def _steps(self, x: MlirValue, rows: TensorType) -> tuple[MlirValue, MlirValue]:
        """The prefixes along the first axis, and the last ones in the wide type."""
        ctx, row = self.ctx, TensorType(rows.shape[1:], rows.dtype)
        total, last = row.with_dtype(self.wide), ctx.full(rows.shape[0] - 1, INDEX)

        def body(carry: Sequence[MlirValue]) -> list[MlirValue]:
            i, sofar, x = carry
            at = ctx.op("stablehlo.subtract", INDEX, last, i) if self.reverse else i
            (element,) = converted(ctx, [take(ctx, x, row, at, INDEX)], [row], [total])
            sofar = self.monoid.combine(ctx, total, sofar, element)
            (result,) = converted(ctx, [sofar], [total], [row])
            x = put(ctx, x, rows, result, row, at, INDEX)
            return [ctx.op("stablehlo.add", INDEX, i, ctx.full(1, INDEX)), sofar, x]

        def is_unfinished(carry: Sequence[MlirValue]) -> list[MlirValue]:
            return [compare(ctx, "LE", carry[0], last, INDEX)]

        identity = ctx.full(self.monoid.identity(self.wide), total)
        start = (ctx.full(0, INDEX), identity, x)
        _, totals, x = loop(ctx, (INDEX, total, rows), start, is_unfinished, body, ())
        return x, totals

    def _continued(self, x: MlirValue, rows: TensorType, totals: MlirValue) -> MlirValue:
        """The prefixes of the blocks, which go on from what the blocks before amount to."""
        ctx, kind = self.ctx, TensorType(rows.shape[1:], self.wide)
        low = -1 if self.reverse else 1
        before = self._padded(self.of(ctx.reshape(totals, kind), kind), kind, low, -low)
        whole = rows.with_dtype(self.wide)
        (x,) = converted(ctx, [x], [rows], [whole])
        x = self.monoid.combine(ctx, whole, ctx.broadcast(before, whole, (1, 2, 3)), x)
        return converted(ctx, [x], [whole], [rows])[0]

    def _padded(self, x: MlirValue, type: TensorType, low: int, high: int) -> MlirValue:
        """x with so many identities before and behind along its middle axis, of this type."""
        ctx, integers = self.ctx, self.ctx.attributes.integers
        identity = ctx.full(self.monoid.identity(type.dtype), TensorType((), type.dtype))
        return ctx.op(
            "stablehlo.pad",
            type,
            x,
            identity,
            edge_padding_low=integers((0, low, 0)),
            edge_padding_high=integers((0, high, 0)),
            interior_padding=integers((0, 0, 0)),
        )
