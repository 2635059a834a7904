"""Sliding windows, whose combiners and selections JAX keeps as jaxprs and primitives."""

from __future__ import annotations

from typing import Any, Final

from ..ir.graph import Graph
from .export import closed_jaxpr
from .export_rules import converts as exports
from .importer import Params, graph_of, plain
from .importer import converts as imports
from .jax_compat import ClosedJaxpr
from .jax_primitives import jax_primitives

GRAPHS: Final = {
    "reduce_window": {"graph": ("jaxpr", "consts")},
    "select_and_scatter": {
        "select_graph": ("select_jaxpr", "select_consts"),
        "scatter_graph": ("scatter_jaxpr", "scatter_consts"),
    },
}
"""Our graph parameters, and the two parameters that each is to JAX."""


def closed(jaxpr: Any, consts: Any) -> Any:
    """Jaxprs hold their constants themselves since jax 0.11."""
    if hasattr(jaxpr, "with_consts"):
        return jaxpr.with_consts(consts)
    return ClosedJaxpr(jaxpr, consts)


def _enter_graphs(name: str) -> None:
    names = GRAPHS[name]
    theirs = {key for pair in names.values() for key in pair}

    @imports(name)
    def import_graphs(params: Params) -> dict[str, Any]:
        graphs = {
            ours: graph_of(closed(params[jaxpr], params[consts]))
            for ours, (jaxpr, consts) in names.items()
        }
        return {**graphs, **{k: plain(v) for k, v in params.items() if k not in theirs}}

    @exports(name)
    def export_graphs(params: dict[str, Any]) -> dict[str, Any]:
        converted: dict[str, Any] = {}
        for key, value in params.items():
            if isinstance(value, Graph):
                closed = closed_jaxpr(value)
                jaxpr, consts = names[key]
                converted |= {jaxpr: closed.jaxpr, consts: tuple(closed.consts)}
            else:
                converted[key] = value
        return converted


for _name in GRAPHS:
    _enter_graphs(_name)


@imports("select_and_gather_add", "select_and_scatter_add")
def _import_selection(params: Params) -> dict[str, Any]:
    plain_params = {k: plain(v) for k, v in params.items() if k != "select_prim"}
    return {**plain_params, "select_prim": params["select_prim"].name}


@exports("select_and_gather_add", "select_and_scatter_add")
def _export_selection(params: dict[str, Any]) -> dict[str, Any]:
    return {**params, "select_prim": jax_primitives()[params["select_prim"]]}
