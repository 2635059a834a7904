"""Checkpoint: keep less of a program and compute it again, so that it fits a budget of memory.

    h1 = f x            h1 = f x              h1 is not kept while h2 ... are computed;
    h2 = f h1           h2 = f h1             what reads it later reads it computed again,
    ...            =>   ...                   behind a barrier that no compiler looks across
    b  = g h2 h1        x', c' = optimization_barrier x c
                        h1' = f x'
                        b  = g h2 h1'

Law: the same outputs, bit for bit: what is computed again is computed from the same values (random
keys among them) by the same equations.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from ..ir.errors import UsageError
from ..ir.graph import Graph, walk_graphs
from ..ir.module import Module
from ..ir.sizes import read_size
from .base import Pass
from .cse import cse_graph
from .dce import remove_dead
from .snapshots import with_snapshots

if TYPE_CHECKING:
    from .budget.plan import MemoryPlan


def checkpointed(graph: Graph, budget: int | str) -> MemoryPlan:
    """The plan for a whole program, cleaned first: what nobody reads takes no part."""
    from .budget.plan import plan_memory  # only when asked for: the command line starts without

    size = read_size(budget)
    return plan_memory(remove_dead(cse_graph(graph)), size)


@dataclass(frozen=True)
class Checkpoint(Pass):
    """Compute again what would not fit, so that each graph's peak of temporary memory is at most
    `budget`, as predicted for XLA. Run it on a whole derivative program (after `grad` or `vjp`).

    With `loops=revolve`, run it before: each loop keeps only as many of its states as `snapshots`
    says, or as fit `budget`, and what a derivative needs of the others is computed again.

    Options: budget is bytes, or a size with a unit (24MiB); loops is revolve; snapshots is how many
    states a loop keeps at a time.
    """

    name: ClassVar[str] = "checkpoint"
    law: ClassVar[str] = "equal outputs"

    budget: str | None = None
    loops: str | None = None
    snapshots: int | None = None

    def __post_init__(self) -> None:
        if isinstance(self.budget, str):  # spaces separate the options of a pass
            object.__setattr__(self, "budget", "".join(self.budget.split()))

    def run_graph(self, graph: Graph) -> Graph:
        if self.loops is not None or self.snapshots is not None:
            return self._with_snapshots(graph)
        if self.budget is None:
            raise UsageError(
                "the pass checkpoint needs a budget", hint="write checkpoint{budget=24MiB}"
            )
        return checkpointed(graph, self.budget).graph

    def _with_snapshots(self, graph: Graph) -> Graph:
        if self.loops != "revolve":
            raise UsageError(
                f"the pass checkpoint has no schedule {self.loops!r} for loops",
                hint="write checkpoint{loops=revolve snapshots=20}",
            )
        return with_snapshots(graph, self.snapshots, self.budget)

    def counters(self, before: Module, after: Module) -> dict[str, int]:
        old, new = _contractions(before), _contractions(after)
        equations = sum(map(len, after.graphs.values())) - sum(map(len, before.graphs.values()))
        return {"equations added": equations, "contractions computed again": new - old}


def _contractions(module: Module) -> int:
    return sum(contractions(graph) for graph in module.graphs.values())


def contractions(graph: Graph) -> int:
    """How many contractions a compiler sees: those of a shared graph where it is called."""
    counts: dict[Graph, int] = {}
    for g in walk_graphs(graph):
        counts[g] = sum(
            1
            if eqn.primitive.family == "contraction"
            else sum(counts[region] for region in eqn.regions())
            for eqn in g.equations
            if eqn.primitive.family == "contraction" or eqn.primitive.has_regions
        )
    return counts[graph]
