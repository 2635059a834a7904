"""JAX primitives whose parameters are not plain data, or that are called otherwise here.

All others become the primitive of the same name with the same parameters (see importer).
"""

from __future__ import annotations

from typing import Any

from ..ir.builder import Builder
from ..ir.errors import UsageError
from ..ir.ops.call import call
from .importer import Params, converts, graph_of, plain, records
from .jax_compat import has_shardings, is_inlined

# -- calls -----------------------------------------------------------------------------------------


@records("jit")
def _record_jit(b: Builder, inputs: tuple[Any, ...], params: Params) -> tuple[Any, ...]:
    """A jitted function: a call, or its body where it asks to be inlined."""
    if has_shardings(params):
        raise UsageError(f"jit of {params['name']} with shardings or layouts is not supported")
    graph = graph_of(params["jaxpr"])
    if is_inlined(params):
        return tuple(b.inline(graph, inputs))
    return b.emit(call, *inputs, graph=graph)


@records("closed_call", "core_call", "call")
def _record_call(b: Builder, inputs: tuple[Any, ...], params: Params) -> tuple[Any, ...]:
    return b.emit(call, *inputs, graph=graph_of(params["call_jaxpr"]))
