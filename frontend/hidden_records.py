"""Operations of JAX's that stand for others, in jaxprs: functions with rules, or the others."""

from __future__ import annotations

from typing import Any

import jax

from ..ir.builder import Builder
from .hidden_rules import flat_told
from .importer import Params, records
from .jax_compat import escaped_tracer_error
from .trace import trace_flat


@records("call_hi_primitive")
def _record_expanded(b: Builder, inputs: tuple[Any, ...], params: Params) -> tuple[Any, ...]:
    called = params["_prim"]

    def expanded(*operands: Any) -> list[Any]:
        return jax.tree.leaves(called.expand(*jax.tree.unflatten(called.in_tree, operands)))

    function = flat_told(called) or expanded
    made = trace_flat(function, [x.type for x in inputs], name=type(called).__name__)
    if made.captured:
        raise escaped_tracer_error(made.captured[0])
    return tuple(b.inline(made.graph, inputs))
