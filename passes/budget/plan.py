"""A plan for a program and a budget: which steps run again, and where; what loops keep.

The loops of a program may keep a few states in place of their stacks (`loop_choices`), and what
they need while they run may be planned as a program of its own (`bodies`). For each such choice
planners are asked for an order of steps (`search`); of what they find for several limits the
cheapest that fits is taken (`front`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Final

from ...ir.graph import Equation, Graph, memoised
from ...ir.liveness import Usage, usage
from ...ir.steps import Steps
from .errors import BudgetError
from .flat import Flat
from .front import Front
from .loop_choices import Choice
from .rewrite import rewritten
from .search import Found, Search

TIGHT: Final = 0.85
"""From this share of the peak on a strict plan leaves a compiler no choice of order."""


@dataclass(frozen=True)
class MemoryPlan:
    """An order of the steps of a program, in which some stand again, and its cost.

    before, after: what the program needs as it is, and by the plan, as predicted. strict: whether
    barriers state the order wherever memory is tight, not only around what is computed again.
    original: the program without a plan; `program` is that with what the plan makes of its loops,
    which keep as many states as `loops` says.
    """

    program: Steps
    order: tuple[int, ...]
    budget: int
    before: Usage
    after: Usage
    strict: bool = False
    original: Steps | None = None
    loops: Choice | None = None

    @cached_property
    def graph(self) -> Graph:
        """The program that follows the plan."""
        if len(self.order) == len(self.program.steps) and not self.strict:
            return self.program.graph
        return rewritten(self.program, self.order, self._tight() if self.strict else ())

    @property
    def unplanned(self) -> Steps:
        """The program as it was."""
        return self.original or self.program

    def _tight(self) -> set[int]:
        """The places where the order needs nearly as much as at its peak."""
        return {k for k, live in enumerate(self.after.live) if live >= TIGHT * self.after.peak}

    @property
    def is_trivial(self) -> bool:
        """Whether nothing is computed again."""
        return self.unplanned is self.program and len(self.order) == len(self.program.steps)

    def again(self) -> Iterator[tuple[Equation, int]]:
        """The equations whose results are computed again, and how many times."""
        for index, n in Counter(self.order).items():
            if n > 1:
                yield self.program.steps[index].main, n - 1


def plan_memory(graph: Graph, budget: int) -> MemoryPlan:
    """The cheapest plan found by which the program needs no more than `budget` bytes.

    Temporary memory is meant: neither arguments nor results count. Raises BudgetError, with the
    smallest budget that there is a plan for, where there is none.
    """
    search = Search.of(graph)
    program = search.program
    before = usage(program, range(len(program.steps)))
    if before.peak <= budget:
        return unchanged(program, budget)
    front: Front = memoised(graph, "memory front", lambda: Front(search))
    found = front.cheapest(budget)
    if found is None:
        raise BudgetError(budget, graph.name, search.smallest, hint=_hint(search.flat))
    return _plan(found, program, budget, before)


def unchanged(program: Steps, budget: int | None = None) -> MemoryPlan:
    """The plan to do nothing."""
    order = tuple(range(len(program.steps)))
    before = usage(program, order)
    return MemoryPlan(program, order, budget or before.peak, before, before)


def without_plan(graph: Graph, budget: int) -> MemoryPlan:
    """The program as it is, whatever the budget."""
    return unchanged(Search.of(graph).program, budget)


def _plan(found: Found, program: Steps, budget: int, before: Usage) -> MemoryPlan:
    order = tuple(found.order)
    after = usage(found.program, order)
    return MemoryPlan(
        found.program, order, budget, before, after, original=program, loops=found.loops
    )


def _hint(flat: Flat) -> str | None:
    if not flat.kept:
        return None
    return "a checkpoint policy of the program says what is saved in any case; it may save less"
