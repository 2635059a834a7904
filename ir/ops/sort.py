"""Sorting along an axis, and the largest elements along one."""

from __future__ import annotations

import math
from typing import Any, Final

from ..errors import TypeRuleError
from ..primitive import REQUIRED, Types, define
from ..types import INT32, TensorType, dtype_category, is_complex
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

# -- approximate selection -------------------------------------------------------------------------

LANES: Final = 128
CHUNK: Final = 1024
"""How many elements a TPU compares at once: of a matrix's row, and of a vector."""


def approximate_size(n: int, rank: int, k: int, recall: float, override: int = -1) -> int:
    """How many candidates a selection of k among n leaves that has this recall, if they are not
    ordered further. Each of m bins keeps its best element, which is one of the k best of all with
    probability (1 - 1/m)^(k - 1) >= recall, so that m >= (1 - k) / log(recall) (Chern et al.,
    "TPU-KNN", 2022, section 5)."""
    tile = CHUNK if rank == 1 else LANES
    tiles = -(-n // tile)
    if n <= tile:
        return n
    if k == 1:
        return tile
    wanted = n if override < 0 else override
    bins = wanted if recall >= 1 else min(max(int((1.0 - k) / math.log(recall)), tile), wanted)
    reduction = (wanted // bins).bit_length() - 1
    if reduction <= 0:
        return n
    most = (n // tile - 1).bit_length()  # until one tile is left
    return -(-tiles // (1 << min(reduction, most))) * tile


def _infer_approx_top_k(types: Types, params: Params) -> Types:
    x, k, axis = types[0], params["k"], params["reduction_dimension"]
    check_axes("approx_top_k", (axis,), len(x.shape))
    if dtype_category(x.dtype) != "float":
        raise TypeRuleError(f"approx_top_k selects among floats, not {x}")
    if not 0 < k <= x.shape[axis]:
        raise TypeRuleError(f"approx_top_k takes {k} elements along axis {axis} of {x}")
    if not params["aggregate_to_topk"]:
        recall, override = params["recall_target"], params["reduction_input_size_override"]
        k = approximate_size(x.shape[axis], len(x.shape), k, recall, override)
    shape = (*x.shape[:axis], k, *x.shape[axis + 1 :])
    return x.with_shape(shape), TensorType(shape, INT32, x.weak)


approx_top_k = define(
    "approx_top_k",
    _infer_approx_top_k,
    defaults={
        "k": REQUIRED,
        "reduction_dimension": REQUIRED,
        "recall_target": 0.95,
        "is_max_k": True,
        "reduction_input_size_override": -1,
        "aggregate_to_topk": True,
    },
    float_params=True,
)
"""Most of the k largest elements along an axis (or smallest, without is_max_k), and their
positions: on a TPU each of them is found with probability recall_target, elsewhere all are. Without
aggregate_to_topk, more candidates, not ordered."""
