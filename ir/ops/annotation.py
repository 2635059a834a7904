"""What a program says to the compiler of a value or of a call, which changes no value."""

from __future__ import annotations

from typing import Any

from ..errors import TypeRuleError
from ..graph import Graph
from ..primitive import REQUIRED, Types, define
from ..types import TensorType
from .call import check_arguments

Pairs = tuple[tuple[str, str], ...]


def _infer_layout_constraint(types: Types, params: dict[str, Any]) -> TensorType:
    (x,) = types
    order = params["major_to_minor"]
    if sorted(order) != list(range(len(x.shape))):
        raise TypeRuleError(f"layout_constraint orders the axes of {x} by {order}")
    return x


layout_constraint = define(
    "layout_constraint",
    _infer_layout_constraint,
    defaults={"major_to_minor": REQUIRED, "tiling": None, "sub_byte_element_size_in_bits": 0},
    linear_in=(0,),
    jointly_linear=True,
)
"""The operand, laid out in memory with its axes in this order, the slowest first."""


def _check_pairs(name: str, pairs: Any) -> None:
    if any(not (isinstance(k, str) and isinstance(v, str)) for k, v in pairs):
        raise TypeRuleError(f"{name} takes pairs of texts, got {pairs}")


def _infer_metadata_value(types: Types, params: dict[str, Any]) -> TensorType:
    _check_pairs("xla_metadata_value", params["xla_metadata_kvs"])
    return types[0]


xla_metadata_value = define(
    "xla_metadata_value",
    _infer_metadata_value,
    defaults={"xla_metadata_kvs": REQUIRED},
    elementwise=True,
    linear_in=(0,),
    jointly_linear=True,
)
"""The operand; the operation that makes it gets these frontend attributes."""


def _infer_metadata_call(types: Types, params: dict[str, Any]) -> tuple[TensorType, ...]:
    graph: Graph = params["graph"]
    check_arguments("xla_metadata_call", graph, types)
    _check_pairs("xla_metadata_call", params["xla_metadata"])
    if params["ad_metadata"] != "same":
        _check_pairs("xla_metadata_call", params["ad_metadata"])
    return graph.output_types


xla_metadata_call = define(
    "xla_metadata_call",
    _infer_metadata_call,
    defaults={"graph": REQUIRED, "xla_metadata": REQUIRED, "ad_metadata": "same"},
    has_regions=True,
)
"""A call with frontend attributes. Those of its linear half and transpose are `ad_metadata`."""
