"""How contractions transform.

dot_general is linear in each operand, so its jvp follows from its traits. Its transpose is again a
contraction: of the cotangent with the other operand, over that operand's free axes.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from ...ir.builder import Builder, Operand, Zero
from ...ir.graph import Equation
from ...ir.ops import contraction as c
from ...ir.ops.contraction import DotAxes, free_axes
from .. import tables
from ..tables import Operands
from .shape import inverse_permutation, shift


def swapped(dimension_numbers: DotAxes) -> DotAxes:
    """The dimension numbers of a contraction with its operands exchanged."""
    (lhs_contracting, rhs_contracting), (lhs_batch, rhs_batch) = dimension_numbers
    return (rhs_contracting, lhs_contracting), (rhs_batch, lhs_batch)


def swapped_precision(precision: Any) -> Any:
    """A pair of precisions exchanged; algorithms name no operand but by position, too."""
    if isinstance(precision, tuple) and len(precision) == 2:
        return precision[::-1]
    if isinstance(precision, tuple):
        lhs_type, rhs_type, accumulation, lhs_parts, rhs_parts, *rest = precision
        return (rhs_type, lhs_type, accumulation, rhs_parts, lhs_parts, *rest)
    return precision


@tables.transpose.rule(c.dot_general)
def transpose_dot_general(
    b: Builder, eqn: Equation, cts: Operands, linear: Sequence[bool]
) -> Operands:
    x, y = eqn.inputs
    numbers = eqn.params["dimension_numbers"]
    if linear[0]:
        return [transpose_lhs(b, eqn, cts[0], x, y, numbers, ct_has_x_first=True), Zero(y.type)]
    ct_y = transpose_lhs(b, eqn, cts[0], y, x, swapped(numbers), ct_has_x_first=False)
    return [Zero(x.type), ct_y]


def transpose_lhs(
    b: Builder, eqn: Equation, ct: Operand, x: Operand, y: Operand, numbers: DotAxes,
    ct_has_x_first: bool,
) -> Operand:  # fmt: skip
    """The cotangent of x, of z = x . y (or of y . x, unless x's axes come first in z).

    z[batch, x free, y free] = sum over c of x[batch, x free, c] y[batch, c, y free], so
    ct_x[batch, x free, c] = sum over y free of ct[batch, x free, y free] y[batch, c, y free].
    The operands stand in the order that leaves the axes as x has them, if one does.
    """
    ct_numbers, is_swapped, permutation = _transposed_axes(
        numbers, len(x.type.shape), len(y.type.shape), ct_has_x_first
    )
    params = {k: eqn.params[k] for k in ("precision", "preferred_element_type")}
    if is_swapped:
        params["precision"] = swapped_precision(params["precision"])
        ct_x = b.dot_general(y, ct, dimension_numbers=ct_numbers, **params)
    else:
        ct_x = b.dot_general(ct, y, dimension_numbers=ct_numbers, **params)
    ct_x = b.transpose(ct_x, permutation=permutation)
    return ct_x if ct_x.type.dtype == x.type.dtype else b.convert(ct_x, x.type.dtype, x.type.weak)


@lru_cache(maxsize=1024)
def _transposed_axes(
    numbers: DotAxes, x_rank: int, y_rank: int, ct_has_x_first: bool
) -> tuple[DotAxes, bool, tuple[int, ...]]:
    """The axes of the contraction that makes ct_x, whether y comes first in it, and the permutation
    that puts the axes of the result in place."""
    (x_contracting, y_contracting), (x_batch, y_batch) = numbers
    x_free = free_axes(x_rank, x_contracting, x_batch)
    y_free = free_axes(y_rank, y_contracting, y_batch)
    n_batch, n_x, n_y = len(x_batch), len(x_free), len(y_free)
    first = n_batch + n_x if ct_has_x_first else n_batch
    ct_y_free = tuple(range(first, first + n_y))
    # the contracted axes of x, in the order in which y has the axes they meet
    met = tuple(x_contracting[i] for i in inverse_permutation(y_contracting))
    ct_numbers = (ct_y_free, y_free), (tuple(range(n_batch)), y_batch)
    axes = (*x_batch, *x_free, *met)
    other_axes = (*x_batch, *met, *x_free)
    if list(axes) != sorted(axes) and list(other_axes) == sorted(other_axes):
        return swapped(ct_numbers), True, inverse_permutation(other_axes)
    return ct_numbers, False, inverse_permutation(axes)


# -- batch ---------------------------------------------------------------------------------------


@tables.batch.rule(c.dot_general)
def batch_dot_general(
    b: Builder, eqn: Equation, inputs: Operands, batched: Sequence[bool], size: int
) -> tuple[Operands, Sequence[bool]]:
    """The batch axis is a batch axis of the dot if both operands have it, else a free axis.

    As a free axis it must come first in the result. A right operand's comes after the left one's
    free axes, so the operands are exchanged where that costs no transpose.
    """
    lhs, rhs = inputs
    params = dict(eqn.params)
    (lhs_contracting, rhs_contracting), (lhs_batch, rhs_batch) = params.pop("dimension_numbers")
    n_batch = len(lhs_batch)
    if all(batched):
        contracting = shift(lhs_contracting), shift(rhs_contracting)
        numbers = contracting, ((0, *shift(lhs_batch)), (0, *shift(rhs_batch)))
        return b.emit(c.dot_general, lhs, rhs, dimension_numbers=numbers, **params), (True,)
    n_lhs = eqn.inputs[0].type.ndim - len(lhs_contracting) - n_batch
    n_rhs = eqn.inputs[1].type.ndim - len(rhs_contracting) - n_batch
    if batched[0]:
        numbers = (shift(lhs_contracting), rhs_contracting), (shift(lhs_batch), rhs_batch)
        z = b.dot_general(lhs, rhs, dimension_numbers=numbers, **params)
        return [axis_to_front(b, z, n_batch)], (True,)
    numbers = (lhs_contracting, shift(rhs_contracting)), (lhs_batch, shift(rhs_batch))
    if n_batch == 0 and n_rhs == 0 and n_lhs > 0:
        params["precision"] = swapped_precision(params["precision"])
        z = b.dot_general(rhs, lhs, dimension_numbers=swapped(numbers), **params)
        return [z], (True,)
    z = b.dot_general(lhs, rhs, dimension_numbers=numbers, **params)
    return [axis_to_front(b, z, n_batch + n_lhs)], (True,)


def axis_to_front(b: Builder, x: Operand, axis: int) -> Operand:
    rest = (i for i in range(x.type.ndim) if i != axis)
    return b.transpose(x, permutation=(axis, *rest))
