"""Calls: a graph applied to operands. A graph called in several places is one shared object."""

from __future__ import annotations

from typing import Any

from ..errors import TypeRuleError
from ..graph import Graph
from ..primitive import REQUIRED, Types, define
from ..types import TensorType


def check_arguments(name: str, graph: Graph, types: Types) -> None:
    """Raise TypeRuleError unless the types fit the graph's inputs, weakness aside."""
    if len(types) != len(graph.inputs):
        raise TypeRuleError(
            f"{name} of @{graph.name} takes {len(graph.inputs)} operands, got {len(types)}"
        )
    for i, (got, value) in enumerate(zip(types, graph.inputs, strict=True)):
        if got.strong is not value.type.strong:
            raise TypeRuleError(
                f"operand {i} of {name} @{graph.name} has type {got}, its input is {value.type}"
            )


def _infer_call(types: Types, params: dict[str, Any]) -> tuple[TensorType, ...]:
    graph: Graph = params["graph"]
    check_arguments("call", graph, types)
    return graph.output_types


call = define("call", _infer_call, defaults={"graph": REQUIRED}, has_regions=True)
"""`call[graph=@f] x y`: what `jax.jit` inside a traced function becomes."""


def _infer_constant(types: Types, params: dict[str, Any]) -> TensorType:
    kind: TensorType = params["value"].type
    return kind


constant = define("constant", _infer_constant, defaults={"value": REQUIRED})
"""`constant[value=$w]`: a captured array of the module's table, by name."""
