"""Fourier transforms."""

from __future__ import annotations

from collections.abc import Sequence

import jax

from ...ir.graph import Equation
from ...ir.ops import fft as ops
from ..context import Context, MlirValue
from ..tables import lower


@lower.rule(ops.fft)
def lower_fft(ctx: Context, eqn: Equation, operands: Sequence[MlirValue]) -> Sequence[MlirValue]:
    """Which transforms a platform does itself, and which by others, is JAX's to know."""
    kind = jax.lax.FftType[eqn.params["fft_type"]]
    lengths = eqn.params["fft_lengths"]
    types = [x.type for x in eqn.inputs], [v.type for v in eqn.outputs]
    return ctx.borrow("fft", *types, operands, fft_type=kind, fft_lengths=lengths)
