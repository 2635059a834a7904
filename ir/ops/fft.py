"""Fourier transforms."""

from __future__ import annotations

from typing import Any, Final

from ..errors import TypeRuleError
from ..primitive import REQUIRED, Types, define
from ..types import TensorType, complex_dtype, dtype_name, real_dtype

FFT_TYPES: Final = ("FFT", "IFFT", "RFFT", "IRFFT")


def _infer_fft(types: Types, params: dict[str, Any]) -> TensorType:
    x, kind, lengths = types[0], params["fft_type"], params["fft_lengths"]
    if kind not in FFT_TYPES:
        raise TypeRuleError(f"fft has no type {kind!r}", hint=f"types: {', '.join(FFT_TYPES)}")
    if not 1 <= len(lengths) <= len(x.shape):
        raise TypeRuleError(f"fft of {x} along {len(lengths)} axes")
    takes = ("float32", "float64") if kind == "RFFT" else ("complex64", "complex128")
    if x.dtype.name not in takes:
        raise TypeRuleError(
            f"fft of type {kind} takes {' or '.join(takes)}, not {dtype_name(x.dtype)}"
        )
    batch, axes = x.shape[: -len(lengths)], x.shape[-len(lengths) :]
    half = (*lengths[:-1], lengths[-1] // 2 + 1)
    fits = axes[:-1] == lengths[:-1] if kind == "IRFFT" else axes == lengths
    if not fits:
        raise TypeRuleError(f"fft of lengths {lengths} does not fit the last axes of {x}")
    if kind == "RFFT":
        return TensorType((*batch, *half), complex_dtype(x.dtype), x.weak)
    if kind == "IRFFT":
        return TensorType((*batch, *lengths), real_dtype(x.dtype), x.weak)
    return x


fft = define(
    "fft",
    _infer_fft,
    defaults={"fft_type": REQUIRED, "fft_lengths": REQUIRED},
    linear_in=(0,),
    jointly_linear=True,
)
"""Along the last axes, X[k] = sum over j of x[j] exp(-2 pi i (j0 k0 / n0 + j1 k1 / n1 + ...)).

    FFT    as said                          IFFT    its inverse: i for -i, divided by the size
    RFFT   of real x: the first n // 2 + 1  IRFFT   the inverse of RFFT: real, of length n
           entries of the last axis

IRFFT reads as many entries of its last axis as RFFT makes: others are cut off, missing ones are 0.
"""
