"""Axes moved, split and joined, and rows taken in another order."""

from __future__ import annotations

from collections.abc import Sequence

from ...ir.builder import Builder, Operand


def move_axis(b: Builder, x: Operand, source: int, target: int) -> Operand:
    """x with one axis moved."""
    order = [i for i in range(len(x.type.shape)) if i != source]
    order.insert(target, source)
    return b.transpose(x, permutation=tuple(order))


def fold_axis(b: Builder, x: Operand, axis: int) -> Operand:
    """x with an axis and the next one as one."""
    shape = x.type.shape
    folded = (*shape[:axis], shape[axis] * shape[axis + 1], *shape[axis + 2 :])
    return b.reshape(x, new_sizes=folded)


def split_axis(b: Builder, x: Operand, axis: int, count: int) -> Operand:
    """x with an axis as two, the first of them of this length."""
    shape = x.type.shape
    parted = (*shape[:axis], count, shape[axis] // count, *shape[axis + 1 :])
    return b.reshape(x, new_sizes=parted)


def take_rows(b: Builder, x: Operand, order: Sequence[int | None]) -> Operand:
    """The rows of x in this order, in runs of consecutive ones; zeros for None."""
    shape = x.type.shape
    runs: list[tuple[int | None, int]] = []
    for i in order:
        start, count = runs[-1] if runs else (None, 0)
        if count and (i is None if start is None else i == start + count):
            runs[-1] = (start, count + 1)
        else:
            runs.append((i, 1))
    pieces = []
    for start, count in runs:
        if start is None:
            pieces.append(b.full(x.type.with_shape((count, *shape[1:])), 0))
            continue
        first, last = (start, *(0 for _ in shape[1:])), (start + count, *shape[1:])
        pieces.append(b.slice(x, start_indices=first, limit_indices=last, strides=None))
    return pieces[0] if len(pieces) == 1 else b.concatenate(*pieces, dimension=0)
