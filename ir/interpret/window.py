"""The meaning of reductions over sliding windows."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from ..extremes import largest, smallest
from ..graph import Graph
from ..ops import window as ops
from ..ops.window import Axes, Padding, count_windows, dilate
from . import evaluate, means
from .elementwise import widened
from .shape import pad

Array = Any


def spread_and_pad(x: Array, value: Any, padding: Padding, dilation: Axes | None = None) -> Array:
    """x with dilation - 1 copies of value between its elements, and more of them around."""
    gaps = dilation or (1,) * x.ndim
    config = tuple((low, high, d - 1) for (low, high), d in zip(padding, gaps, strict=True))
    return pad(x, np.asarray(value, x.dtype), padding_config=config)


def windows_of(x: Array, window: Axes, strides: Axes, dilation: Axes | None = None) -> Array:
    """The windows of x, which is padded already: [positions, window]."""
    gaps = dilation or (1,) * x.ndim
    spans = tuple(dilate(w, d) for w, d in zip(window, gaps, strict=True))
    counts = [count_windows(*axis) for axis in zip(x.shape, spans, strides, strict=True)]
    if 0 in counts or 0 in window:
        return np.zeros((*counts, *window), x.dtype)
    views = np.lib.stride_tricks.sliding_window_view(x.view(f"V{x.itemsize}"), spans)
    views = views.view(x.dtype)  # NumPy makes no such views of ml_dtypes' own
    positions = [slice(None, None, s) for s in strides]
    return views[(*positions, *(slice(None, None, d) for d in gaps))]


def elements(windows: Array, rank: int) -> Iterator[Array]:
    """Of all windows the first element, then the second, ...: arrays of [positions]."""
    for place in itertools.product(*map(range, windows.shape[rank:])):
        yield windows[(..., *place)]


def _reduce_window(ufunc: np.ufunc, identity: Callable[[Any], Any]) -> Callable[..., Array]:
    def reduce_window(
        x: Array,
        *,
        window_dimensions: Axes,
        window_strides: Axes,
        padding: Padding,
        base_dilation: Axes,
        window_dilation: Axes,
    ) -> Array:
        start = identity(x.dtype)
        padded = widened(spread_and_pad(x, start, padding, base_dilation))
        windows = windows_of(padded, window_dimensions, window_strides, window_dilation)
        window = tuple(range(x.ndim, 2 * x.ndim))
        return ufunc.reduce(windows, axis=window, initial=start, dtype=padded.dtype)

    return reduce_window


means(ops.reduce_window_sum)(_reduce_window(np.add, lambda dtype: 0))
means(ops.reduce_window_max)(_reduce_window(np.maximum, smallest))
means(ops.reduce_window_min)(_reduce_window(np.minimum, largest))


@means(ops.reduce_window)
def reduce_window(
    *inputs: Array,
    graph: Graph,
    window_dimensions: Axes,
    window_strides: Axes,
    padding: Padding,
    base_dilation: Axes,
    window_dilation: Axes,
) -> list[Array]:
    n = len(inputs) // 2
    steps = []
    for x, init in zip(inputs[:n], inputs[n:], strict=True):
        padded = spread_and_pad(x, init, padding, base_dilation)
        windows = windows_of(padded, window_dimensions, window_strides, window_dilation)
        steps.append(elements(windows, x.ndim))
        shape = windows.shape[: x.ndim]
    results = [np.broadcast_to(init, shape) for init in inputs[n:]]
    for taken in zip(*steps, strict=True):
        results = _combine(graph, [*results, *taken])
    return results


def _combine(graph: Graph, operands: list[Array]) -> list[Array]:
    """A scalar function applied to each element of arrays of one shape."""
    shape = np.shape(operands[0])
    flat = [np.reshape(x, -1) for x in operands]
    columns = [evaluate(graph, scalars) for scalars in zip(*flat, strict=True)]
    types = graph.output_types
    if not columns:
        return [np.zeros(shape, t.dtype) for t in types]
    return [np.stack(column).reshape(shape) for column in zip(*columns, strict=True)]


# -- selection within windows --------------------------------------------------------------------

PREFERS: dict[str, tuple[Callable[[Array, Array], Array], Callable[[Any], Any]]] = {
    "ge": (np.greater_equal, smallest),
    "le": (np.less_equal, largest),
}
"""For each selection: whether the key held is kept, and the key that loses to all."""


@means(ops.select_and_gather_add)
def select_and_gather_add(
    values: Array,
    keys: Array,
    *,
    select_prim: str,
    window_dimensions: Axes,
    window_strides: Axes,
    padding: Padding,
    base_dilation: Axes,
    window_dilation: Axes,
) -> Array:
    keeps, worst = PREFERS[select_prim]
    padded_keys = spread_and_pad(keys, worst(keys.dtype), padding, base_dilation)
    padded = spread_and_pad(values, 0, padding, base_dilation)
    window = (window_dimensions, window_strides, window_dilation)
    all_keys, all_values = windows_of(padded_keys, *window), windows_of(padded, *window)
    shape = all_keys.shape[: keys.ndim]
    key, value = np.full(shape, worst(keys.dtype), keys.dtype), np.zeros(shape, values.dtype)
    taken = zip(elements(all_keys, keys.ndim), elements(all_values, keys.ndim), strict=True)
    for next_key, next_value in taken:
        kept = keeps(key, next_key)
        key, value = np.where(kept, key, next_key), np.where(kept, value, next_value)
    return value


def _selected(
    x: Array, keeps: Callable[[Array, Array], Array], inside: Array, windows: tuple[Axes, Axes]
) -> Array:
    """The flat position in x of each window's selected element, of those that are inside."""
    rank = x.ndim
    numbers = np.arange(x.size).reshape(x.shape)
    steps = (elements(windows_of(a, *windows), rank) for a in (x, numbers, inside))
    held: Array = None
    for key, number, is_inside in zip(*steps, strict=True):
        if held is None:
            held, position, found = key, number, is_inside
            continue
        kept = np.where(found & is_inside, keeps(held, key), found | ~is_inside)
        held, position = np.where(kept, held, key), np.where(kept, position, number)
        found = found | is_inside
    return position


