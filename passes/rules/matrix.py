"""Matrix algebra for the rules of linear algebra.

Operands are stacks of matrices: the last two axes are the matrix, those before them are batch axes.
Symbolic zeros stay symbolic.
"""

from __future__ import annotations

from typing import Any, Final

from ...ir.builder import Builder, Operand, Zero
from ...ir.types import INT32, Dtype, TensorType, is_complex
from .elementwise import as_weak

HIGHEST: Final = ("HIGHEST", "HIGHEST")
"""Derivatives of factorisations multiply in full precision, as JAX's do."""


def matmul(b: Builder, x: Operand, y: Operand) -> Any:
    """x y."""
    n = len(x.type.shape) - 2
    batch = tuple(range(n))
    numbers = (((n + 1,), (n,)), (batch, batch))
    return b.dot_general(x, y, dimension_numbers=numbers, precision=HIGHEST)


def flip(b: Builder, x: Operand) -> Any:
    """The transposes of matrices."""
    rank = len(x.type.shape)
    return b.transpose(x, permutation=(*range(rank - 2), rank - 1, rank - 2))


def conjugate(b: Builder, x: Operand) -> Any:
    return b.conj(x, input_dtype=x.type.dtype) if is_complex(x.type.dtype) else x


def adjoint(b: Builder, x: Operand) -> Any:
    """The conjugate transposes of matrices."""
    return conjugate(b, flip(b, x))


def real_part(b: Builder, x: Operand) -> Any:
    return b.real(x) if is_complex(x.type.dtype) else x


def as_dtype(b: Builder, x: Operand, dtype: Dtype) -> Any:
    return x if x.type.dtype == dtype else b.convert(x, dtype)


def scale(b: Builder, x: Operand, factor: Any) -> Any:
    """A number times x."""
    return x if isinstance(x, Zero) else b.mul(x, b.literal(factor, x.type))


def rows(b: Builder, v: Operand) -> Any:
    """Vectors as rows: [..., n] becomes [..., 1, n]."""
    *batch, n = v.type.shape
    return b.reshape(v, new_sizes=(*batch, 1, n))


def columns(b: Builder, v: Operand) -> Any:
    """Vectors as columns: [..., n] becomes [..., n, 1]."""
    return b.reshape(v, new_sizes=(*v.type.shape, 1))


# -- triangles and diagonals ---------------------------------------------------------------------


def band(b: Builder, shape: tuple[int, ...], compare: str, offset: int = 0) -> Any:
    """Where `column compare row + offset` holds, in the shape of a stack of matrices."""
    matrix = shape[-2:]
    column = b.iota(dtype=INT32, shape=matrix, dimension=1)
    row = b.iota(dtype=INT32, shape=matrix, dimension=0)
    if offset:
        row = b.add(row, b.literal(offset, TensorType((), INT32)))
    mask = getattr(b, compare)(column, row)
    return b.broadcast(mask, shape, (len(shape) - 2, len(shape) - 1))


def keep(b: Builder, x: Operand, compare: str, offset: int = 0) -> Any:
    """x where `column compare row + offset`, else 0."""
    return x if isinstance(x, Zero) else _keep(b, x, compare, offset, x.type)


def _keep(b: Builder, x: Operand, compare: str, offset: int, zero: TensorType) -> Any:
    return b.select_n(band(b, x.type.shape, compare, offset), b.full(zero, 0), x)


def lower_triangle(b: Builder, x: Operand, offset: int = 0) -> Any:
    return keep(b, x, "le", offset)


def upper_triangle(b: Builder, x: Operand, offset: int = 0) -> Any:
    return keep(b, x, "ge", offset)


def identity(b: Builder, type: TensorType) -> Any:
    """Identity matrices of this type."""
    return b.convert(band(b, type.shape, "eq"), type.dtype)


def diagonal(b: Builder, x: Operand) -> Any:
    """The diagonals of square matrices. They are typed as x, their cotangents strongly."""
    found = b.reduce_sum(_keep(b, x, "eq", 0, x.type.strong), axes=(len(x.type.shape) - 1,))
    return as_weak(b, found, x)


def from_diagonal(b: Builder, v: Operand) -> Any:
    """Diagonal matrices."""
    *batch, n = v.type.shape
    rank = len(batch)
    return keep(b, b.broadcast(v, (*batch, n, n), (*range(rank), rank)), "eq")


# -- parts and permutations ----------------------------------------------------------------------


def part(
    b: Builder, x: Operand, rows: tuple[int, int] | None, columns: tuple[int, int] | None
) -> Any:
    """The submatrices of a range of rows and a range of columns (None: all)."""
    shape = x.type.shape
    ranges = [(0, n) for n in shape]
    for axis, wanted in ((-2, rows), (-1, columns)):
        ranges[axis] = wanted or ranges[axis]
    return b.slice(
        x,
        start_indices=tuple(start for start, _ in ranges),
        limit_indices=tuple(stop for _, stop in ranges),
    )


def pad_matrix(b: Builder, x: Operand, rows: tuple[int, int], columns: tuple[int, int]) -> Any:
    """x with rows of zeros (before, after) it, and columns; negative numbers cut some off."""
    untouched = ((0, 0, 0),) * (len(x.type.shape) - 2)
    config = (*untouched, (*rows, 0), (*columns, 0))
    return b.pad(x, b.literal(0, x.type), padding_config=config)


def take(b: Builder, x: Operand, order: Operand, axis: int) -> Any:
    """x[..., order, :] for axis -2, x[..., order] for axis -1: rows or columns in an order."""
    shape = x.type.shape
    n = len(shape) - 2
    batch = tuple(range(n))
    sizes = [1] * n + list(shape[-2:])
    sizes[axis] = 1
    taken = n if axis == -2 else n + 1
    return b.gather(
        x,
        columns(b, order),
        offset_dims=(n + 1 if axis == -2 else n,),
        collapsed_slice_dims=(taken,),
        start_index_map=(taken,),
        operand_batching_dims=batch,
        start_indices_batching_dims=batch,
        slice_sizes=tuple(sizes),
        unique_indices=True,
        mode="PROMISE_IN_BOUNDS",
    )


def inverse_order(b: Builder, order: Operand) -> Any:
    """The inverse permutations."""
    shape = order.type.shape
    axis = len(shape) - 1
    positions = b.iota(dtype=INT32, shape=shape, dimension=axis)
    return b.sort(order, positions, dimension=axis, is_stable=True, num_keys=1)[1]


# -- solves --------------------------------------------------------------------------------------


def solve_triangular(b: Builder, a: Operand, y: Operand, **params: Any) -> Any:
    """x with op(a) x = y, or x op(a) = y (left_side=False)."""
    return b.triangular_solve(a, y, **{"left_side": True, **params})


def solve(b: Builder, a: Operand, y: Operand) -> Any:
    """a^-1 y, by a[p] = l u: u x = l^-1 y[p]."""
    factors, _, order = b.lu(a)
    x = take(b, y, order, -2)
    x = solve_triangular(b, factors, x, lower=True, unit_diagonal=True)
    return solve_triangular(b, factors, x)


def solve_adjoint(b: Builder, a: Operand, y: Operand) -> Any:
    """a^-H y, by a^H = u^H l^H p: x[p] = l^-H u^-H y."""
    factors, _, order = b.lu(a)
    flags = {"transpose_a": True, "conjugate_a": is_complex(a.type.dtype)}
    x = solve_triangular(b, factors, y, **flags)
    x = solve_triangular(b, factors, x, lower=True, unit_diagonal=True, **flags)
    return take(b, x, inverse_order(b, order), -2)
