"""The meaning of shape primitives."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..ops import shape as ops
from ..types import ExtendedDtype
from . import means

Array = Any
Axes = tuple[int, ...]


@means(ops.broadcast_in_dim)
def broadcast_in_dim(x: Array, *, shape: Axes, broadcast_dimensions: Axes) -> Array:
    order = np.argsort(broadcast_dimensions, kind="stable").astype(int)
    aligned = [1] * len(shape)
    for axis, n in zip(broadcast_dimensions, np.shape(x), strict=True):
        aligned[axis] = n
    return np.broadcast_to(np.transpose(x, order).reshape(aligned), shape)


@means(ops.reshape)
def reshape(x: Array, *, new_sizes: Axes) -> Array:
    return np.reshape(x, new_sizes)


@means(ops.transpose)
def transpose(x: Array, *, permutation: Axes) -> Array:
    return np.transpose(x, permutation)


@means(ops.squeeze)
def squeeze(x: Array, *, dimensions: Axes) -> Array:
    return np.squeeze(x, dimensions)


@means(ops.concatenate)
def concatenate(*xs: Array, dimension: int) -> Array:
    return np.concatenate(xs, dimension)


@means(ops.pad)
def pad(x: Array, value: Array, *, padding_config: tuple[tuple[int, int, int], ...]) -> Array:
    """Element i of an axis goes to low + i * (interior + 1), if that lies in the result."""
    shape, sources, targets = [], [], []
    for n, (low, high, interior) in zip(np.shape(x), padding_config, strict=True):
        length = low + high + (n + (n - 1) * interior if n else 0)
        target = low + np.arange(n) * (interior + 1)
        source = np.flatnonzero((target >= 0) & (target < length))
        shape.append(length)
        sources.append(source)
        targets.append(target[source])
    out = np.full(shape, value, dtype=np.asarray(x).dtype)
    out[np.ix_(*targets)] = x[np.ix_(*sources)]
    return out


@means(ops.rev)
def rev(x: Array, *, dimensions: Axes) -> Array:
    return np.flip(x, dimensions)


@means(ops.iota)
def iota(*, dtype: Any, shape: Axes, dimension: int) -> Array:
    count = np.arange(shape[dimension]).astype(dtype)
    along = [1] * len(shape)
    along[dimension] = shape[dimension]
    return np.broadcast_to(count.reshape(along), shape)


@means(ops.split)
def split(x: Array, *, sizes: Axes, axis: int) -> list[Array]:
    return np.split(x, np.cumsum(sizes)[:-1], axis) if sizes else []


@means(ops.tile)
def tile(x: Array, *, reps: Axes) -> Array:
    return np.tile(x, reps)


@means(ops.stack)
def stack(*xs: Array, axis: int) -> Array:
    return np.stack(xs, axis)


@means(ops.unstack)
def unstack(x: Array, *, axis: int) -> list[Array]:
    return list(np.moveaxis(x, axis, 0))


@means(ops.empty)
def empty(*, shape: Axes, dtype: Any) -> Array:
    return np.zeros(shape, np.uint32 if isinstance(dtype, ExtendedDtype) else dtype)


@means(ops.empty2)
def empty2(*, dtype: Any) -> Array:
    return empty(shape=(), dtype=dtype)


@means(ops.tie)
def tie(x: Array, y: Array) -> Array:
    return y


@means(ops.optimization_barrier)
def optimization_barrier(*xs: Array) -> tuple[Array, ...]:
    return xs


@means(ops.dce_sink)
def dce_sink(x: Array, *, prevent_mlir_dce: bool) -> tuple[Array, ...]:
    return ()