def _scatter_windows(
    x: Array,
    source: Array,
    keeps: Callable[[Array, Array], Array],
    window: tuple[Axes, Axes, Padding],
    out: Array,
    add: Callable[[Array, Array, Array], None],
) -> Array:
    """Combine the source into `out`, padded like x, where the selected elements are."""
    dimensions, strides, padding = window
    padded = spread_and_pad(x, 0, padding)
    inside = spread_and_pad(np.ones(x.shape, bool), False, padding)
    out = spread_and_pad(out, 0, padding)
    if source.size:
        flat = np.array(out.reshape(-1))
        position = _selected(padded, keeps, inside, (dimensions, strides))
        add(flat, position.reshape(-1), source.reshape(-1))
        out = flat.reshape(out.shape)
    return spread_and_pad(out, 0, tuple((-low, -high) for low, high in padding))


@means(ops.select_and_scatter_add)
def select_and_scatter_add(
    source: Array,
    keys: Array,
    *,
    select_prim: str,
    window_dimensions: Axes,
    window_strides: Axes,
    padding: Padding,
) -> Array:
    """On CPUs and GPUs, XLA pads keys with one that loses to all, and may tie with some."""
    keeps, worst = PREFERS[select_prim]
    padded = spread_and_pad(keys, worst(keys.dtype), padding)
    window = (window_dimensions, window_strides, ((0, 0),) * keys.ndim)
    sums = _scatter_windows(padded, source, keeps, window, np.zeros_like(padded), np.add.at)
    return spread_and_pad(sums, 0, tuple((-low, -high) for low, high in padding))


@means(ops.select_and_scatter)
def select_and_scatter(
    x: Array,
    source: Array,
    init: Array,
    *,
    select_graph: Graph,
    scatter_graph: Graph,
    window_dimensions: Axes,
    window_strides: Axes,
    padding: Padding,
) -> Array:
    def keeps(held: Array, key: Array) -> Array:
        return _combine(select_graph, [held, key])[0]

    def combine(out: Array, where: Array, values: Array) -> None:
        for i, value in zip(where, values, strict=True):
            (out[i],) = evaluate(scatter_graph, [out[i], value])

    window = (window_dimensions, window_strides, padding)
    return _scatter_windows(x, source, keeps, window, np.full_like(x, init), combine)
