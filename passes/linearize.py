"""Linearize: a program becomes its primal half and a linear half that maps tangents to tangents.

linearize = jvp, then dce, then partial_eval with the primals known. No derivative is stated here.
Tangents that no output needs are dropped before the split, so that nothing is kept for them: those
behind a stop_gradient, of outputs that nobody reads, and of either inside loops and branches.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from ..ir.errors import PassError
from ..ir.graph import Graph, Value, memoised
from ..ir.module import Module
from .base import Pass
from .counting import residuals
from .dce import remove_dead
from .jvp import jvp_graph
from .partial_eval import split_graph
from .slim import WORTH, slimmed
from .wrt import derived_module, select_inputs


@dataclass(frozen=True)
class Linearized:
    """fn  x -> y  at a point:

    primal  x               -> (y, residuals)
    linear  (residuals, dx) -> dy

    `nonzero[i]` says whether output i has a tangent; dx are those of the active inputs.
    """

    primal: Graph
    linear: Graph
    residuals: tuple[Value, ...]
    nonzero: tuple[bool, ...]


def linearize_graph(graph: Graph, active: Sequence[bool]) -> Linearized:
    """Linearize a graph with respect to the inputs marked active."""
    key = ("linearize", tuple(active))
    made: Linearized = memoised(graph, key, lambda: _linearize(graph, active))
    return made


def slim_halves(parts: Linearized, least: int = WORTH) -> Linearized:
    """The halves with fewer bytes of residuals, if that saves so many (see `slim`)."""
    primal, linear = slimmed(parts.primal, parts.linear, least)
    if linear is parts.linear:
        return parts
    residuals = tuple(linear.inputs[: linear.linear_from])
    return Linearized(primal, linear, residuals, parts.nonzero)


def _linearize(graph: Graph, active: Sequence[bool]) -> Linearized:
    forward, nonzero = jvp_graph(graph, active)
    n_inputs, n_outputs = len(graph.inputs), len(graph.outputs)
    unknown = [i >= n_inputs for i in range(len(forward.inputs))]
    tangents = [i >= n_outputs for i in range(len(forward.outputs))]
    split = split_graph(remove_dead(forward), unknown, tangents)
    if any(split.unknown_out[:n_outputs]):
        raise joint(graph)
    primal = split.known.renamed(f"{graph.name}.primal")
    rest = split.unknown
    name = f"{graph.name}.linear"
    linear = Graph(rest.inputs, rest.equations, rest.outputs, name, len(split.residuals))
    return Linearized(primal, linear, split.residuals, nonzero)


def joint(graph: Graph) -> PassError:
    """The error for a result that depends on tangents."""
    return PassError(
        f"an operation in {graph.name} computes its results together with their tangents: "
        "there is no half without tangents",
        stage="linearize",
        hint="its author's jvp rule has to use operations of its own for the tangents",
    )


@dataclass(frozen=True)
class Linearize(Pass):
    """Split the entry @f into @f.primal, returning outputs and residuals, and @f.linear.

    Options: wrt is the inputs to differentiate, by position or name (see `select_inputs`); all that
    can be, by default. slim has the linear half compute again what costs next to nothing, where
    that saves so many bytes of residuals.
    """

    name: ClassVar[str] = "linearize"
    law: ClassVar[str] = "the linear half agrees with finite differences"

    wrt: tuple[int | str, ...] | None = None
    slim: int | None = None

    def run(self, module: Module) -> Module:
        parts = linearize_graph(module.main, select_inputs(module, self.wrt, self.name))
        if self.slim is not None:
            parts = slim_halves(parts, self.slim)
        return derived_module(module, parts.primal, parts.linear)

    def counters(self, before: Module, after: Module) -> dict[str, int]:
        made = [g for n, g in after.graphs.items() if n not in before.graphs]
        halves = [g for g in made if g.linear_from is not None]
        return {**residuals(halves), "linear equations": sum(map(len, halves))}
