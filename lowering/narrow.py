"""Integers narrower than a byte, in whole bytes where XLA for CPUs moves them wrongly, or dies."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..ir.types import Dtype, TensorType, dtype_category
from .context import Context, MlirValue

BYTES: dict[str, Dtype] = {"int": np.dtype(np.int8), "uint": np.dtype(np.uint8)}


def in_bytes(type: TensorType) -> TensorType:
    """The type of whole bytes that holds the same integers; others as they are."""
    category = dtype_category(type.dtype)
    if category in BYTES and type.dtype.kind not in "iu":  # numpy's own are whole bytes
        return type.with_dtype(BYTES[category])
    return type


def converted(
    ctx: Context,
    values: Sequence[MlirValue],
    types: Sequence[TensorType],
    wanted: Sequence[TensorType],
) -> list[MlirValue]:
    """Values of these types as those of the types wanted."""
    return [
        x if old.dtype == new.dtype else ctx.op("stablehlo.convert", new, x)
        for x, old, new in zip(values, types, wanted, strict=True)
    ]
