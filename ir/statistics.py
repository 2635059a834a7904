"""Counts of what a module holds."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .module import Module


def module_statistics(module: Module) -> dict[str, Any]:
    """Graphs, equations (each shared graph counted once), equations by primitive, most frequent
    first, constants and their bytes."""
    graphs = module.all_graphs()
    primitives = Counter(eqn.primitive.name for graph in graphs for eqn in graph.equations)
    constants = list(module.constants())
    return {
        "graphs": len(graphs),
        "equations": sum(len(graph) for graph in graphs),
        "primitives": dict(primitives.most_common()),
        "constants": len(constants),
        "constant_bytes": sum(constant.type.nbytes for constant in constants),
    }
