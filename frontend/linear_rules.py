"""Linear functions with transposes of their own: jax.custom_derivatives.linear_call."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from jax.custom_derivatives import linear_call as jax_linear_call

from ..ir.builder import Builder
from ..ir.errors import UsageError
from ..ir.graph import Equation, Graph, Thunk, Value
from ..ir.ops.linear_call import linear_call
from .captures import constant_atom
from .export import eval_graph
from .export_rules import binds
from .graph_trace import GraphTracer
from .importer import Params, graph_of, records
from .jax_compat import Tracer


@records("linear_call")
def _record_linear_call(b: Builder, inputs: tuple[Any, ...], params: Params) -> tuple[Any, ...]:
    """Traced at once, with its transpose: what either closes over becomes a residual of both.

    A transpose that cannot be traced raises when it is asked for, as in JAX.
    """
    n_consts = params["num_callee_consts"]
    consts, rest = inputs[:n_consts], inputs[n_consts:]
    graph, n_residuals = graph_of(params["callee"]), params["num_res"]
    transpose: Graph | Thunk
    more: list[Any] = []
    try:
        jaxpr, closed_over = params["transpose_thunk"]()
        more = [_atom(b, x) for x in closed_over]
        transpose = _with_inputs(graph_of(jaxpr), 0, [x.type for x in consts])
    except Exception as error:  # whatever the user's function raises
        transpose = Thunk(f"{graph.name}_transpose", _raising(error))
    graph = _with_inputs(graph, n_consts, [x.type for x in more])
    return b.emit(
        linear_call,
        *(*consts, *more, *rest),
        graph=graph,
        transpose=transpose,
        num_residuals=n_consts + len(more) + n_residuals,
    )


def _atom(b: Builder, x: Any) -> Any:
    """The atom of a value that the transpose closes over."""
    if not isinstance(x, Tracer):
        return constant_atom(b, x)
    if isinstance(x, GraphTracer) and x._trace.builder is b:
        return x.atom
    raise UsageError(
        "the transpose of a linear_call closes over a value of an enclosing traced function",
        hint="pass the value as one of residual_args",
    )


def _with_inputs(graph: Graph, at: int, types: Sequence[Any]) -> Graph:
    """The graph with inputs that it does not read."""
    if not types:
        return graph
    more = [Value(t) for t in types]
    inputs = (*graph.inputs[:at], *more, *graph.inputs[at:])
    return Graph(inputs, graph.equations, graph.outputs, graph.name)


def _raising(error: Exception) -> Any:
    def make() -> Graph:
        raise error

    return make


@binds("linear_call")
def _bind_linear_call(eqn: Equation, arrays: Sequence[Any]) -> Sequence[Any]:
    p, n = eqn.params, eqn.params["num_residuals"]

    def fun(residuals: Sequence[Any], x: Sequence[Any]) -> tuple[Any, ...]:
        return tuple(eval_graph(p["graph"], (*residuals, *x)))

    def fun_transpose(residuals: Sequence[Any], cts: Sequence[Any]) -> tuple[Any, ...]:
        made = p["transpose"]
        graph = made if isinstance(made, Graph) else made()
        return tuple(eval_graph(graph, (*residuals, *cts)))

    outputs: tuple[Any, ...] = jax_linear_call(
        fun, fun_transpose, tuple(arrays[:n]), tuple(arrays[n:])
    )
    return outputs
