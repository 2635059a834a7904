"""A plan for a program and a budget: which steps run again, and where.

Several planners are asked; the cheapest order that fits is taken, and then improved by dropping
second computations of what there turns out to be room for.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Final

from ...ir.graph import Equation, Graph
from ...ir.liveness import Usage, usage
from ...ir.steps import Steps, steps_of
from .errors import BudgetError
from .evict import evict_to
from .flat import Flat, flat_graph
from .improve import improved
from .rewrite import rewritten

FARNESS: Final = (1.0, 0.5, 2.0)
"""Powers of the distance of the next reader that the eviction planner is tried with."""

LARGE: Final = 20_000
"""Programs of more steps are planned by one planner only."""


TIGHT: Final = 0.85
"""From this share of the peak on a strict plan leaves a compiler no choice of order."""


@dataclass(frozen=True)
class MemoryPlan:
    """An order of the steps of a program, in which some stand again, and its cost.

    before, after: what the program needs as it is, and by the plan, as predicted. strict: whether
    barriers state the order wherever memory is tight, not only around what is computed again.
    """

    program: Steps
    order: tuple[int, ...]
    budget: int
    before: Usage
    after: Usage
    strict: bool = False

    @cached_property
    def graph(self) -> Graph:
        """The program that follows the plan."""
        if self.is_trivial and not self.strict:
            return self.program.graph
        return rewritten(self.program, self.order, self._tight() if self.strict else ())

    def _tight(self) -> set[int]:
        """The places where the order needs nearly as much as at its peak."""
        return {k for k, live in enumerate(self.after.live) if live >= TIGHT * self.after.peak}

    @property
    def is_trivial(self) -> bool:
        """Whether nothing is computed again."""
        return len(self.order) == len(self.program.steps)

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
    flat = flat_graph(graph)
    program = steps_of(flat.graph)
    before = usage(program, range(len(program.steps)))
    order: Sequence[int] = range(len(program.steps))
    if before.peak > budget:
        found = find_order(program, budget, kept_buffers(program, flat))
        if found is None:
            smallest = smallest_budget(program, kept_buffers(program, flat), before.peak)
            raise BudgetError(budget, graph.name, smallest, hint=_hint(flat))
        order = found
    return MemoryPlan(program, tuple(order), budget, before, usage(program, order))


def find_order(program: Steps, budget: int, kept: frozenset[int]) -> list[int] | None:
    """The cheapest order that fits, of those that the planners find."""
    best: list[int] | None = None
    least = float("inf")
    for far in FARNESS if len(program.steps) <= LARGE else FARNESS[:1]:
        order = evict_to(program, budget, kept, far)
        if order is None:
            continue
        order = improved(program, order, budget)
        cost = usage(program, order).cost
        if cost < least:
            best, least = order, cost
    return best


def smallest_budget(program: Steps, kept: frozenset[int], peak: int) -> int:
    """The least budget, to 1 %, for which the eviction planner finds an order."""
    low, high = _lower_bound(program), peak
    while high - low > max(high // 100, 1):
        middle = (low + high) // 2
        order = evict_to(program, middle, kept)
        if order is None:
            low = middle
        else:
            high = min(middle, usage(program, order).peak)
    return high


def _lower_bound(program: Steps) -> int:
    """Below this not even a single step could run."""
    sizes = program.sizes
    bound = 0
    for step in program.steps:
        reads = sum(sizes[b] for b in step.reads)
        bound = max(bound, reads - 1, sum(sizes[b] for b in step.writes) - 1)
    return bound


def kept_buffers(program: Steps, flat: Flat) -> frozenset[int]:
    """The buffers of the values that a user's policy saves."""
    return frozenset(b for b, v in enumerate(program.values) if v in flat.kept)


def _hint(flat: Flat) -> str | None:
    if not flat.kept:
        return None
    return "a checkpoint policy of the program says what is saved in any case; it may save less"
