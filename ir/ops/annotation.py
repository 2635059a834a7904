"""What a program says to the compiler of a value or of a call, which changes no value."""

from __future__ import annotations

from typing import Any, Final

import numpy as np

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


def _infer_annotated(types: Types, params: dict[str, Any]) -> tuple[TensorType, ...]:
    graph: Graph = params["graph"]
    check_arguments("annotated", graph, types)
    _check_pairs("annotated", params["attributes"])
    return graph.output_types


annotated = define(
    "annotated",
    _infer_annotated,
    defaults={"graph": REQUIRED, "attributes": REQUIRED},
    has_regions=True,
)
"""What the graph computes, each of whose operations has these frontend attributes."""


# -- composites ----------------------------------------------------------------------------------


def _infer_composite(types: Types, params: dict[str, Any]) -> tuple[TensorType, ...]:
    graph: Graph = params["graph"]
    check_arguments(f"composite {params['name']}", graph, types)
    for pair in params["attributes"]:
        if not (isinstance(pair, tuple) and len(pair) == 2 and isinstance(pair[0], str)):
            raise TypeRuleError(f"attributes of a composite are (name, value), got {pair}")
    return graph.output_types


composite = define(
    "composite",
    _infer_composite,
    defaults={"graph": REQUIRED, "name": REQUIRED, "attributes": (), "version": 0},
    has_regions=True,
)
"""An operation that a compiler may know by name; the graph is what it computes.

attributes: (name, value) pairs, each value as `plain_attribute` makes it.
"""

_TAGS: Final = ("array", "dict", "tuple")


def plain_attribute(value: Any) -> Any:
    """A Python value as plain data: scalars, texts, dtypes, and tuples of these.

    Arrays, dictionaries, and tuples that begin like them are told apart by their first item.
    Raises TypeRuleError for any other value.
    """
    if value is None or isinstance(value, (bool, int, float, complex, str, np.dtype)):
        return value
    if isinstance(value, np.generic):
        return ("array", value.dtype, None, (value.item(),))
    if isinstance(value, np.ndarray):
        return ("array", value.dtype, value.shape, tuple(value.ravel().tolist()))
    if isinstance(value, dict):
        return ("dict", *((key, plain_attribute(item)) for key, item in value.items()))
    if isinstance(value, (list, tuple)):
        items = tuple(plain_attribute(item) for item in value)
        return ("tuple", *items) if items and items[0] in _TAGS else items
    raise TypeRuleError(f"an attribute of a composite can't be a {type(value).__name__}: {value!r}")


def attribute_value(plain: Any) -> Any:
    """The value of which `plain_attribute` made this; lists have become tuples."""
    if not isinstance(plain, tuple):
        return plain
    tag = plain[0] if plain and isinstance(plain[0], str) else None
    if tag == "array":
        _, dtype, shape, items = plain
        array = np.array(items, dtype)
        return array[0] if shape is None else array.reshape(shape)
    if tag == "dict":
        return {key: attribute_value(item) for key, item in plain[1:]}
    return tuple(attribute_value(item) for item in (plain[1:] if tag == "tuple" else plain))
