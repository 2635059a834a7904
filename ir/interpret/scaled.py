"""The meaning of scaled products."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..ops import scaled as ops
from ..ops.contraction import Axes, DotAxes
from . import means
from .contraction import dot_general

Array = Any


@means(ops.scaled_dot)
def scaled_dot(
    lhs: Array, rhs: Array, lhs_scale: Array, rhs_scale: Array, *,
    dimension_numbers: DotAxes, preferred_element_type: Any, dtype: Any = ops.BF16,
) -> Array:  # fmt: skip
    (lhs_contracting, rhs_contracting), _ = dimension_numbers
    return dot_general(
        _times_scale(lhs, lhs_scale, lhs_contracting, dtype),
        _times_scale(rhs, rhs_scale, rhs_contracting, dtype),
        dimension_numbers=dimension_numbers,
        precision=None,
        preferred_element_type=preferred_element_type or ops.BF16,
    )


@means(ops.scaled_matmul)
def scaled_matmul(*operands: Array, preferred_element_type: Any) -> Array:
    wanted = preferred_element_type
    return scaled_dot(
        *operands, dimension_numbers=ops.MATMUL, preferred_element_type=wanted, dtype=wanted
    )


def _times_scale(x: Array, scale: Array, contracting: Axes, dtype: Any) -> Array:
    for i in contracting:
        if scale.shape[i]:
            scale = np.repeat(scale, x.shape[i] // scale.shape[i], axis=i)
    return x.astype(dtype) * scale.astype(dtype)
