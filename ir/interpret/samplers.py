"""Samples of distributions, as JAX draws them from random bits."""

from __future__ import annotations

from typing import Any, Final

import ml_dtypes
import numpy as np

from .generators import Generator

Array = np.ndarray[Any, Any]

SQUEEZE: Final = 0.0331
"""Of Marsaglia and Tsang's quick test."""


def uniform(generator: Generator, key: Array, dtype: Any, low: Any = 0, high: Any = 1) -> Any:
    """A number from [low, high): random bits are the fraction of a number from [1, 2)."""
    info = ml_dtypes.finfo(dtype)
    width = 8 if info.nmant < 8 else info.bits
    unsigned = np.dtype(f"uint{info.bits}")
    bits = generator.bits(key, width, ()).astype(f"uint{width}").astype(unsigned)
    fraction = bits >> unsigned.type(width - info.nmant)
    one = np.ones((), dtype)
    unit = (fraction | one.view(unsigned)).view(dtype) - one
    low, high = np.asarray(low, dtype), np.asarray(high, dtype)
    return np.maximum(low, (unit * (high - low) + low).astype(dtype))


def normal(generator: Generator, key: Array, dtype: Any) -> Any:
    """By the inverse of the distribution function."""
    import scipy.special

    low = np.nextafter(np.asarray(-1, dtype), np.asarray(0, dtype))
    u = uniform(generator, key, dtype, low)
    inverse = scipy.special.erfinv(u.astype(np.float64)).astype(dtype)
    return np.asarray(np.sqrt(2), dtype) * inverse


def gamma(generator: Generator, key: Array, alpha: Any, log_space: bool) -> Any:
    """Marsaglia, Tsang: A simple method for generating gamma variables (2000).

    d v^3 with d = alpha - 1/3, v = 1 + x / sqrt(9 d), x normal, is accepted by a test of a uniform
    u. For alpha < 1: a sample for alpha + 1, times another uniform number to the power 1 / alpha.
    """
    dtype = alpha.dtype
    is_small = not alpha >= 1
    d = (alpha + 1 if is_small else alpha) - np.asarray(1 / 3, dtype)
    c = np.asarray(1 / 3, dtype) / np.sqrt(d)
    key, boost_key = generator.split(key, (2,))
    while True:
        key, x_key, u_key = generator.split(key, (3,))
        cube, x = _positive_cube(generator, x_key, c, dtype)
        u = uniform(generator, u_key, dtype)
        square = x * x
        if u < 1 - dtype.type(SQUEEZE) * (square * square):
            break
        if not np.log(u) >= square * dtype.type(0.5) + d * ((1 - cube) + np.log(cube)):
            break
    u = uniform(generator, boost_key, dtype)
    if log_space:
        boost = np.log1p(-u) / alpha if is_small and u != 0 else dtype.type(0)
        return np.log(d) + np.log(cube) + boost
    return d * cube * ((1 - u) ** (1 / alpha) if is_small else dtype.type(1))


def _positive_cube(generator: Generator, key: Array, c: Any, dtype: Any) -> tuple[Any, Any]:
    """v^3 and x for the first x that makes v = 1 + c x positive."""
    while True:
        key, x_key = generator.split(key, (2,))
        x = normal(generator, x_key, dtype)
        v = 1 + c * x
        if v > 0:
            return v * v * v, x
