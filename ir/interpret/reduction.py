"""The meaning of reductions. Small floats are accumulated in float32."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Final

import numpy as np

from ..extremes import largest, smallest
from ..graph import Graph
from ..ops import reduction as r
from . import evaluate, means
from .elementwise import widened

Array = Any
Axes = tuple[int, ...]


@means(r.reduce_sum)
def reduce_sum(x: Array, *, axes: Axes) -> Array:
    x = widened(x)
    return np.sum(x, axis=axes, dtype=x.dtype) if axes else x


@means(r.reduce_prod)
def reduce_prod(x: Array, *, axes: Axes) -> Array:
    x = widened(x)
    return np.prod(x, axis=axes, dtype=x.dtype)


@means(r.reduce_max)
def reduce_max(x: Array, *, axes: Axes) -> Array:
    return np.maximum.reduce(widened(x), axis=axes, initial=smallest(x.dtype))


@means(r.reduce_min)
def reduce_min(x: Array, *, axes: Axes) -> Array:
    return np.minimum.reduce(widened(x), axis=axes, initial=largest(x.dtype))


_BITWISE: Final[dict[Any, np.ufunc]] = {
    r.reduce_and: np.bitwise_and,
    r.reduce_or: np.bitwise_or,
    r.reduce_xor: np.bitwise_xor,
}


def _bitwise(ufunc: np.ufunc) -> Callable[..., Array]:
    def reduce_bits(x: Array, *, axes: Axes) -> Array:
        x = widened(x)
        return ufunc.reduce(x, axis=axes, dtype=x.dtype)

    return reduce_bits


for _primitive, _ufunc in _BITWISE.items():
    means(_primitive)(_bitwise(_ufunc))


@means(r.argmax)
def argmax(x: Array, *, axes: Axes, index_dtype: Any) -> Array:
    return np.argmax(widened(x), axis=axes[0])


@means(r.argmin)
def argmin(x: Array, *, axes: Axes, index_dtype: Any) -> Array:
    return np.argmin(widened(x), axis=axes[0])


@means(r.reduce)
def reduce(*arrays: Array, dimensions: Axes, graph: Graph) -> list[Array]:
    """Element after element, from left to right, for each position of the result."""
    count = len(arrays) // 2
    operands, initial = arrays[:count], arrays[count:]
    kept = [i for i in range(operands[0].ndim) if i not in dimensions]
    shape = tuple(operands[0].shape[i] for i in kept)
    length = math.prod(operands[0].shape[i] for i in dimensions)
    rows = [np.transpose(x, (*kept, *dimensions)).reshape(*shape, length) for x in operands]
    outputs = [np.full(shape, init, init.dtype) for init in initial]
    for position in np.ndindex(shape):
        accumulated = list(initial)
        for elements in zip(*(row[position] for row in rows), strict=True):
            accumulated = evaluate(graph, [*accumulated, *elements])
        for out, value in zip(outputs, accumulated, strict=True):
            out[position] = value
    return outputs
