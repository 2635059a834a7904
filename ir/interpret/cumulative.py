"""The meaning of cumulative operations. Small floats are accumulated in float32."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any, Final

import numpy as np

from ..ops import cumulative as c
from ..types import is_complex
from . import means
from .elementwise import widened

Array = Any
Accumulate = Callable[..., Array]


def _logsumexp(x: Array, axis: int) -> Array:
    if not is_complex(x.dtype):
        return np.logaddexp.accumulate(x, axis=axis)
    shift = np.max(x.real, axis=axis, keepdims=True, initial=-np.inf)
    shift = np.where(np.isfinite(shift), shift, 0)
    return shift + np.log(np.cumsum(np.exp(x - shift), axis=axis))


_ACCUMULATE: Final[dict[Any, Accumulate]] = {
    c.cumsum: lambda x, axis: np.cumsum(x, axis=axis, dtype=x.dtype),
    c.cumprod: lambda x, axis: np.cumprod(x, axis=axis, dtype=x.dtype),
    c.cummax: lambda x, axis: np.maximum.accumulate(x, axis=axis),
    c.cummin: lambda x, axis: np.minimum.accumulate(x, axis=axis),
    c.cumlogsumexp: _logsumexp,
}


def _either_way(accumulate: Accumulate) -> Accumulate:
    def meaning(x: Array, *, axis: int, reverse: bool) -> Array:
        x = widened(x)
        if not reverse:
            return accumulate(x, axis)
        return np.flip(accumulate(np.flip(x, axis), axis), axis)

    return meaning


for _primitive, _accumulate in _ACCUMULATE.items():
    means(_primitive)(_either_way(_accumulate))


@means(c.linear_recurrence)
def _recurrence(a: Array, t: Array, *, axis: int, reverse: bool) -> Array:
    a, t = (np.moveaxis(widened(x), axis, 0) for x in (a, t))
    y = np.array(t)
    order = range(len(y))
    for before, i in itertools.pairwise(reversed(order) if reverse else order):
        y[i] = a[i] * y[before] + t[i]
    return np.moveaxis(y, 0, axis)
