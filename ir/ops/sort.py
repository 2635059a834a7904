"""Sorting along an axis, and the largest elements along one."""

from __future__ import annotations

from typing import Any

from ..errors import TypeRuleError
from ..primitive import REQUIRED, Types, define
from ..types import INT32, TensorType, is_complex
from .shape import check_axes

Params = dict[str, Any]


def _infer_sort(types: Types, params: Params) -> Types:
    if not types:
        raise TypeRuleError("sort takes at least one operand")
    if any(t.shape != types[0].shape for t in types):
        raise TypeRuleError(f"sort takes operands of one shape; got {[t.shape for t in types]}")
    check_axes("sort", (params["dimension"],), len(types[0].shape))
    if not 1 <= params["num_keys"] <= len(types):
        raise TypeRuleError(f"sort of {len(types)} operands by {params['num_keys']} of them")
    return types


def _infer_top_k(types: Types, params: Params) -> Types:
    x, k, axis = types[0], params["k"], params["axis"]
    check_axes("top_k", (axis,), len(x.shape))
    if is_complex(x.dtype):
        raise TypeRuleError("top_k needs an order, which complex numbers do not have")
    if not 0 <= k <= x.shape[axis]:
        raise TypeRuleError(f"top_k takes {k} elements along axis {axis} of {x}")
    shape = (*x.shape[:axis], k, *x.shape[axis + 1 :])
    return x.with_shape(shape), TensorType(shape, INT32, x.weak)


sort = define(
    "sort",
    _infer_sort,
    defaults={"dimension": REQUIRED, "is_stable": True, "num_keys": 1},
)
"""Order all operands along an axis by the first `num_keys` of them, compared in turn.

-0.0 equals 0.0; NaNs are equal and largest; complex numbers compare by real, then imaginary part.
"""

top_k = define(
    "top_k",
    _infer_top_k,
    defaults={"k": REQUIRED, "axis": REQUIRED, "is_stable": True},
)
"""The k largest elements along an axis, largest first, and their positions."""
