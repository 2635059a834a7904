"""Functions with rules of their own that return more than their rules do: those under checkify."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ..ir.graph import Graph
from .export import eval_graph


@dataclass(frozen=True)
class Primal:
    """A function with rules, as its rules may have to call it.

    What checkify makes of one returns an error before its results; of the rules it says that they
    do not look for errors: they return fewer outputs, the results alone or after an older error.
    """

    graph: Graph
    consts: Sequence[Any]

    def n_more(self, outputs: Sequence[Any]) -> int:
        """How many outputs more the function has than a rule."""
        return len(self.graph.outputs) - len(outputs)

    def __call__(self, values: Sequence[Any]) -> list[Any]:
        return eval_graph(self.graph, (*self.consts, *values))
