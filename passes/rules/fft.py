"""How Fourier transforms transform.

They are linear. FFT and IFFT are symmetric matrices, so each is its own transpose; RFFT and IRFFT
transpose into each other, but for the weights of the entries that stand for two.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from ...ir.builder import Builder, Operand
from ...ir.graph import Equation
from ...ir.ops.fft import fft
from ...ir.types import INT32, TensorType
from .. import tables
from ..tables import Operands, unary_transpose


@unary_transpose(fft)
def transpose_fft(b: Builder, eqn: Equation, ct: Operand) -> Operand:
    """RFFT is Y = R x, IRFFT x = C Y. Entries 0 and n / 2 stand for themselves, others for a pair
    of conjugates: with weights w of 1 and 2, and N the size of the transform,

        C Y = Re(R^T conj(w o Y)) / N,  so  R^T y = N C (conj(y) / w)
                                       and  C^T x = conj(w o R x) / N

    in JAX's convention: cotangents of complex values pair with them without conjugation.
    """
    ct = b.convert(ct, ct.type.dtype)
    kind, lengths = eqn.params["fft_type"], eqn.params["fft_lengths"]
    size = math.prod(lengths)
    if kind == "RFFT":
        halved = b.div(b.conj(ct, input_dtype=ct.type.dtype), weights(b, ct.type, lengths[-1]))
        x = b.fft(halved, fft_type="IRFFT", fft_lengths=lengths)
        return b.mul(x, b.literal(size, x.type))
    if kind == "IRFFT":
        y = b.fft(ct, fft_type="RFFT", fft_lengths=lengths)
        scaled = b.mul(b.mul(weights(b, y.type, lengths[-1]), b.literal(1 / size, y.type)), y)
        return b.conj(scaled, input_dtype=y.type.dtype)
    return b.fft(ct, **eqn.params)


def weights(b: Builder, type: TensorType, n: int) -> Any:
    """1 for entry 0 and, if there is one, entry n / 2 (2 k modulo n is 0 for both), else 2."""
    position = b.iota(dtype=INT32, shape=type.shape, dimension=len(type.shape) - 1)
    scalar = TensorType((), INT32)
    doubled = b.mul(position, b.literal(2, scalar))
    is_single = b.eq(b.rem(doubled, b.literal(n, scalar)), b.literal(0, scalar))
    return b.select_n(is_single, b.full(type, 2), b.full(type, 1))


@tables.batch.rule(fft)
def batch_fft(
    b: Builder, eqn: Equation, inputs: Operands, batched: Sequence[bool], size: int
) -> tuple[Operands, Sequence[bool]]:
    return b.emit(fft, *inputs, **eqn.params), (True,)
