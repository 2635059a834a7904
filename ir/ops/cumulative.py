"""Cumulative operations: element i combines the elements 0..i along an axis (or i..n, reversed)."""

from __future__ import annotations

from typing import Any

from ..errors import TypeRuleError
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


def _infer_recurrence(types: Types, params: dict[str, Any]) -> TensorType:
    a, t = types
    accept("linear_recurrence", t.dtype, NUMBER)
    check_axes("linear_recurrence", (params["axis"],), len(t.shape))
    if (a.shape, a.dtype) != (t.shape, t.dtype):
        raise TypeRuleError(f"linear_recurrence takes factors and terms of one type, not {a}, {t}")
    return t if a.weak else t.strong


cumsum = _cumulative("cumsum", linear_in=(0,), jointly_linear=True)
cumprod = _cumulative("cumprod")
cummax = _cumulative("cummax")
cummin = _cumulative("cummin")
cumlogsumexp = _cumulative("cumlogsumexp")

linear_recurrence = define(
    "linear_recurrence",
    _infer_recurrence,
    family="cumulative",
    defaults={"axis": REQUIRED, "reverse": False},
    linear_in=(1,),
)
"""`y = linear_recurrence a t` has y_i = a_i y_(i-1) + t_i along an axis, y_0 = t_0; reversed, it
starts from the last. Tangents of products, and of what is like them, obey one."""
