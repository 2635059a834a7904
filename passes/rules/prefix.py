"""Prefix computations along an axis, as programs of a logarithmic number of equations.

Their linear parts read coefficients that are computed from primals alone.
"""

from __future__ import annotations

from collections.abc import Callable

from ...ir.builder import Builder, Operand
from ...ir.types import TensorType


def shift(b: Builder, x: Operand, axis: int, count: int, fill: float) -> Operand:
    """x moved by `count` places along an axis (back, if negative); `fill` where it came from."""
    still = (0, 0, 0)
    config = tuple((count, -count, 0) if i == axis else still for i in range(x.type.ndim))
    return b.pad(x, b.literal(fill, x.type), padding_config=config)


def _stride(b: Builder, x: Operand, axis: int, start: int, limit: int, step: int) -> Operand:
    """Elements start, start + step, ... before limit along an axis."""
    rank = x.type.ndim
    return b.slice(
        x,
        start_indices=tuple(start if i == axis else 0 for i in range(rank)),
        limit_indices=tuple(limit if i == axis else x.type.shape[i] for i in range(rank)),
        strides=tuple(step if i == axis else 1 for i in range(rank)),
    )


Pair = tuple[Operand, Operand]
Combine = Callable[[Builder, Pair, Pair], Pair]
"""(value, tangent) of the elements before, and of those behind -> of all."""


def scan_tangents(
    b: Builder, combine: Combine, x: Operand, t: Operand, z: Operand, axis: int
) -> Operand:
    """The tangents of z, the prefix combinations of x: pairs of neighbours are combined first.

    Prefixes that end in the second of a pair are those of the pairs, found by recursion; one
    element more gives the others. Which elements meet is part of what this computes: where
    values tie, it decides how they share.
    """
    n = t.type.shape[axis]
    if n < 2:
        return t
    even, odd = (
        (_stride(b, x, axis, start, n - 1 + start, 2), _stride(b, t, axis, start, n - 1 + start, 2))
        for start in (0, 1)
    )
    pair = combine(b, even, odd)
    z_odd = _stride(b, z, axis, 1, n, 2)
    dz_odd = scan_tangents(b, combine, *pair, z_odd, axis)
    before = (n + 1) // 2 - 1  # even places, the first aside
    last = (_stride(b, z_odd, axis, 0, before, 1), _stride(b, dz_odd, axis, 0, before, 1))
    more = (_stride(b, x, axis, 2, n, 2), _stride(b, t, axis, 2, n, 2)) if before else None
    first = _stride(b, t, axis, 0, 1, 1)
    dz_even = first
    if more is not None:
        dz_even = b.concatenate(first, combine(b, last, more)[1], dimension=axis)
    return _interleave(b, dz_even, dz_odd, axis, n)


def _interleave(b: Builder, even: Operand, odd: Operand, axis: int, n: int) -> Operand:
    """The elements of both in turn: each is spread over n places, among zeros."""

    def spread(x: Operand, low: int) -> Operand:
        high = n - low - (2 * x.type.shape[axis] - 1)
        config = tuple((low, high, 1) if i == axis else (0, 0, 0) for i in range(x.type.ndim))
        return b.pad(x, b.literal(0, x.type), padding_config=config)

    return b.add_any(spread(even, 0), spread(odd, 1))


def full_like(b: Builder, x: Operand, value: float) -> Operand:
    return b.full(TensorType(x.type.shape, x.type.dtype), value)
