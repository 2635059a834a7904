"""The meaning of reading and writing parts of arrays."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ..graph import Graph
from ..ops import indexing as ops
from ..types import dtype_category
from . import evaluate, means

Array = Any
Axes = tuple[int, ...]


@means(ops.slice_)
def slice_(x: Array, *, start_indices: Axes, limit_indices: Axes, strides: Axes | None) -> Array:
    steps = strides or (1,) * len(start_indices)
    return x[tuple(slice(*s) for s in zip(start_indices, limit_indices, steps, strict=True))]


def _window(x: Array, sizes: Axes, starts: tuple[Array, ...]) -> tuple[slice, ...]:
    """The window of these sizes, moved so that it lies inside of x."""
    window = []
    for start, size, n in zip(starts, sizes, np.shape(x), strict=True):
        low = min(max(int(start), 0), n - size)
        window.append(slice(low, low + size))
    return tuple(window)


@means(ops.dynamic_slice)
def dynamic_slice(x: Array, *starts: Array, slice_sizes: Axes) -> Array:
    return x[_window(x, slice_sizes, starts)]


@means(ops.dynamic_update_slice)
def dynamic_update_slice(x: Array, update: Array, *starts: Array) -> Array:
    out = np.array(x)
    out[_window(x, np.shape(update), starts)] = update
    return out


def positions(
    shape: Axes,
    indices: Array,
    mapped: Axes,
    batching: Axes,
    indices_batching: Axes,
    sizes: Axes,
    mode: str,
) -> tuple[list[Array], Array]:
    """Where the elements of all windows lie in an array of this shape.

    One integer array for each axis of `shape`; together they broadcast to [index axes, window
    axes]. Second, for each window, whether it lies inside: those that do not are moved inside.
    """
    index_shape = indices.shape[:-1]
    rank, index_rank = len(shape), indices.ndim - 1
    inside = np.ones(index_shape, bool)
    result = []
    for axis, (n, size) in enumerate(zip(shape, sizes, strict=True)):
        start = np.zeros((1,) * index_rank, np.int64)
        if axis in mapped:
            start = indices[..., mapped.index(axis)].astype(np.int64)
            inside &= (start >= 0) & (start <= n - size)
            start = np.clip(start, 0, max(n - size, 0))
        elif axis in batching:
            walked = indices_batching[batching.index(axis)]
            start = np.arange(n).reshape([n if i == walked else 1 for i in range(index_rank)])
        offset = np.arange(size).reshape([size if i == axis else 1 for i in range(rank)])
        result.append(start.reshape(start.shape + (1,) * rank) + offset)
    if mode == "CLIP":
        inside = np.ones(index_shape, bool)
    return result, inside


def fill_of(dtype: Any) -> Any:
    """What a gather reads outside: nan, the least integer, the largest unsigned one, True."""
    category = dtype_category(dtype)
    if category in ("int", "uint"):
        width = 8 * np.dtype(dtype).itemsize
        return -(2 ** (width - 1)) if category == "int" else 2**width - 1
    return True if category == "bool" else np.nan


@means(ops.gather)
def gather(
    x: Array,
    indices: Array,
    *,
    offset_dims: Axes,
    collapsed_slice_dims: Axes,
    start_index_map: Axes,
    operand_batching_dims: Axes,
    start_indices_batching_dims: Axes,
    slice_sizes: Axes,
    unique_indices: bool,
    indices_are_sorted: bool,
    mode: str,
    fill_value: Any,
) -> Array:
    where, inside = positions(
        x.shape, indices, start_index_map, operand_batching_dims, start_indices_batching_dims,
        slice_sizes, mode,
    )  # fmt: skip
    shape = inside.shape + slice_sizes
    if 0 in shape:
        windows = np.zeros(shape, x.dtype)
    else:
        windows = np.broadcast_to(x[tuple(where)], shape) if where else np.broadcast_to(x, shape)
    if mode == "FILL_OR_DROP":
        fill = np.asarray(fill_of(x.dtype) if fill_value is None else fill_value).astype(x.dtype)
        windows = np.where(inside.reshape(inside.shape + (1,) * x.ndim), windows, fill)
    dropped = [inside.ndim + i for i in (*collapsed_slice_dims, *operand_batching_dims)]
    kept = [n for i, n in enumerate(shape) if i not in dropped]
    windows = windows.reshape(kept)
    return np.moveaxis(windows, range(inside.ndim, windows.ndim), offset_dims)


def _scatter(combine: Callable[[Array, Any, Array], None]) -> Callable[..., Array]:
    """The meaning of a scatter whose windows are written by `combine(array, where, values)`."""

    def scatter(
        x: Array,
        indices: Array,
        updates: Array,
        *,
        update_window_dims: Axes,
        inserted_window_dims: Axes,
        scatter_dims_to_operand_dims: Axes,
        operand_batching_dims: Axes,
        scatter_indices_batching_dims: Axes,
        indices_are_sorted: bool,
        unique_indices: bool,
        mode: str,
    ) -> Array:
        index_rank = indices.ndim - 1
        windows = np.moveaxis(updates, update_window_dims, range(index_rank, updates.ndim))
        lengths = iter(windows.shape[index_rank:])
        dropped = (*inserted_window_dims, *operand_batching_dims)
        sizes = tuple(1 if i in dropped else next(lengths) for i in range(x.ndim))
        out = np.array(x)
        if 0 in windows.shape:
            return out
        windows = windows.reshape((*indices.shape[:-1], *sizes))
        where, inside = positions(
            x.shape, indices, scatter_dims_to_operand_dims, operand_batching_dims,
            scatter_indices_batching_dims, sizes, mode,
        )  # fmt: skip
        spread = [np.broadcast_to(w, windows.shape)[inside] for w in where]
        combine(out, tuple(spread), windows[inside])
        return out

    return scatter


def _replace(out: Array, where: Any, values: Array) -> None:
    if not where:
        values = values[-1:].reshape(())
    out[where or ()] = values


def _combine(ufunc: np.ufunc) -> Callable[[Array, Any, Array], None]:
    def combine(out: Array, where: Any, values: Array) -> None:
        if where:
            ufunc.at(out, where, values)
        else:
            for value in values:
                ufunc(out, value, out=out)

    return combine


means(ops.scatter)(_scatter(_replace))
means(ops.scatter_add)(_scatter(_combine(np.add)))
means(ops.scatter_sub)(_scatter(_combine(np.subtract)))
means(ops.scatter_mul)(_scatter(_combine(np.multiply)))
means(ops.scatter_min)(_scatter(_combine(np.minimum)))
means(ops.scatter_max)(_scatter(_combine(np.maximum)))


@means(ops.scatter_apply)
def scatter_apply(
    x: Array, indices: Array, windows: Array, *, graph: Graph, **params: Any
) -> Array:
    def combine(out: Array, where: Any, values: Array) -> None:
        left = np.zeros(out.shape, np.int64)
        if where:
            np.add.at(left, where, 1)
        else:
            left += len(values)
        while np.any(left > 0):
            hit = left > 0
            results = [evaluate(graph, [value])[0] for value in out[hit]]
            out[hit] = np.array(results, out.dtype)
            left -= hit

    return _scatter(combine)(x, indices, windows, **params)
