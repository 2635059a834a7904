"""The search for the cheapest plan: over what loops keep, then over orders of steps.

Along the path of `loop_choices` programs need less and less memory. The first from which an order
of steps fits the budget is found by bisection; those after it leave more room to the rest of the
program, and are tried too. Then loops get back as many states as still fit.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Final

from ...ir.graph import Graph, memoised
from ...ir.liveness import usage
from ...ir.steps import Step, Steps, steps_of
from ..masks import with_stored_masks
from ..stacks import WORTH, with_fewer_stacks
from .bodies import with_smaller_bodies
from .flat import Flat, flat_graph
from .loop_choices import Choice, path_of
from .orders import find_order, has_order, least_cost
from .rewound import with_rewinds

FARTHER: Final = (1, 2, 4)
"""How far beyond the first choice that fits others are tried."""

SHARES: Final = (0.95, 0.85, 0.7, 0.55, 0.4, 0.25, 0.15, 0.08)
"""Of the budget, what a region may need while it runs."""


@dataclass(frozen=True)
class Found:
    """A program and an order of its steps that fits. place: on the path, of what loops keep or of
    what they kept before they got more."""

    program: Steps
    order: Sequence[int]
    cost: float
    peak: int
    loops: Choice
    place: int = 0


@dataclass
class Search:
    """The plans of one program. made: programs by how many choices of the path they take.
    kept_states: programs by what their loops keep, in the order of the path."""

    @staticmethod
    def of(graph: Graph) -> Search:
        """The search for a program's plans; what it finds out is kept."""
        found: Search = memoised(graph, "memory plans", lambda: Search(flat_graph(graph)))
        return found

    flat: Flat
    made: dict[int, Steps] = field(default_factory=dict)
    kept_states: dict[tuple[tuple[int, ...], bool], Steps] = field(default_factory=dict)

    @cached_property
    def program(self) -> Steps:
        """The program as it is compiled without a plan."""
        return self._program(Choice())

    @cached_property
    def peak(self) -> int:
        """The bytes that the program needs without a plan."""
        return usage(self.program, range(len(self.program.steps))).peak

    @cached_property
    def path(self) -> list[Choice]:
        return path_of(self.flat.graph)

    def _program(self, loops: Choice) -> Steps:
        graph = with_rewinds(self.flat.graph, loops.snapshots)
        return steps_of(with_stored_masks(with_fewer_stacks(graph, WORTH, loops.fused)))

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
        best = first = self._first_that_fits(budget)
        if best is None or first is None:
            return None
        for farther in FARTHER:
            place = first.place + farther
            other = self._fit_at(place, budget) if place < len(self.path) else None
            if other is not None and other.cost < best.cost:
                best = other
        return self._with_more_states(best, budget)

    def _first_that_fits(self, budget: int) -> Found | None:
        low, high = 0, len(self.path) - 1
        found = self._fit_at(low, budget)
        if found is not None or high == 0:
            return found
        found = self._fit_at(high, budget)
        while found is not None and high - low > 1:
            middle = (low + high) // 2
            here = self._fit_at(middle, budget)
            if here is None:
                low = middle
            else:
                high, found = middle, here
        return found

    def _fit_at(self, place: int, budget: int) -> Found | None:
        found = self._fit(self._at(place), self.path[place], budget)
        return None if found is None else replace(found, place=place)

    def _fit(self, program: Steps, loops: Choice, budget: int) -> Found | None:
        """The cheapest order of a program, its regions made smaller if it takes that."""
        for smaller in self._smaller(program, budget):
            if least_bytes(smaller) > budget:
                continue
            order = find_order(smaller, budget, self.kept(smaller))
            if order is not None:
                used = usage(smaller, order)
                return Found(smaller, order, used.cost, used.peak, loops)
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
            counts = _counts(fewest, pair.length)
            low, high = 0, len(counts)
            while high - low > 1:
                middle = (low + high) // 2
                loops = found.loops.keeping(pair, counts[middle])
                other = self._fit(self._keeping(loops), loops, budget)
                if other is None:
                    high = middle
                else:
                    low = middle
                    if other.cost < found.cost:
                        found = replace(other, place=found.place)
        return found

    def _keeping(self, loops: Choice) -> Steps:
        key = tuple(loops.snapshots.values()), loops.fused
        if key not in self.kept_states:
            self.kept_states[key] = self._program(loops)
        return self.kept_states[key]

    def least_cost(self, budget: int, beside: Found) -> float:
        """A bound on the cost of plans for less than what a plan was found for."""
        is_between = beside.loops != self.path[beside.place]
        programs = map(self._at, range(beside.place - is_between, len(self.path)))
        return min(least_cost(program, budget, self.kept(program)) for program in programs)

    def is_too_small(self, budget: int) -> bool:
        """Whether it is known already that no plan fits."""
        return "smallest" in self.__dict__ and budget < self.smallest

    # -- without one -----------------------------------------------------------------------------

    @cached_property
    def smallest(self) -> int:
        """The least budget, to 1 %, for which a plan is found."""
        high, low = self.peak, 0
        while high - low > max(high // 100, 1):
            middle = (low + high) // 2
            if self._fits(0, middle) or self._fits(len(self.path) - 1, middle):
                high = middle
            else:
                low = middle
        return high

    @cached_property
    def smallest_plan(self) -> Found | None:
        """The plan for the smallest budget."""
        return self.cheapest(self.smallest)

    def _fits(self, place: int, budget: int) -> bool:
        return any(
            least_bytes(program) <= budget and has_order(program, budget, self.kept(program))
            for program in self._smaller(self._at(place), budget)
        )


def _counts(fewest: int, length: int) -> list[int]:
    """Numbers of states that are tried, the same for all budgets."""
    found = [fewest]
    while found[-1] < length - 1:
        found.append(min(found[-1] + max(found[-1] // 25, 1), length - 1))
    return found


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
