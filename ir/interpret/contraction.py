"""The meaning of contractions."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..ops import contraction as ops
from ..ops.contraction import DotAxes, contraction_dtype, free_axes
from ..types import TensorType, dtype_category
from . import means

Array = Any


def accumulator(dtype: Any) -> np.dtype[Any]:
    """The dtype in which products are summed: wide enough, and one that NumPy multiplies."""
    category = dtype_category(dtype)
    if category in ("int", "uint"):
        return np.dtype(np.int64 if category == "int" else np.uint64)
    return np.dtype(np.float32) if category == "float" and dtype.itemsize < 4 else dtype


@means(ops.dot_general)
def dot_general(
    lhs: Array,
    rhs: Array,
    *,
    dimension_numbers: DotAxes,
    precision: Any,
    preferred_element_type: Any,
) -> Array:
    """One matrix product for each batch position: operands as [batch, free, contracting]."""
    (lhs_contracting, rhs_contracting), (lhs_batch, rhs_batch) = dimension_numbers
    types = TensorType(lhs.shape, lhs.dtype), TensorType(rhs.shape, rhs.dtype)
    wide = {"precision": precision, "preferred_element_type": preferred_element_type}
    dtype = accumulator(contraction_dtype("dot_general", types, wide))
    lhs_free = free_axes(lhs.ndim, lhs_contracting, lhs_batch)
    rhs_free = free_axes(rhs.ndim, rhs_contracting, rhs_batch)

    def as_matrices(x: Array, batch: Any, rows: Any, columns: Any) -> Array:
        x = np.transpose(x.astype(dtype), (*batch, *rows, *columns))
        lengths = x.shape
        split = len(batch) + len(rows)
        rows_length = math.prod(lengths[len(batch) : split])
        return x.reshape([*lengths[: len(batch)], rows_length, math.prod(lengths[split:])])

    left = as_matrices(lhs, lhs_batch, lhs_free, lhs_contracting)
    right = as_matrices(rhs, rhs_batch, rhs_contracting, rhs_free)
    batch_shape = [lhs.shape[i] for i in lhs_batch]
    free = [lhs.shape[i] for i in lhs_free] + [rhs.shape[i] for i in rhs_free]
    return np.matmul(left, right).reshape([*batch_shape, *free])
