"""Rows of arrays at positions of their own in each lane: one of them, or several in a row.

What is read or written has the shape [lanes, n, ...]; the positions have the shape [lanes].
"""

from __future__ import annotations

from typing import Any

from ..builder import Builder
from ..types import INT32
from .arithmetic import along


def rows_at(b: Builder, x: Any, i: Any, size: int) -> Any:
    """`x[lane, i[lane] : i[lane] + size]`; there are so many rows."""
    shape, n_lanes = x.type.shape, len(i.type.shape)
    rest = shape[n_lanes + 1 :]
    if not n_lanes:
        starts = [i, *[b.literal(0, i.type)] * len(rest)]
        return b.dynamic_slice(x, *starts, slice_sizes=(size, *rest))
    lanes = tuple(range(n_lanes))
    return b.gather(
        x,
        b.reshape(i, new_sizes=(*i.type.shape, 1)),
        offset_dims=tuple(range(n_lanes, n_lanes + 1 + len(rest))),
        collapsed_slice_dims=(),
        start_index_map=(n_lanes,),
        operand_batching_dims=lanes,
        start_indices_batching_dims=lanes,
        slice_sizes=(*[1] * n_lanes, size, *rest),
        unique_indices=True,
        mode="CLIP",
    )


def row_at(b: Builder, x: Any, i: Any) -> Any:
    """`x[lane, i[lane]]`; the nearest row if there is none."""
    shape, n_lanes = x.type.shape, len(i.type.shape)
    found = rows_at(b, x, i, 1)
    return b.reshape(found, new_sizes=(*shape[:n_lanes], *shape[n_lanes + 1 :]))


def with_rows(b: Builder, x: Any, i: Any, rows: Any) -> Any:
    """x with `x[lane, i[lane] + k] = rows[lane, k]`, in the lanes that have all these rows."""
    shape, n_lanes = x.type.shape, len(i.type.shape)
    rest = shape[n_lanes + 1 :]
    if not n_lanes:
        starts = [i, *[b.literal(0, i.type)] * len(rest)]
        return b.dynamic_update_slice(x, rows, *starts)
    lanes = tuple(range(n_lanes))
    return b.scatter(
        x,
        b.reshape(i, new_sizes=(*i.type.shape, 1)),
        rows,
        update_window_dims=tuple(range(n_lanes, n_lanes + 1 + len(rest))),
        inserted_window_dims=(),
        scatter_dims_to_operand_dims=(n_lanes,),
        operand_batching_dims=lanes,
        scatter_indices_batching_dims=lanes,
        unique_indices=True,
        mode="FILL_OR_DROP",
    )


def with_row(b: Builder, x: Any, i: Any, row: Any) -> Any:
    """x with `x[lane, i[lane]] = row[lane]`, in the lanes that have this row."""
    n_lanes = len(i.type.shape)
    shape = row.type.shape
    return with_rows(b, x, i, b.reshape(row, new_sizes=(*shape[:n_lanes], 1, *shape[n_lanes:])))


def repeated(b: Builder, x: Any, axis: int, size: int) -> Any:
    """x `size` times along a new axis."""
    shape = (*x.type.shape[:axis], size, *x.type.shape[axis:])
    return b.broadcast(x, shape, [i for i in range(len(shape)) if i != axis])


def numbered(b: Builder, i: Any, size: int) -> Any:
    """i, i + 1, ..., i + size - 1 along a new last axis."""
    shape = (*i.type.shape, size)
    count = b.iota(dtype=INT32, shape=shape, dimension=len(shape) - 1)
    return b.add(repeated(b, i, len(shape) - 1, size), count)


def scaled_rows(b: Builder, x: Any, rows: Any) -> Any:
    """x[lane, k] times rows[lane, k]."""
    return b.mul(along(b, b.convert(x, rows.type.dtype), rows), rows)


def window_size(n: int, elements: int) -> int:
    """How many outputs are handled at once: more at once is less to do, but needs more memory."""
    return max(1, min(n, 32, 4096 // max(elements, 1)))
