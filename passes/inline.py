"""Inline: calls become the equations of what they call.

Law: the same outputs.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from ..ir.builder import Builder
from ..ir.graph import Equation, Graph, Value, remembered, transformed, walk_graphs
from ..ir.memo import remember
from ..ir.module import Module
from ..ir.ops.call import call
from .base import Pass
from .counting import uses
from .regions import with_regions


def inline_graph(graph: Graph, inlined: frozenset[Graph] | None = None) -> Graph:
    """A graph with its calls inlined, and those inside its regions: all, or those of `inlined`.

    Callees come first, so that each graph is copied already flat and nesting costs no recursion.
    """
    key = ("inline", inlined)
    return transformed(graph, key, lambda callee: _inline(callee, key, inlined))


def _inline(graph: Graph, key: Any, inlined: frozenset[Graph] | None) -> Graph:
    if not any(eqn.primitive.has_regions for eqn in graph.equations):
        return graph
    b = Builder()
    env: dict[Any, Any] = {}
    results: dict[Any, Any] = {}
    for eqn in graph.equations:
        b.replace(eqn)
        inputs = tuple([env.get(x, x) for x in eqn.inputs])
        if _is_inlined(eqn, inlined):
            outputs = b.inline(remembered(eqn.params["graph"], key), inputs)
            enter_results(b, env, eqn, outputs)
            results.update((v, env[v]) for v in eqn.outputs)
            continue
        if eqn.primitive.has_regions:
            eqn = with_regions(eqn, lambda region: remembered(region, key))
        b.append(eqn if inputs == eqn.inputs else eqn.replace(inputs=inputs))
    outputs = [env.get(x, x) for x in graph.outputs]
    made = Graph(graph.inputs, b.equations, outputs, graph.name, graph.linear_from)
    remember(made, _RESULTS, results)
    return made


_RESULTS = "results of calls"


def results_of_calls(inlined: Graph) -> dict[Any, Any]:
    """What stands in a graph whose calls were inlined for each of their results."""
    found: dict[Any, Any] = inlined.derived.get(_RESULTS, {})
    return found


def enter_results(b: Builder, env: dict[Any, Any], eqn: Equation, outputs: Sequence[Any]) -> None:
    """Note what stands for the outputs of a call that was written out: under their names, and as
    weakly typed as they are stated to be. (On other arguments a body may make a strong type.)"""
    for old, new in zip(eqn.outputs, outputs, strict=True):
        if new.type is not old.type:
            new = b.convert(new, old.type.dtype, old.type.weak)
        env[old] = new
        if new.__class__ is Value and new.name is None:
            new.name = old.name


def _is_inlined(eqn: Equation, inlined: frozenset[Graph] | None) -> bool:
    if eqn.primitive is not call or eqn.params["outlined"]:
        return False
    return inlined is None or eqn.params["graph"] in inlined


def called_at_most(graphs: list[Graph], uses: int) -> frozenset[Graph]:
    """The graphs among those reachable that are called no more often than that."""
    counts: Counter[Graph] = Counter()
    for graph in graphs:
        for eqn in graph.equations:
            if eqn.primitive is call:
                counts[eqn.params["graph"]] += 1
    return frozenset(g for g, n in counts.items() if n <= uses)


def written_out_within(graph: Graph, most: int) -> frozenset[Graph]:
    """The graphs that a graph calls, at any depth, and that take at most so many equations when
    all that they call is written out too."""
    sizes: dict[Graph, int] = {}
    called: set[Graph] = set()
    for found in walk_graphs(graph):  # callees come first
        size = len(found)
        for eqn in found.equations:
            if eqn.primitive is call:
                called.add(eqn.params["graph"])
                size += sizes[eqn.params["graph"]] - 1
        sizes[found] = size
    return frozenset(g for g in called if sizes[g] <= most)


@dataclass(frozen=True)
class Inline(Pass):
    """Inline calls: all of them, or those of functions with few uses or few equations.

    Options: max_uses inlines functions called at most so often; max_equations functions of at most
    that length. With neither, every call is inlined. What was outlined stays so.
    """

    name: ClassVar[str] = "inline"
    law: ClassVar[str] = "equal outputs"

    max_uses: int | None = None
    max_equations: int | None = None

    def run(self, module: Module) -> Module:
        chosen = self._choose(module)
        graphs = {name: inline_graph(g, chosen) for name, g in module.graphs.items()}
        return module.replace(graphs=graphs)

    def _choose(self, module: Module) -> frozenset[Graph] | None:
        if self.max_uses is None and self.max_equations is None:
            return None
        graphs = module.all_graphs()
        chosen = called_at_most(graphs, self.max_uses) if self.max_uses is not None else frozenset()
        if self.max_equations is not None:
            chosen |= {g for g in graphs if len(g) <= self.max_equations}
        return chosen

    def counters(self, before: Module, after: Module) -> dict[str, int]:
        return {"calls inlined": uses(before, "call") - uses(after, "call")}
