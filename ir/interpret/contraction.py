"""The meaning of contractions."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..ops import contraction as ops
from ..ops.contraction import Axes, DotAxes, contraction_dtype, free_axes
from ..ops.window import Padding
from ..types import TensorType, dtype_category
from . import means
from .shape import pad
from .window import windows_of

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


@means(ops.conv_general_dilated)
def conv_general_dilated(
    lhs: Array,
    rhs: Array,
    *,
    lhs_spec: Axes,
    rhs_spec: Axes,
    out_spec: Axes,
    window_strides: Axes,
    padding: Padding,
    lhs_dilation: Axes,
    rhs_dilation: Axes,
    feature_group_count: int,
    batch_group_count: int,
    precision: Any,
    preferred_element_type: Any,
) -> Array:
    """One matrix product for each group, over input features and the window's elements."""
    dtype = accumulator(lhs.dtype if preferred_element_type is None else preferred_element_type)
    x = np.transpose(lhs.astype(dtype), lhs_spec)
    w = np.transpose(rhs.astype(dtype), rhs_spec)
    gaps = [(low, high, d - 1) for (low, high), d in zip(padding, lhs_dilation, strict=True)]
    x = pad(x, dtype.type(0), padding_config=((0, 0, 0), (0, 0, 0), *gaps))
    strides, dilation = (1, 1, *window_strides), (1, 1, *rhs_dilation)
    x = windows_of(x, (1, 1, *w.shape[2:]), strides, dilation)
    positions, window = x.shape[2 : lhs.ndim], w.shape[2:]
    batch, features = x.shape[0] // batch_group_count, w.shape[1]
    groups = batch_group_count * feature_group_count
    # [batch groups, batch, feature groups, features, positions, window], the groups then in front
    split = (batch_group_count, batch, feature_group_count, features, *positions, *window)
    x = np.moveaxis(x.reshape(split), 2, 1).reshape(groups, batch, features, *positions, *window)
    x = np.moveaxis(x, 2, lhs.ndim)  # [groups, batch, positions, features, window]
    taps = features * math.prod(window)
    x = x.reshape(groups, batch * math.prod(positions), taps)
    kernels = w.reshape(groups, w.shape[0] // groups, taps)
    z = np.matmul(x, np.swapaxes(kernels, 1, 2))
    z = z.reshape(groups, batch, *positions, w.shape[0] // groups)
    z = np.moveaxis(np.moveaxis(z, -1, 1), 2, 0)  # [batch, groups, features, positions]
    z = z.reshape(batch, w.shape[0], *positions)
    return np.transpose(z, np.argsort(out_spec))


@means(ops.ragged_dot_general)
def ragged_dot_general(
    lhs: Array,
    rhs: Array,
    sizes: Array,
    *,
    dimension_numbers: DotAxes,
    lhs_ragged_dimensions: Axes,
    rhs_group_dimensions: Axes,
    precision: Any,
    preferred_element_type: Any,
) -> Array:
    """The sum, or stack, over the groups of products with all else of lhs set to zero."""
    params = {
        "dimension_numbers": dimension_numbers,
        "lhs_ragged_dimensions": lhs_ragged_dimensions,
    }
    wide = {"precision": precision, "preferred_element_type": preferred_element_type}
    kind, prefix = ops.ragged_kind(lhs.ndim, params), ops.ragged_prefix(lhs.ndim, params)
    if kind == "batch":
        return dot_general(lhs, rhs, dimension_numbers=dimension_numbers, **wide)
    (ragged,) = lhs_ragged_dimensions
    ends = np.cumsum(sizes, -1)
    place = np.arange(lhs.shape[ragged])[:, None]
    inside = (place >= (ends - sizes)[..., None, :]) & (place < ends[..., None, :])
    axes = (*prefix[: sizes.ndim - 1], ragged)  # of lhs, which the axes of `inside` but one are
    order = np.argsort(axes, kind="stable")
    inside = np.transpose(inside, (*order, len(axes)))
    shape = [n if i in axes else 1 for i, n in enumerate(lhs.shape)]
    products = []
    for group in range(sizes.shape[-1]):
        part = lhs * inside[..., group].reshape(shape).astype(lhs.dtype)
        taken = rhs
        numbers = dimension_numbers
        if kind == "free":
            taken, numbers = _take_group(rhs, rhs_group_dimensions[0], group, numbers)
        products.append(dot_general(part, taken, dimension_numbers=numbers, **wide))
    if kind == "contracting":
        return np.stack(products)
    return sum(products[1:], products[0])


def _take_group(x: Array, axis: int, group: int, numbers: DotAxes) -> tuple[Array, DotAxes]:
    """One group of rhs, and the numbers of its axes once that axis is gone."""

    def left(axes: Axes) -> Axes:
        return tuple(i - (i > axis) for i in axes)

    (lhs_contracting, rhs_contracting), (lhs_batch, rhs_batch) = numbers
    taken = np.take(x, group, axis)
    return taken, ((lhs_contracting, left(rhs_contracting)), (lhs_batch, left(rhs_batch)))
