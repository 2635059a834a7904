"""Cumulative operations: element i combines the elements 0..i along an axis (or i..n, reversed)."""

from __future__ import annotations

from typing import Any

from ..primitive import REQUIRED, Primitive, Types, define
from ..types import TensorType
from .operands import NUMBER, accept
from .shape import check_axes


def _cumulative(name: str, **fields: Any) -> Primitive:
    def infer(types: Types, params: dict[str, Any]) -> TensorType:
        accept(name, types[0].dtype, NUMBER)
        check_axes(name, (params["axis"],), len(types[0].shape))
        return types[0]

    defaults = {"axis": REQUIRED, "reverse": False}
    return define(name, infer, family="cumulative", defaults=defaults, **fields)


cumsum = _cumulative("cumsum", linear_in=(0,), jointly_linear=True)
cumprod = _cumulative("cumprod")
cummax = _cumulative("cummax")
cummin = _cumulative("cummin")
cumlogsumexp = _cumulative("cumlogsumexp")
