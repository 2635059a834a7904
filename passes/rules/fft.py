"""How Fourier transforms transform.

They are linear. FFT and IFFT are symmetric matrices, so each is its own transpose; RFFT and IRFFT
transpose into each other, but for the weights of the entries that stand for two.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from ...ir.builder import Builder, Operand
from ...ir.graph import Equation
from ...ir.ops.fft import fft
from ...ir.types import TensorType
from .. import tables
from ..tables import Operands, unary_transpose


@unary_transpose(fft)
def transpose_fft(b: Builder, eqn: Equation, ct: Operand) -> Operand:
    """RFFT is Y = R x, IRFFT x = C Y. Entries 0 and n / 2 stand for themselves, others for a pair
    of conjugates: with weights w of 1 and 2, and N the size of the transform,

        C Y = Re(R^T conj(w o Y)) / N,  so  R^T y = C (conj(y) o (N / w))
                                       and  C^T x = conj((w / N) o R x)

    in JAX's convention: cotangents of complex values pair with them without conjugation.
    """
    ct = b.convert(ct, ct.type.dtype)
    kind, lengths = eqn.params["fft_type"], eqn.params["fft_lengths"]
    size = math.prod(lengths)
    if kind == "RFFT":
        y = b.conj(ct, input_dtype=ct.type.dtype)
        halved = b.mul(y, weights(b, ct.type, lengths[-1], single=size, pair=size / 2))
        return b.fft(halved, fft_type="IRFFT", fft_lengths=lengths)
    if kind == "IRFFT":
        y = b.fft(ct, fft_type="RFFT", fft_lengths=lengths)
        doubled = b.mul(weights(b, y.type, lengths[-1], single=1 / size, pair=2 / size), y)
        return b.conj(doubled, input_dtype=y.type.dtype)
    return b.fft(ct, **eqn.params)


def weights(b: Builder, type: TensorType, n: int, single: float, pair: float) -> Operand:
    """Those of half a spectrum along the last axis: `single` for entry 0 and, if n is even,
    for the last, entry n / 2; `pair` for all between, which stand for two each."""
    alone = b.full(TensorType((1,), type.dtype), single)
    pairs = b.full(TensorType(((n - 1) // 2,), type.dtype), pair)
    row = b.concatenate(alone, pairs, *([alone] if n % 2 == 0 else []), dimension=0)
    return b.broadcast(row, type.shape, (len(type.shape) - 1,))


@tables.batch.rule(fft)
def batch_fft(
    b: Builder, eqn: Equation, inputs: Operands, batched: Sequence[bool], size: int
) -> tuple[Operands, Sequence[bool]]:
    return b.emit(fft, *inputs, **eqn.params), (True,)
