"""A function together with the rule that batches it: jax.custom_batching.custom_vmap."""

from __future__ import annotations

from typing import Any

from ..graph import Graph
from ..primitive import REQUIRED, Types, define
from ..types import TensorType
from .call import check_arguments, function_alone


def _infer_custom_vmap(types: Types, params: dict[str, Any]) -> tuple[TensorType, ...]:
    graph: Graph = params["graph"]
    check_arguments("custom_vmap_call", graph, types)
    return graph.output_types


custom_vmap_call = define(
    "custom_vmap_call",
    _infer_custom_vmap,
    defaults={"graph": REQUIRED, "rule": REQUIRED},
    has_regions=True,
    user_rules=True,
    runs=function_alone,
    family="call",
)
"""`custom_vmap_call[graph, rule] x -> y`: a function with a batching rule of its own, a thunk:

    rule(batched, size) -> (graph, out_batched)
        graph: inputs -> outputs, with a leading batch axis where the flags say so
"""
