"""Derivatives and batching of cumulative operations."""

from __future__ import annotations

import math
from collections.abc import Sequence

from ...ir.builder import Builder, Operand, Zero
from ...ir.graph import Equation
from ...ir.ops import cumulative as c
from ...ir.types import is_complex
from .. import tables
from ..tables import Operands, unary_transpose
from .elementwise import as_weak, share, strong, wins
from .linalg import batch_stacked
from .prefix import Pair, full_like, scan_tangents, shift

Batched = tuple[Operands, Sequence[bool]]


@unary_transpose(c.cumsum)
def transpose_cumsum(b: Builder, eqn: Equation, ct: Operand) -> Operand:
    return b.cumsum(ct, axis=eqn.params["axis"], reverse=not eqn.params["reverse"])


@tables.jvp.rule(c.cumprod)
def jvp_cumprod(b: Builder, eqn: Equation, tangents: Operands) -> Operands:
    """z_i = x_i z_(i-1), so dz_i = x_i dz_(i-1) + z_(i-1) dx_i."""
    axis, reverse = eqn.params["axis"], eqn.params["reverse"]
    if eqn.inputs[0].type.shape[axis] < 2:
        return tangents
    before = strong(b, shift(b, eqn.outputs[0], axis, -1 if reverse else 1, 1))
    t = b.mul(tangents[0], before)
    dz = b.linear_recurrence(eqn.inputs[0], t, axis=axis, reverse=reverse)
    return [as_weak(b, dz, eqn.outputs[0])]


@tables.jvp.rule(c.cumlogsumexp)
def jvp_cumlogsumexp(b: Builder, eqn: Equation, tangents: Operands) -> Operands:
    """exp(z_i) = exp(z_(i-1)) + exp(x_i), so

    dz_i = exp(z_(i-1) - z_i) dz_(i-1) + exp(x_i - z_i) dx_i, where nothing overflows.
    """
    (x,), (z,), (t,) = eqn.inputs, eqn.outputs, tangents
    axis, forward = eqn.params["axis"], -1 if eqn.params["reverse"] else 1
    if x.type.shape[axis] < 2:
        return tangents
    base = z
    if not is_complex(z.type.dtype):  # differences of infinities
        zeros = full_like(b, z, 0)
        base = b.select_n(b.is_finite(z), zeros, z)
        x = b.select_n(b.eq(x, math.inf), x, zeros)
        z = b.select_n(b.eq(z, math.inf), z, zeros)
    kept = b.exp(b.sub(z, shift(b, base, axis, -forward, 0)))
    kept = shift(b, kept, axis, forward, 0)
    t = b.mul(t, b.exp(b.sub(x, base)))
    dz = b.linear_recurrence(kept, t, **eqn.params)
    return [as_weak(b, dz, eqn.outputs[0])]


@tables.jvp.rule(c.cummax, c.cummin)
def jvp_cumulative_extremum(b: Builder, eqn: Equation, tangents: Operands) -> Operands:
    """The tangent of the element that is the extremum; equal ones share it, pair by pair."""
    (x,), (z,), (t,) = eqn.inputs, eqn.outputs, tangents
    axis, reverse = eqn.params["axis"], eqn.params["reverse"]
    if x.type.shape[axis] < 2:
        return tangents
    choose, beyond = (b.max, b.gt) if eqn.primitive is c.cummax else (b.min, b.lt)

    def combine(b: Builder, before: Pair, behind: Pair) -> Pair:
        x1, t1 = before
        x2, t2 = behind
        best = choose(x1, x2)
        part = share(b, wins(b, beyond, x1, x2, x1, best), x1, x2)
        return best, b.add_any(b.mul(t1, part), b.mul(t2, b.sub(1, part)))

    if reverse:
        x, z, t = (b.rev(v, dimensions=(axis,)) for v in (x, z, t))
    dz = scan_tangents(b, combine, x, t, z, axis)
    dz = b.rev(dz, dimensions=(axis,)) if reverse else dz
    return [as_weak(b, dz, eqn.outputs[0])]


@tables.jvp.rule(c.linear_recurrence)
def jvp_recurrence(b: Builder, eqn: Equation, tangents: Operands) -> Operands:
    """y_i = a_i y_(i-1) + t_i, so dy_i = a_i dy_(i-1) + (dt_i + y_(i-1) da_i)."""
    (a, _), (da, dt), (y,), axis = eqn.inputs, tangents, eqn.outputs, eqn.params["axis"]
    before = shift(b, y, axis, -1 if eqn.params["reverse"] else 1, 0)
    return b.again(eqn, a, b.add(dt, b.mul(da, before)))


@tables.transpose.rule(c.linear_recurrence)
def transpose_recurrence(
    b: Builder, eqn: Equation, cts: Operands, linear: Sequence[bool]
) -> Operands:
    """ct_t_i = ct_y_i + a_(i+1) ct_t_(i+1)."""
    (a, _), axis, reverse = eqn.inputs, eqn.params["axis"], eqn.params["reverse"]
    next_a = shift(b, a, axis, 1 if reverse else -1, 0)
    return [Zero(a.type), b.linear_recurrence(next_a, cts[0], axis=axis, reverse=not reverse)]


@tables.batch.rule(c.linear_recurrence)
def batch_recurrence(
    b: Builder, eqn: Equation, inputs: Operands, batched: Sequence[bool], size: int
) -> Batched:
    params = {**eqn.params, "axis": eqn.params["axis"] + 1}
    return batch_stacked(b, eqn.replace(params=params), inputs, batched, size)


@tables.batch.rule(c.cumsum, c.cumprod, c.cummax, c.cummin, c.cumlogsumexp)
def batch_cumulative(
    b: Builder, eqn: Equation, inputs: Operands, batched: Sequence[bool], size: int
) -> Batched:
    axis = eqn.params["axis"] + 1
    return b.emit(eqn.primitive, *inputs, axis=axis, reverse=eqn.params["reverse"]), (True,)
