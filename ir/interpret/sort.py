"""The meaning of sort and top_k."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..ops import sort as s
from ..types import is_complex
from . import means
from .elementwise import widened

Array = Any


@means(s.sort)
def sort(*xs: Array, dimension: int, is_stable: bool, num_keys: int) -> list[Array]:
    keys: list[Array] = []
    for x in map(widened, xs[:num_keys]):
        keys.extend((x.real, x.imag) if is_complex(x.dtype) else (x,))
    order = np.lexsort(keys[::-1], axis=dimension)  # the last key of lexsort is its first
    return [np.take_along_axis(x, order, dimension) for x in xs]


@means(s.top_k)
def top_k(x: Array, *, k: int, axis: int, is_stable: bool) -> tuple[Array, Array]:
    """Reversed before and after an ascending sort, so that of equals the first comes first."""
    reverse = np.argsort(np.flip(widened(x), axis), axis=axis, kind="stable")
    order = np.flip(x.shape[axis] - 1 - reverse, axis)
    index = np.take(order, np.arange(k), axis=axis)
    return np.take_along_axis(x, index, axis), index


@means(s.approx_top_k)
def approx_top_k(
    x: Array, *, k: int, reduction_dimension: int, is_max_k: bool, aggregate_to_topk: bool,
    recall_target: float, reduction_input_size_override: int,
) -> tuple[Array, Array]:  # fmt: skip
    """All of the best, in order: what platforms without a faster way give."""
    axis = reduction_dimension
    if not aggregate_to_topk:
        override = reduction_input_size_override
        k = s.approximate_size(x.shape[axis], x.ndim, k, recall_target, override)
    if is_max_k:
        best: tuple[Array, Array] = top_k(x, k=k, axis=axis, is_stable=True)
        return best
    index = np.take(np.argsort(widened(x), axis=axis, kind="stable"), np.arange(k), axis=axis)
    return np.take_along_axis(x, index, axis), index
