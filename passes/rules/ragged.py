"""How products of groups (ragged_dot_general) transform.

Transposed, a product along a free axis that is cut becomes in lhs again one along a free axis, and
in rhs one along a contracting axis; and the other way round.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ...ir.builder import Builder, Operand, Zero
from ...ir.errors import PassError
from ...ir.graph import Equation
from ...ir.ops import contraction as c
from ...ir.ops.contraction import Axes, free_axes, ragged_kind, ragged_prefix
from .. import tables
from ..tables import Operands, materialise_batch
from .contraction import axis_to_front
from .shape import inverse_permutation, shift

Params = dict[str, Any]


@tables.transpose.rule(c.ragged_dot_general)
def transpose_ragged_dot(
    b: Builder, eqn: Equation, cts: Operands, linear: Sequence[bool]
) -> Operands:
    x, y, sizes = eqn.inputs
    kind = ragged_kind(x.type.ndim, eqn.params)
    pull = {"free": _pull_free, "contracting": _pull_contracting}.get(kind)
    if pull is None:  # groups of whole examples: a product as any other
        names = ("dimension_numbers", "precision", "preferred_element_type")
        params = {name: eqn.params[name] for name in names}
        dot = Equation(c.dot_general, (x, y), eqn.outputs, params, eqn.location)
        return [*tables.transpose.find(dot)(b, dot, cts, linear[:2]), Zero(sizes.type)]
    i = 0 if linear[0] else 1
    operand = eqn.inputs[i]
    ct, axes = pull(b, eqn, cts[0], i)
    ct = b.transpose(ct, permutation=inverse_permutation(axes))
    if ct.type.dtype != operand.type.dtype:
        ct = b.convert(ct, operand.type.dtype, operand.type.weak)
    zeros: list[Operand] = [Zero(v.type) for v in eqn.inputs]
    zeros[i] = ct
    return zeros


def met_axes(axes: Axes, others: Axes) -> Axes:
    """Contracting axes in the order in which the other operand has those that they meet."""
    return tuple(axes[i] for i in inverse_permutation(others))


def _ragged(
    b: Builder, eqn: Equation, lhs: Operand, rhs: Operand,
    contracting: tuple[Axes, Axes], batch: tuple[Axes, Axes], ragged: int, groups: Axes,
) -> Operand:  # fmt: skip
    return b.ragged_dot_general(
        lhs,
        rhs,
        eqn.inputs[2],
        dimension_numbers=(contracting, batch),
        lhs_ragged_dimensions=(ragged,),
        rhs_group_dimensions=groups,
        precision=eqn.params["precision"],
        preferred_element_type=eqn.params["preferred_element_type"],
    )


def _pull_free(b: Builder, eqn: Equation, ct: Operand, i: int) -> tuple[Operand, Axes]:
    """z[b, m, n] = sum over k of x[b, m, k] y[group of m, b, k, n], so

    ct_x[b, m, k]    = sum over n of ct[b, m, n] y[group of m, b, k, n]
    ct_y[g, b, k, n] = sum over the m of group g of x[b, m, k] ct[b, m, n]

    Second result: which axis of the operand each axis of the cotangent is.
    """
    x, y, _ = eqn.inputs
    (x_sum, y_sum), (x_batch, y_batch) = eqn.params["dimension_numbers"]
    (ragged,), groups = eqn.params["lhs_ragged_dimensions"], eqn.params["rhs_group_dimensions"]
    x_free = free_axes(x.type.ndim, x_sum, x_batch)
    y_free = free_axes(y.type.ndim, y_sum, y_batch, groups)
    n_batch, n_x = len(x_batch), len(x_free)
    ct_batch = tuple(range(n_batch))
    ct_x = tuple(range(n_batch, n_batch + n_x))
    ct_y = tuple(range(n_batch + n_x, ct.type.ndim))
    if i == 0:
        place = n_batch + x_free.index(ragged)
        z = _ragged(b, eqn, ct, y, (ct_y, y_free), (ct_batch, y_batch), place, groups)
        return z, (*x_batch, *x_free, *met_axes(x_sum, y_sum))
    z = _ragged(b, eqn, x, ct, (x_free, ct_x), (x_batch, ct_batch), ragged, ())
    return z, (*groups, *y_batch, *met_axes(y_sum, x_sum), *y_free)


def _pull_contracting(b: Builder, eqn: Equation, ct: Operand, i: int) -> tuple[Operand, Axes]:
    """z[g, b, m, n] = sum over the k of group g of x[b, m, k] y[b, k, n], so

    ct_x[b, k, m] = sum over n of y[b, k, n] ct[group of k, b, m, n]
    ct_y[b, k, n] = sum over m of x[b, m, k] ct[group of k, b, m, n]
    """
    x, y, sizes = eqn.inputs
    (x_sum, y_sum), (x_batch, y_batch) = eqn.params["dimension_numbers"]
    (ragged,) = eqn.params["lhs_ragged_dimensions"]
    x_free = free_axes(x.type.ndim, x_sum, x_batch)
    y_free = free_axes(y.type.ndim, y_sum, y_batch)
    n_batch, n_x = len(x_batch), len(x_free)
    ct_batch = tuple(range(1, 1 + n_batch))
    ct_x = tuple(range(1 + n_batch, 1 + n_batch + n_x))
    ct_y = tuple(range(1 + n_batch + n_x, ct.type.ndim))
    other_sum = y_sum if i == 0 else x_sum
    if sizes.type.ndim > 1 and other_sum != tuple(sorted(other_sum)):
        raise PassError(
            "sizes of groups that differ along contracting axes need these in order",
            eqn,
            stage="transpose",
        )
    if i == 0:
        place = y_sum[x_sum.index(ragged)]
        z = _ragged(b, eqn, y, ct, (y_free, ct_y), (y_batch, ct_batch), place, (0,))
        return z, (*x_batch, *met_axes(x_sum, y_sum), *x_free)
    z = _ragged(b, eqn, x, ct, (x_free, ct_x), (x_batch, ct_batch), ragged, (0,))
    return z, (*y_batch, *met_axes(y_sum, x_sum), *y_free)


# -- batch ---------------------------------------------------------------------------------------


@tables.batch.rule(c.ragged_dot_general)
def batch_ragged_dot(
    b: Builder, eqn: Equation, inputs: Operands, batched: Sequence[bool], size: int
) -> tuple[Operands, Sequence[bool]]:
    """The batch axis is a batch axis of the product; where rhs has none, a free axis of lhs."""
    x, y, sizes = inputs
    p: Params = dict(eqn.params)
    (x_sum, y_sum), (x_batch, y_batch) = p["dimension_numbers"]
    kind = ragged_kind(eqn.inputs[0].type.ndim, p)
    p["lhs_ragged_dimensions"] = shift(p["lhs_ragged_dimensions"])
    sizes = _batched_sizes(b, eqn, sizes, batched[2], size)
    if not batched[1] and not x_batch and kind == "free":
        p["dimension_numbers"] = (shift(x_sum), y_sum), ((), ())
        x = materialise_batch(b, x, batched[0], size)
        return b.emit(c.ragged_dot_general, x, y, sizes, **p), (True,)
    x = materialise_batch(b, x, batched[0], size)
    y = materialise_batch(b, y, batched[1], size)
    numbers = (shift(x_sum), shift(y_sum)), ((0, *shift(x_batch)), (0, *shift(y_batch)))
    p["dimension_numbers"] = numbers
    p["rhs_group_dimensions"] = shift(p["rhs_group_dimensions"])
    z = b.ragged_dot_general(x, y, sizes, **p)
    return [axis_to_front(b, z, 1 if kind == "contracting" else 0)], (True,)


def _batched_sizes(
    b: Builder, eqn: Equation, sizes: Operand, is_batched: bool, size: int
) -> Operand:
    """Sizes that hold for all examples stay [groups]; others are [batch, prefix, groups]."""
    x, _, own = eqn.inputs
    if not is_batched and own.type.ndim == 1:
        return sizes
    prefix = tuple(x.type.shape[i] for i in ragged_prefix(x.type.ndim, eqn.params))
    shape = (size, *prefix, own.type.shape[-1])
    last = len(shape) - 1
    if own.type.ndim > 1:
        return materialise_batch(b, sizes, is_batched, size)
    return b.broadcast(sizes, shape, (0, last) if is_batched else (last,))
