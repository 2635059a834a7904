"""Forward rules that need not run where no derivative is asked for: `optimize_remat`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from jax.core import Tracer

from ..ir.builder import Builder
from ..ir.graph import Equation, Graph
from ..ir.ops.forward_call import forward_call
from .export import closed_jaxpr
from .export_rules import binds
from .importer import Params, body_graph, graph_of, records
from .jax_compat import ClosedJaxpr
from .jax_primitives import jax_primitives


@records("remat_opt")
def _record_remat_opt(b: Builder, inputs: tuple[Any, ...], params: Params) -> tuple[Any, ...]:
    """The rule and its function; the rule alone if the function closes over what is traced."""
    graph, n_consts = body_graph(params), params["num_consts"]
    jaxpr, consts = params["fun_jaxpr_thunk"]()
    if any(isinstance(x, Tracer) for x in consts):
        return tuple(b.inline(graph, inputs))
    function = graph_of(ClosedJaxpr(jaxpr, consts))
    own = (*graph.inputs[:n_consts], *function.inputs)  # the rule's constants go unread
    function = Graph(own, function.equations, function.outputs, function.name)
    rest = {"function": function, "num_residuals": params["num_res"]}
    return b.emit(forward_call, *inputs, graph=graph, **rest)


@binds("forward_call")
def _bind_forward_call(eqn: Equation, arrays: Sequence[Any]) -> Sequence[Any]:
    p = eqn.params
    function = closed_jaxpr(p["function"])
    outputs: Sequence[Any] = jax_primitives()["remat_opt"].bind(
        *arrays,
        num_consts=0,
        num_res=p["num_residuals"],
        fwd_jaxpr=closed_jaxpr(p["graph"]),
        fun_jaxpr_thunk=lambda: (function.jaxpr, function.consts),
    )
    return outputs
