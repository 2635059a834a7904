"""What is said to the compiler means nothing here."""

from __future__ import annotations

from typing import Any

from ..graph import Graph
from ..ops import annotation as ops
from . import evaluate, means


@means(ops.layout_constraint, ops.xla_metadata_value)
def identity(x: Any, **params: Any) -> Any:
    return x


@means(ops.xla_metadata_call, ops.annotated, ops.composite)
def call(*inputs: Any, graph: Graph, **params: Any) -> list[Any]:
    return evaluate(graph, inputs)
