"""Functions with batching rules of their own: jax.custom_batching.custom_vmap."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
from jax.custom_batching import custom_vmap

from ..ir.builder import Builder
from ..ir.errors import PassError
from ..ir.graph import Equation, Graph, Thunk
from ..ir.ops.call import Flags
from ..ir.ops.custom_vmap import custom_vmap_call
from .export import eval_graph
from .export_rules import binds
from .importer import Params, graph_of, records
from .trace import trace_flat


@records("custom_vmap_call")
def _record_custom_vmap(b: Builder, inputs: tuple[Any, ...], params: Params) -> tuple[Any, ...]:
    graph = graph_of(params["call"])
    rule = _Rule(graph, params)
    return b.emit(custom_vmap_call, *inputs, graph=graph, rule=Thunk(rule.name, rule))


class _Rule:
    """The user's rule, traced for operands of which some have a batch axis."""

    def __init__(self, graph: Graph, params: Params) -> None:
        self.types, self.n_outputs = graph.input_types, len(graph.outputs)
        self.rule, self.in_tree, self.out_tree = (
            params[name] for name in ("rule", "in_tree", "out_tree")
        )
        self.name = str(getattr(self.rule, "__name__", f"{graph.name}_rule"))

    def __call__(self, batched: Flags, size: int) -> tuple[Graph, Flags]:
        found: list[Flags] = []

        def flat(*values: Any) -> list[Any]:
            flags = jax.tree.unflatten(self.in_tree, batched)
            outputs, out_flags = self.rule(size, list(flags), *jax.tree.unflatten(
                self.in_tree, values))  # fmt: skip
            leaves, tree = jax.tree.flatten(outputs)
            marks, marks_tree = jax.tree.flatten(out_flags)
            for what, got in (("values", tree), ("flags", marks_tree)):
                if got != self.out_tree:
                    raise PassError(
                        f"the batching rule {self.name} returns {what} of the structure {got}, its "
                        f"function values of {self.out_tree}"
                    )
            found.append(tuple(map(bool, marks)))
            return leaves

        types = [
            t.with_shape((size, *t.shape)) if is_batched else t
            for t, is_batched in zip(self.types, batched, strict=True)
        ]
        graph = trace_flat(flat, types, name=self.name).graph
        return graph, found[-1]


@binds("custom_vmap_call")
def _bind_custom_vmap(eqn: Equation, arrays: Sequence[Any]) -> Sequence[Any]:
    graph, made = eqn.params["graph"], eqn.params["rule"]

    @custom_vmap
    def function(*values: Any) -> list[Any]:
        return list(eval_graph(graph, values))

    @function.def_vmap
    def rule(size: int, batched: Sequence[bool], *values: Any) -> tuple[list[Any], list[bool]]:
        inner, out_batched = made(tuple(batched), size)
        return list(eval_graph(inner, values)), list(out_batched)

    outputs: Sequence[Any] = function(*arrays)
    return outputs
