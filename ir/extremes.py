"""The identities of maxima and minima: what is below and above all numbers of a dtype."""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np

from .types import Dtype, dtype_category, real_dtype


def smallest(dtype: Dtype) -> Any:
    """Below every number: -inf, or the least that the dtype has."""
    return _bound(dtype, -np.inf, "min")


def largest(dtype: Dtype) -> Any:
    """Above every number: inf, or the greatest that the dtype has."""
    return _bound(dtype, np.inf, "max")


def _bound(dtype: Dtype, infinity: float, field: str) -> Any:
    category = dtype_category(dtype)
    if category == "bool":
        return field == "max"
    if category in ("int", "uint"):
        return getattr(ml_dtypes.iinfo(dtype), field)
    info = ml_dtypes.finfo(real_dtype(dtype))
    has_infinity = bool(np.isinf(np.asarray(infinity).astype(info.dtype)))
    return infinity if has_infinity else getattr(info, field)
