"""Derivatives of the elementwise primitives.

Each entry gives, for each input, the tangent of the output that a tangent t of that input causes;
z is the output. The parameters that the primal was asked for (accuracy) go on to its derivative.
Inputs in which a primitive is linear need no entry (None).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from ...ir.builder import Builder, Operand, Zero
from ...ir.graph import Equation
from ...ir.ops import elementwise as e
from ...ir.primitive import Primitive
from .. import tables
from ..tables import Operands

Push = Callable[..., Operand]

PUSH: dict[Primitive, tuple[Push | None, ...]] = {
    e.exp: (lambda b, t, z, x, **p: b.mul(t, z),),
    e.log: (lambda b, t, z, x, **p: b.div(t, x),),
    e.sin: (lambda b, t, z, x, **p: b.mul(t, b.cos(x, **p)),),
    e.cos: (lambda b, t, z, x, **p: b.mul(t, b.neg(b.sin(x, **p))),),
    e.tanh: (lambda b, t, z, x, **p: b.mul(t, b.sub(one(b, x), b.mul(z, z))),),
    e.div: (None, lambda b, t, z, x, y: b.neg(b.mul(b.div(z, y), t))),
}


def one(b: Builder, like: Operand) -> Operand:
    """The number 1 in the dtype of `like`."""
    return b.literal(1, like.type)


def jvp_from_pushes(pushes: Sequence[Push | None]) -> tables.JvpRule:
    """The jvp rule that sums the contributions of all inputs."""

    def jvp_elementwise(b: Builder, eqn: Equation, tangents: Operands) -> Operands:
        (z,) = eqn.outputs
        terms = []
        for i, (push, t) in enumerate(zip(pushes, tangents, strict=True)):
            if isinstance(t, Zero):
                continue
            if push is None:
                inputs = (*eqn.inputs[:i], t, *eqn.inputs[i + 1 :])
                terms.extend(b.emit(eqn.primitive, *inputs, **eqn.params))
            else:
                term = push(b, t, z, *eqn.inputs, **eqn.params)
                terms.append(match_shape(b, term, z.type))
        return [b.sum_of(terms, z.type)]

    return jvp_elementwise


def match_shape(b: Builder, term: Operand, type: Any) -> Operand:
    """Broadcast a contribution that is smaller than the output (a scalar operand's)."""
    if isinstance(term, Zero) or term.type.shape == type.shape:
        return term
    if not term.type.shape:
        return b.broadcast(term, type.shape, ())
    return b.broadcast(term, type.shape, range(len(type.shape)))


for primitive, pushes in PUSH.items():
    tables.jvp.define(primitive, jvp_from_pushes(pushes))


# -- transposes of what is linear in all inputs together ------------------------------------------


def _transpose_sum(signs: tuple[int, ...]) -> tables.TransposeRule:
    def transpose_sum(
        b: Builder, eqn: Equation, cts: Operands, linear: Sequence[bool]
    ) -> Operands:
        return [
            tables.unbroadcast(b, cts[0] if sign > 0 else b.neg(cts[0]), x.type)
            if is_linear
            else Zero(x.type)
            for sign, x, is_linear in zip(signs, eqn.inputs, linear, strict=True)
        ]

    return transpose_sum


tables.transpose.define(e.neg, _transpose_sum((-1,)))
tables.transpose.define(e.add, _transpose_sum((1, 1)))
tables.transpose.define(e.add_any, _transpose_sum((1, 1)))
tables.transpose.define(e.sub, _transpose_sum((1, -1)))
