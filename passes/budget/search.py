"""The search for the cheapest plan: over what loops keep, then over orders of steps.

Along the path of `loop_choices` programs need less and less memory. The first from which an order
of steps fits the budget is found by bisection; those after it leave more room to the rest of the
program, and are tried too. Then loops get back as many states as still fit.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Final

from ...ir.graph import Graph, memoised
from ...ir.liveness import usage
from ...ir.steps import Step, Steps, steps_of
from ..stacks import WORTH, with_fewer_stacks
from .bodies import with_smaller_bodies
from .evict import evict_to
from .exact import exact_order
from .flat import Flat, flat_graph
from .improve import improved
from .loop_choices import Choice, path_of
from .rewound import with_rewinds

WAYS: Final = ((0.5, 12), (1.0, 3), (0.25, 3), (2.0, 12), (0.0, 60), (0.5, 200))
"""Powers of the distance of the next reader, and the reach of prices, that the eviction planner is
tried with."""

LARGE: Final = 20_000
"""Programs of more steps are planned in one way only, those of a tenth of it in all."""

SLACK: Final = (1.0, 1.02, 1.05)
"""The eviction planner counts a little too much: orders that it finds for more may fit."""

FARTHER: Final = (1, 2, 4)
"""How far beyond the first choice that fits others are tried."""

SHARES: Final = (0.95, 0.85, 0.7, 0.55, 0.4, 0.25, 0.15, 0.08)
"""Of the budget, what a region may need while it runs."""


@dataclass(frozen=True)
class Found:
    """A program and an order of its steps that fits."""

    program: Steps
    order: Sequence[int]
    cost: float
    loops: Choice


@dataclass
class Search:
    """The plans of one program. made: programs by how many choices of the path they take."""

    @staticmethod
    def of(graph: Graph) -> Search:
        """The search for a program's plans; what it finds out is kept."""
        found: Search = memoised(graph, "memory plans", lambda: Search(flat_graph(graph)))
        return found

    flat: Flat
    made: dict[int, Steps] = field(default_factory=dict)

    @cached_property
    def program(self) -> Steps:
        """The program as it is compiled without a plan."""
        return self._program(Choice())

    @cached_property
    def path(self) -> list[Choice]:
        return path_of(self.flat.graph)

    def _program(self, loops: Choice) -> Steps:
        graph = with_rewinds(self.flat.graph, loops.snapshots)
        return steps_of(with_fewer_stacks(graph, WORTH, loops.fused))

    def _at(self, place: int) -> Steps:
        if place not in self.made:
            self.made[place] = self._program(self.path[place])
        return self.made[place]

    def kept(self, program: Steps) -> frozenset[int]:
        """The buffers of the values that a user's policy saves."""
        return frozenset(b for b, v in enumerate(program.values) if v in self.flat.kept)

    # -- within a budget -------------------------------------------------------------------------

    def cheapest(self, budget: int) -> Found | None:
        """The cheapest plan found that fits."""
        if self.is_too_small(budget):
            return None
        first = self._first_that_fits(budget)
        if first is None:
            return None
        place, best = first
        for farther in FARTHER:
            if place + farther < len(self.path):
                other = self._fit(self._at(place + farther), self.path[place + farther], budget)
                if other is not None and other.cost < best.cost:
                    best = other
        return self._with_more_states(best, budget)

    def _first_that_fits(self, budget: int) -> tuple[int, Found] | None:
        low, high = 0, len(self.path) - 1
        found = self._fit(self._at(low), self.path[low], budget)
        if found is not None:
            return low, found
        found = self._fit(self._at(high), self.path[high], budget)
        if found is None:
            return None
        while high - low > 1:
            middle = (low + high) // 2
            here = self._fit(self._at(middle), self.path[middle], budget)
            if here is None:
                low = middle
            else:
                high, found = middle, here
        return high, found

    def _fit(self, program: Steps, loops: Choice, budget: int) -> Found | None:
        """The cheapest order of a program, its regions made smaller if it takes that."""
        for smaller in self._smaller(program, budget):
            if least_bytes(smaller) > budget:
                continue
            order = find_order(smaller, budget, self.kept(smaller))
            if order is not None:
                return Found(smaller, order, usage(smaller, order).cost, loops)
        return None

    def _smaller(self, program: Steps, budget: int) -> Iterator[Steps]:
        """The program, then with less and less needed by its regions while they run."""
        yield program
        largest = max((step.scratch for step in program.steps if has_regions(step)), default=0)
        before: Graph = program.graph
        for share in SHARES:
            limit = int(share * budget)
            if limit < largest:
                graph = with_smaller_bodies(program.graph, limit)
                if graph is not before:
                    before = graph
                    yield steps_of(graph)

    def _with_more_states(self, found: Found, budget: int) -> Found:
        """Each loop in turn keeps as many states as there is room for, while that costs less."""
        for pair, fewest in found.loops.snapshots.items():
            low, high = fewest, pair.length - 1
            while high - low > max(low // 50, 1):
                middle = (low + high) // 2
                loops = found.loops.keeping(pair, middle)
                other = self._fit(self._program(loops), loops, budget)
                if other is None:
                    high = middle
                else:
                    low = middle
                    found = other if other.cost < found.cost else found
        return found

    def is_too_small(self, budget: int) -> bool:
        """Whether it is known already that no plan fits."""
        return "smallest" in self.__dict__ and budget < self.smallest

    # -- without one -----------------------------------------------------------------------------

    @cached_property
    def smallest(self) -> int:
        """The least budget, to 1 %, for which a plan is found."""
        high = usage(self.program, range(len(self.program.steps))).peak
        low = 0
        while high - low > max(high // 100, 1):
            middle = (low + high) // 2
            if self._fits(0, middle) or self._fits(len(self.path) - 1, middle):
                high = middle
            else:
                low = middle
        return high

    def _fits(self, place: int, budget: int) -> bool:
        return any(
            least_bytes(program) <= budget and _has_order(program, budget, self.kept(program))
            for program in self._smaller(self._at(place), budget)
        )


def has_regions(step: Step) -> bool:
    """Whether a step runs regions: a loop, a branch."""
    return step.main.primitive.has_regions


def least_bytes(program: Steps) -> int:
    """Below this not even a single step could run."""
    sizes = program.sizes
    bound = 0
    for step in program.steps:
        reads = sum([sizes[b] for b in step.reads])
        writes = sum([sizes[b] for b in step.writes])
        bound = max(bound, max(reads, writes) + step.scratch)
    return bound


def find_order(program: Steps, budget: int, kept: frozenset[int]) -> list[int] | None:
    """The cheapest order that fits: of a small program; else of those that the planners find."""
    exact = exact_order(program, budget, kept)
    if exact is not None:
        return exact
    return cheapest_eviction(program, budget, kept)


def _has_order(program: Steps, budget: int, kept: frozenset[int]) -> bool:
    if evict_to(program, budget, kept) is not None:
        return True
    return exact_order(program, budget, kept) is not None


def cheapest_eviction(program: Steps, budget: int, kept: frozenset[int]) -> list[int] | None:
    """The cheapest order that fits of those that evicting finds, improved."""
    best: list[int] | None = None
    least = float("inf")
    n = len(program.steps)
    for way in WAYS[: 1 if n > LARGE else 3 if n > LARGE / 10 else None]:
        order = _evicting(program, budget, kept, *way)
        if order is None:
            continue
        order = improved(program, order, budget)
        cost = usage(program, order).cost
        if cost < least:
            best, least = order, cost
    return best


def _evicting(
    program: Steps, budget: int, kept: frozenset[int], far: float, reach: int
) -> Sequence[int] | None:
    for slack in SLACK:
        order = evict_to(program, int(slack * budget), kept, far, reach)
        if order is not None and (slack == 1.0 or usage(program, order).peak <= budget):
            return order
    return None
