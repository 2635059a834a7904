"""Special functions: CHLO's where XLA has them all along, else the series that JAX writes out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import jax

from ...ir.graph import Equation
from ...ir.ops import special as ops
from ...ir.primitive import Primitive
from ...ir.types import TensorType
from ..context import Context, MlirValue
from ..tables import lower, nary, unary

Operands = Sequence[MlirValue]

UNARY: Final[dict[Primitive, str]] = {
    ops.erf: "chlo.erf",
    ops.digamma: "chlo.digamma",
    ops.bessel_i1e: "chlo.bessel_i1e",
}
NARY: Final[dict[Primitive, str]] = {ops.polygamma: "chlo.polygamma", ops.zeta: "chlo.zeta"}

for primitive, name in UNARY.items():
    lower.define(primitive, unary(name))
for primitive, name in NARY.items():
    lower.define(primitive, nary(name))


@lower.rule(
    ops.erfc,
    ops.erf_inv,
    ops.lgamma,
    ops.igamma,
    ops.igammac,
    ops.igamma_grad_a,
    ops.regularized_incomplete_beta,
    ops.bessel_i0e,
)
def lower_borrowed(ctx: Context, eqn: Equation, operands: Operands) -> Operands:
    """JAX repeats scalars itself, where it does so to its own result's last bit."""
    out = eqn.outputs[0].type
    shapes = [out.shape if x.type.shape else () for x in eqn.inputs]
    inputs = [TensorType(s, x.type.dtype) for s, x in zip(shapes, eqn.inputs, strict=True)]
    values = [
        ctx.spread((x,), (value,), shape)[0]
        for x, value, shape in zip(eqn.inputs, operands, shapes, strict=True)
    ]
    params = {name: value for name, value in eqn.params.items() if value is not None}
    return ctx.borrow(eqn.primitive.name, inputs, (out,), values, **params)


@dataclass(frozen=True)
class Function:
    """A function of jax.lax that is a primitive in some versions of JAX only."""

    name: str

    def bind(self, *operands: Any) -> Any:
        return getattr(jax.lax, self.name)(*operands)


@lower.rule(ops.random_gamma_grad)
def lower_random_gamma_grad(ctx: Context, eqn: Equation, operands: Operands) -> Operands:
    out = eqn.outputs[0].type
    values = ctx.spread(eqn.inputs, operands, out.shape)
    return ctx.borrow(Function("random_gamma_grad"), (out, out), (out,), values)
