"""Counts that passes give of what they did (`Pass.counters`)."""

from __future__ import annotations

from ..ir.graph import Graph
from ..ir.module import Module
from ..ir.statistics import module_statistics


def equations(module: Module) -> int:
    """All equations, those of a shared graph once."""
    return sum(len(graph) for graph in module.all_graphs())


def fewer_equations(before: Module, after: Module, what: str) -> dict[str, int]:
    """How many equations went, for passes that only take away."""
    return {what: equations(before) - equations(after)}


def uses(module: Module, primitive: str) -> int:
    count: int = module_statistics(module)["primitives"].get(primitive, 0)
    return count


def new_equations(before: Module, after: Module, what: str) -> dict[str, int]:
    """How many equations of the new entry make values that the old entry did not have.

    Passes keep the values of equations that they keep.
    """
    known = {v for eqn in before.main.equations for v in eqn.outputs}
    made = [eqn for eqn in after.main.equations if known.isdisjoint(eqn.outputs)]
    return {"kept": len(after.main) - len(made), what: len(made)}


def residuals(halves: list[Graph]) -> dict[str, int]:
    """The values, and their bytes, that cross into linear halves."""
    crossing = [v for graph in halves for v in graph.inputs[: graph.linear_from or 0]]
    return {"residuals": len(crossing), "residual bytes": sum(v.type.nbytes for v in crossing)}
