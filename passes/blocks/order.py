"""Equations in an order in which blocks are whole."""

from __future__ import annotations

from typing import Any

from ...ir.graph import Equation, Graph


def constants_first(graph: Graph) -> Graph:
    """The graph with what does not depend on its inputs in front.

    A block that is written first makes the constants that all of its copies share (a mask, a row of
    zeros): with those in its midst it would be like none of them.
    """
    varying: set[Any] = set(graph.inputs)
    first: list[Equation] = []
    rest: list[Equation] = []
    for eqn in graph.equations:
        if varying.isdisjoint(eqn.inputs) and not eqn.effects:
            first.append(eqn)
        else:
            rest.append(eqn)
            varying.update(eqn.outputs)
    return graph.with_equations((*first, *rest)) if first and rest else graph
