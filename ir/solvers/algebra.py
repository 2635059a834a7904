"""Linear algebra for implicit steps: states as vectors, factorised matrices, one for each lane."""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from math import prod
from typing import Any, NamedTuple

import numpy as np

from ..builder import Builder
from ..ops.linalg import lu, triangular_solve
from ..types import FLOAT32, INT32, Dtype
from .arithmetic import State


def matrix_dtype(state: State) -> Any:
    """The dtype in which equations for a state are solved: at least single precision."""
    return reduce(np.promote_types, [x.type.dtype for x in state], FLOAT32)


def identity(b: Builder, d: int, dtype: Dtype) -> Any:
    """The d x d identity matrix."""
    row = b.iota(dtype=INT32, shape=(d, d), dimension=0)
    column = b.iota(dtype=INT32, shape=(d, d), dimension=1)
    return b.convert(b.eq(row, column), dtype)


def as_vector(b: Builder, state: State, n_lane_axes: int, dtype: Dtype) -> Any:
    """[lanes, d]: the leaves of a state one after the other."""
    flat = []
    for x in state:
        lanes, rest = x.type.shape[:n_lane_axes], x.type.shape[n_lane_axes:]
        flat.append(b.convert(b.reshape(x, new_sizes=(*lanes, prod(rest))), dtype))
    return flat[0] if len(flat) == 1 else b.concatenate(*flat, dimension=n_lane_axes)


def as_state(b: Builder, vector: Any, like: State) -> list[Any]:
    """A vector as the leaves of a state."""
    axis = len(vector.type.shape) - 1
    start, leaves = 0, []
    for x in like:
        size = prod(x.type.shape[axis:])
        low, high = [0] * axis, list(vector.type.shape[:axis])
        piece = b.slice(vector, start_indices=(*low, start), limit_indices=(*high, start + size))
        leaves.append(b.convert(b.reshape(piece, new_sizes=x.type.shape), x.type.dtype))
        start += size
    return leaves


class Factors(NamedTuple):
    """A matrix for each lane: `matrix[order] = L U`, both in one."""

    triangles: Any
    order: Any


def factorised(
    b: Builder, h: Any, jacobian: Any, gamma: float, transposed: bool = False
) -> Factors:
    """I - h gamma J, or its transpose."""
    shape, dtype = jacobian.type.shape, jacobian.type.dtype
    n = len(shape) - 2
    if transposed:
        jacobian = b.transpose(jacobian, permutation=(*range(n), n + 1, n))
    step = b.broadcast(b.mul(b.convert(h, dtype), gamma), shape, range(n))
    unit = b.broadcast(identity(b, shape[-1], dtype), shape, (n, n + 1))
    triangles, _, order = b.emit(lu, b.sub(unit, b.mul(step, jacobian)))
    return Factors(triangles, order)


def solve(b: Builder, factors: Factors, x: Any) -> Any:
    """The vectors that the matrices take to x: [lanes, d]."""
    shape = x.type.shape
    n = len(shape) - 1
    lanes = tuple(range(n))
    sorted_ = b.gather(
        x,
        b.reshape(factors.order, new_sizes=(*shape, 1)),
        offset_dims=(),
        collapsed_slice_dims=(n,),
        start_index_map=(n,),
        operand_batching_dims=lanes,
        start_indices_batching_dims=lanes,
        slice_sizes=(1,) * (n + 1),
        unique_indices=True,
        mode="CLIP",
    )
    column = b.reshape(sorted_, new_sizes=(*shape, 1))
    for options in ({"lower": True, "unit_diagonal": True}, {}):
        (column,) = b.emit(triangular_solve, factors.triangles, column, left_side=True, **options)
    return b.reshape(column, new_sizes=shape)


def solved_state(b: Builder, factors: Factors, x: Sequence[Any], n_lane_axes: int) -> list[Any]:
    """`solve` of a state."""
    vector = as_vector(b, x, n_lane_axes, factors.triangles.type.dtype)
    return as_state(b, solve(b, factors, vector), x)
