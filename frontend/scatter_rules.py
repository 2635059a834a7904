"""Scatters, whose function of old and new elements JAX keeps as a jaxpr."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from jax import lax

from ..ir.builder import Builder
from ..ir.graph import Equation, Graph
from ..ir.ops.indexing import scatter, scatter_apply
from .export import eval_graph
from .export_rules import binds, with_numbers
from .import_rules import with_dimension_numbers
from .importer import Params, graph_of, records
from .window_rules import closed


@records("scatter")
def _record_scatter(b: Builder, inputs: tuple[Any, ...], params: Params) -> tuple[Any, ...]:
    """A scatter that replaces has no jaxpr; one that has applies it to the old elements."""
    converted = with_dimension_numbers(params)
    if params["update_jaxpr"] is None:
        return b.emit(scatter, *inputs, **converted)
    made = graph_of(closed(params["update_jaxpr"], params["update_consts"]))
    graph = Graph(made.inputs[:1], made.equations, made.outputs, made.name)
    return b.emit(scatter_apply, *inputs, graph=graph, **converted)


@binds("scatter_apply")
def _bind_scatter_apply(eqn: Equation, arrays: Sequence[Any]) -> Sequence[Any]:
    params, graph = dict(eqn.params), eqn.params["graph"]
    del params["graph"]
    x, indices, _ = arrays
    kept = with_numbers(lax.ScatterDimensionNumbers, params)
    numbers = kept.pop("dimension_numbers")

    def function(value: Any) -> Any:
        return eval_graph(graph, [value])[0]

    shape = eqn.inputs[2].type.shape
    return [lax.scatter_apply(x, indices, function, numbers, update_shape=shape, **kept)]
