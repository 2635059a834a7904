"""Arithmetic on states: lists of arrays that begin with the lane axes.

A lane is an example of a batch with steps of its own. Times, step sizes and flags have the shape
of the lanes, `()` if there is one solve only.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..builder import Builder
from ..ops.elementwise import and_, not_, or_
from ..types import Dtype, TensorType, is_complex, real_dtype

State = Sequence[Any]


def along(b: Builder, h: Any, x: Any) -> Any:
    """A number for each lane, in the shape of x's type as far as elementwise operations need it."""
    if not h.type.shape or h.type.shape == x.type.shape:
        return h
    return b.broadcast(h, x.type.shape, range(len(h.type.shape)))


def scaled(b: Builder, h: Any, x: Any) -> Any:
    """h x, with one h for each lane."""
    return b.mul(along(b, b.convert(h, x.type.dtype), x), x)


def weighted_sum(b: Builder, weights: Sequence[float], terms: Sequence[Any]) -> Any:
    """sum_i w_i x_i without the terms of weight 0; None if there are none."""
    total = None
    for w, x in zip(weights, terms, strict=False):
        if w == 0:
            continue
        part = x if w == 1 else b.mul(x, float(w))
        total = part if total is None else b.add(total, part)
    return total


def advance(
    b: Builder, y: State, h: Any, weights: Sequence[float], slopes: Sequence[State]
) -> list[Any]:
    """y + h sum_i w_i k_i."""
    moved = []
    for i, x in enumerate(y):
        total = weighted_sum(b, weights, [k[i] for k in slopes])
        moved.append(x if total is None else b.add(x, scaled(b, h, total)))
    return moved


def choose(b: Builder, flag: Any, old: State, new: State) -> list[Any]:
    """The new values of the lanes that are flagged, the old ones of the others."""
    return [
        x if x is y else b.select_n(along(b, flag, y), x, y) for x, y in zip(old, new, strict=True)
    ]


def squares(b: Builder, x: Any) -> Any:
    """|x|^2."""
    if not is_complex(x.type.dtype):
        return b.mul(x, x)
    re, im = b.real(x), b.imag(x)
    return b.add(b.mul(re, re), b.mul(im, im))


def sum_lanes(b: Builder, x: Any, n_lane_axes: int, dtype: Dtype) -> Any:
    """The sum over all but the lane axes, as numbers of the dtype of times."""
    axes = tuple(range(n_lane_axes, len(x.type.shape)))
    return b.convert(b.reduce_sum(x, axes=axes) if axes else x, dtype)


def max_lanes(b: Builder, x: Any, n_lane_axes: int, dtype: Dtype) -> Any:
    axes = tuple(range(n_lane_axes, len(x.type.shape)))
    return b.convert(b.reduce_max(x, axes=axes) if axes else x, dtype)


def total(b: Builder, terms: Sequence[Any]) -> Any:
    """The sum of a nonempty sequence."""
    result = terms[0]
    for x in terms[1:]:
        result = b.add(result, x)
    return result


def both(b: Builder, x: Any, y: Any) -> Any:
    return b.emit(and_, x, y)[0]


def either(b: Builder, x: Any, y: Any) -> Any:
    return b.emit(or_, x, y)[0]


def negated(b: Builder, x: Any) -> Any:
    return b.emit(not_, x)[0]


def any_of(b: Builder, flag: Any) -> Any:
    """Whether a flag is set in any lane."""
    axes = tuple(range(len(flag.type.shape)))
    return b.reduce_or(flag, axes=axes) if axes else flag


def filled(b: Builder, lanes: tuple[int, ...], dtype: Dtype, value: float) -> Any:
    """One number for every lane."""
    return b.full(TensorType(lanes, dtype), value)


def epsilon(dtype: Dtype) -> float:
    """The distance from 1 to the next number."""
    import ml_dtypes

    return float(ml_dtypes.finfo(real_dtype(dtype)).eps)


# -- axes -----------------------------------------------------------------------------------------


def moved_axis(b: Builder, x: Any, source: int, target: int) -> Any:
    """x with one axis at another place."""
    order = [i for i in range(len(x.type.shape)) if i != source]
    order.insert(target, source)
    if order == sorted(order):
        return x
    return b.transpose(x, permutation=tuple(order))


def part(b: Builder, x: Any, axis: int, start: int, stop: int) -> Any:
    """`x[start:stop]` along an axis."""
    shape = x.type.shape
    first = [0] * len(shape)
    last = list(shape)
    first[axis], last[axis] = start, stop
    return b.slice(x, start_indices=tuple(first), limit_indices=tuple(last))


def entry(b: Builder, x: Any, axis: int, i: int) -> Any:
    """`x[i]` along an axis, without that axis."""
    shape = x.type.shape
    cut = part(b, x, axis, i, i + 1)
    return b.reshape(cut, new_sizes=(*shape[:axis], *shape[axis + 1 :]))


def stacked(b: Builder, xs: Sequence[Any]) -> Any:
    """Numbers of each lane along a new last axis."""
    shape = xs[0].type.shape
    columns = [b.reshape(x, new_sizes=(*shape, 1)) for x in xs]
    return b.concatenate(*columns, dimension=len(shape))
