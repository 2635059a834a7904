"""How scatters that replace, multiply or compare transform, and how all of them batch.

Sums (scatter_add, scatter_sub) are in indexing.py.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from ...ir.builder import Builder, Operand, Zero
from ...ir.errors import MissingRule
from ...ir.graph import Equation
from ...ir.ops import indexing as ix
from ...ir.types import TensorType
from .. import tables
from ..tables import Operands, materialise_batch
from .elementwise import scaled
from .indexing import read_back, writes_once, zeros, zeros_like
from .shape import shift

# -- scatter: replace ----------------------------------------------------------------------------

tables.restates_primal.add(ix.scatter)


@tables.jvp.rule(ix.scatter)
def jvp_scatter(b: Builder, eqn: Equation, tangents: Operands) -> Operands:
    """Scatter the tangents, once it is known which update wins where windows overlap.

    Where every update's tangent is zero it does not matter who wins.
    """
    dx, _, du = tangents
    if isinstance(du, Zero) or writes_once(eqn):
        b.append(eqn)
        return b.emit(ix.scatter, dx, eqn.inputs[1], du, **eqn.params)
    return _jvp_scatter_with_winners(b, eqn, dx, du)


def _jvp_scatter_with_winners(b: Builder, eqn: Equation, dx: Operand, du: Operand) -> Operands:
    """The program leaves open which update wins, and may even choose anew each time it runs. So the
    updates are numbered and the numbers scattered; who reads his number back has won. The primal
    and the tangent are then both sums of x where nobody wrote and of the updates that won:

        winner = scatter(0, i, 1..n)
        z      = scatter_add(x  where winner = 0, i, u  where winner[i] = 1..n)
        dz     = scatter_add(dx where winner = 0, i, du where winner[i] = 1..n)
    """
    x, indices, updates = eqn.inputs
    window = eqn.params["update_window_dims"]
    shape = tuple(1 if i in window else n for i, n in enumerate(updates.type.shape))
    n = math.prod(shape)
    dtype = np.dtype(np.uint32 if n < 2**32 - 1 else np.uint64)
    count = b.reshape(b.iota(dtype=dtype, shape=(n,), dimension=0), new_sizes=shape)
    number = b.broadcast(b.add(count, 1), updates.type.shape, range(len(shape)))
    untouched = b.full(TensorType(x.type.shape, dtype), 0)
    winner = b.scatter(untouched, indices, number, **eqn.params)
    kept = b.eq(winner, 0)
    won = b.eq(read_back(b, eqn, winner), number)

    def where(mask: Operand, value: Operand) -> Operand:
        if isinstance(value, Zero):
            return value
        return b.select_n(mask, zeros_like(b, value), value)

    b.define(
        eqn.outputs,
        eqn,
        primitive=ix.scatter_add,
        inputs=(where(kept, x), indices, where(won, updates)),
    )
    return b.emit(ix.scatter_add, where(kept, dx), indices, where(won, du), **eqn.params)


@tables.transpose.rule(ix.scatter)
def transpose_scatter(b: Builder, eqn: Equation, cts: Operands, linear: Sequence[bool]) -> Operands:
    """The updates' cotangent is what is read back; the operand's is all that was not replaced."""
    x, indices, updates = eqn.inputs
    ct_x: Operand = Zero(x.type)
    ct_updates: Operand = Zero(updates.type)
    if linear[0]:
        nothing = zeros(b, updates.type.shape, cts[0])
        ct_x = b.scatter(cts[0], indices, nothing, **eqn.params)
    if linear[2]:
        if not writes_once(eqn):
            raise MissingRule(
                "the transpose of scatter is only known where windows do not overlap",
                eqn,
                stage="transpose",
                hint="if they do not, say unique_indices=True",
            )
        ct_updates = read_back(b, eqn, cts[0])
    return [ct_x, Zero(indices.type), ct_updates]


# -- scatter_mul ---------------------------------------------------------------------------------


def _check_writes_once(eqn: Equation, stage: str) -> None:
    if not writes_once(eqn):
        raise MissingRule(
            "scatter_mul is differentiable in its updates only where windows do not overlap",
            eqn,
            stage=stage,
            hint="if they do not, say unique_indices=True",
        )


@tables.jvp.rule(ix.scatter_mul)
def jvp_scatter_mul(b: Builder, eqn: Equation, tangents: Operands) -> Operands:
    """z = x u where windows lie, x elsewhere: dz = scatter_mul(dx, u) + x scatter_add(0, du)."""
    x, indices, updates = eqn.inputs
    dx, _, du = tangents
    terms = []
    if not isinstance(dx, Zero):
        terms.append(b.scatter_mul(dx, indices, updates, **eqn.params))
    if not isinstance(du, Zero):
        _check_writes_once(eqn, "jvp")
        spread = b.scatter_add(zeros_like(b, x), indices, du, **eqn.params)
        terms.append(b.mul(x, spread))
    return [b.sum_of(terms, eqn.outputs[0].type)]


@tables.transpose.rule(ix.scatter_mul)
def transpose_scatter_mul(
    b: Builder, eqn: Equation, cts: Operands, linear: Sequence[bool]
) -> Operands:
    x, indices, updates = eqn.inputs
    if linear[0]:
        ct_x = b.scatter_mul(cts[0], indices, updates, **eqn.params)
        return [ct_x, Zero(indices.type), Zero(updates.type)]
    _check_writes_once(eqn, "transpose")
    return [Zero(x.type), Zero(indices.type), read_back(b, eqn, b.mul(cts[0], x))]


# -- scatter_min, scatter_max --------------------------------------------------------------------


@tables.jvp.rule(ix.scatter_min, ix.scatter_max)
def jvp_scatter_extremum(b: Builder, eqn: Equation, tangents: Operands) -> Operands:
    """The tangent of an extremum that several attain is the mean of theirs.

    With z the extremum, n the number of updates that attain it, and z[i] what is read back:

        n  = scatter_add(0, i, [u = z[i]])
        dz = scatter_add(dx [x = z] / (n + [x = z]), i, du [u = z[i]] / (n + [x = z])[i])

    Where none is equal to it, which is then not a number, x counts as the extremum.
    """
    x, indices, updates = eqn.inputs
    (z,) = eqn.outputs
    dx, _, du = tangents
    nothing, none = zeros_like(b, x), zeros_like(b, updates)
    attains = b.eq(updates, read_back(b, eqn, z))
    ones = b.select_n(attains, none, b.full(none.type, 1))
    count = b.scatter_add(nothing, indices, ones, **eqn.params)
    kept = getattr(b, "or")(b.eq(x, z), b.eq(count, 0))
    ties = b.select_n(kept, count, b.add(count, b.literal(1, count.type)))
    moved: Operand = Zero(x.type)
    if not isinstance(dx, Zero):
        moved = b.select_n(kept, nothing, b.div(dx, ties))
    if isinstance(du, Zero):
        return [moved]
    share = b.select_n(attains, none, read_back(b, eqn, b.div(b.full(ties.type, 1), ties)))
    du = scaled(b, du, share)
    return b.emit(ix.scatter_add, b.instantiate(moved), indices, du, **eqn.params)


# -- batch ---------------------------------------------------------------------------------------


@tables.batch.rule(
    *(ix.scatter, ix.scatter_add, ix.scatter_sub, ix.scatter_mul, ix.scatter_min, ix.scatter_max),
    ix.scatter_apply,
)
def batch_scatter(
    b: Builder, eqn: Equation, inputs: Operands, batched: Sequence[bool], size: int
) -> tuple[Operands, Sequence[bool]]:
    """The batch axis is a window axis if all examples write to one place, else a batching axis."""
    x = materialise_batch(b, inputs[0], batched[0], size)
    updates = materialise_batch(b, inputs[2], batched[2], size)
    p: dict[str, Any] = dict(eqn.params)
    for name in (
        "update_window_dims",
        "inserted_window_dims",
        "scatter_dims_to_operand_dims",
        "operand_batching_dims",
    ):
        p[name] = shift(p[name])
    if batched[1]:
        p["operand_batching_dims"] = (0, *p["operand_batching_dims"])
        moved = shift(p["scatter_indices_batching_dims"])
        p["scatter_indices_batching_dims"] = (0, *moved)
    else:
        p["update_window_dims"] = (0, *p["update_window_dims"])
    return b.emit(eqn.primitive, x, inputs[1], updates, **p), (True,)
