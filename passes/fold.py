"""Fold: rebuild a program through the builder, which folds what is exact and reuses what is equal.

Law: the same outputs; idempotent.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from ..ir.builder import Builder
from ..ir.graph import Graph, Value, remembered, transformed
from ..ir.module import Module
from .base import Pass
from .counting import fewer_equations
from .regions import with_regions


def fold_graph(graph: Graph) -> Graph:
    """A graph, and the graphs that it holds, folded."""
    return transformed(graph, "fold", _fold)


def _fold(graph: Graph) -> Graph:
    b = Builder()
    env: dict[Any, Any] = {}
    for eqn in graph.equations:
        b.replace(eqn)
        if eqn.primitive.has_regions:
            eqn = with_regions(eqn, lambda region: remembered(region, "fold"))
        inputs = tuple([env.get(x, x) for x in eqn.inputs])
        for old, new in zip(eqn.outputs, b.emit(eqn.primitive, *inputs, **eqn.params), strict=True):
            env[old] = new
            if new.__class__ is Value and new.name is None:
                new.name = old.name
    outputs = [env.get(x, x) for x in graph.outputs]
    return Graph(graph.inputs, b.equations, outputs, graph.name, graph.linear_from)


@dataclass(frozen=True)
class Fold(Pass):
    """Fold constants and identities that hold exactly in floating point."""

    name: ClassVar[str] = "fold"
    law: ClassVar[str] = "equal outputs"

    def run_graph(self, graph: Graph) -> Graph:
        return fold_graph(graph)

    def counters(self, before: Module, after: Module) -> dict[str, int]:
        return fewer_equations(before, after, "folded")
