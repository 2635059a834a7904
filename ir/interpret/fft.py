"""What Fourier transforms mean."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..ops.fft import fft
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
    if not x.size or not all(fft_lengths):
        shape = x.shape[: axes[0]] + fft_lengths
        if fft_type == "RFFT":
            shape = (*shape[:-1], fft_lengths[-1] // 2 + 1)
        return np.zeros(shape, x.dtype)
    transform: Any = TRANSFORMS[fft_type]
    result: np.ndarray[Any, Any] = transform(x, s=fft_lengths, axes=axes)
    return result
