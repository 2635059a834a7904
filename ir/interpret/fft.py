"""What Fourier transforms mean."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..ops.fft import fft
from ..types import TensorType
from . import means

TRANSFORMS = {
    "FFT": np.fft.fftn,
    "IFFT": np.fft.ifftn,
    "RFFT": np.fft.rfftn,
    "IRFFT": np.fft.irfftn,
}


@means(fft)
def _fft(
    x: np.ndarray[Any, Any], fft_type: str, fft_lengths: tuple[int, ...]
) -> np.ndarray[Any, Any]:
    axes = tuple(range(x.ndim - len(fft_lengths), x.ndim))
    if not x.size:
        params = {"fft_type": fft_type, "fft_lengths": fft_lengths}
        type: Any = fft.infer((TensorType(x.shape, x.dtype),), params)
        return np.zeros(type.shape, type.dtype)
    transform: Any = TRANSFORMS[fft_type]
    result: np.ndarray[Any, Any] = transform(x, s=fft_lengths, axes=axes)
    return result
