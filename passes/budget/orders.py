"""Orders of the steps of one program that fit a budget: the cheapest that the planners find."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from ...ir.liveness import usage
from ...ir.steps import Steps
from .cuts import LARGE, Preference, cuts_of
from .evict import Evicting
from .exact import exact_order
from .improve import improved, without_unread

WAYS: Final = ((0.5, 12), (1.0, 3), (0.25, 3), (2.0, 12), (0.0, 60), (0.5, 200))
"""Powers of the distance of the next reader, and the reach of prices, that the eviction planner is
tried with."""

SLACK: Final = (1.0, 1.02, 1.05)
"""The eviction planner counts a little too much: orders that it finds for more may fit."""

SMALL: Final = 200
"""Programs of more steps are planned without preferences only where those find nothing."""

GOOD: Final = 1.05
"""An order that runs again so little beside what is certain to run again is not searched on."""


def find_order(program: Steps, budget: int, kept: frozenset[int]) -> list[int] | None:
    """The cheapest order that fits of those that the planners find.

    The exact one, for small programs, lets each step run first where the program has it; evicting
    may find something cheaper where steps are better put off.
    """
    exact = exact_order(program, budget, kept)
    evicting = cheapest_eviction(program, budget, kept)
    if exact is None:
        return evicting
    found = [without_unread(program, exact), *([evicting] if evicting else [])]
    return min(found, key=lambda order: usage(program, order).cost)


def has_order(program: Steps, budget: int, kept: frozenset[int]) -> bool:
    """Whether some order fits."""
    tried = _tried(program)[: 1 if len(program.steps) > SMALL else None]
    if any(_evicting(program, budget, kept, way, None) for way in tried):
        return True
    return exact_order(program, budget, kept) is not None


def least_cost(program: Steps, budget: int, kept: frozenset[int]) -> float:
    """What any order that fits costs at least."""
    return program.cost + cuts_of(program, kept).least_again(budget)


def cheapest_eviction(program: Steps, budget: int, kept: frozenset[int]) -> list[int] | None:
    """The cheapest order that fits of those that evicting finds, improved."""
    best: list[int] | None = None
    least = float("inf")
    enough = program.cost + GOOD * (least_cost(program, budget, kept) - program.cost)
    preference = cuts_of(program, kept).preference(budget)
    for first in (preference, None):
        if best is not None and first is None and len(program.steps) > SMALL:
            break
        for way in _tried(program):
            order = _evicting(program, budget, kept, way, first)
            if order is None:
                continue
            order = improved(program, order, budget)
            cost = usage(program, order).cost
            if cost < least:
                best, least = order, cost
            if least <= enough:
                return best
    return best


def _tried(program: Steps) -> Sequence[tuple[float, int]]:
    n = len(program.steps)
    return WAYS[: 1 if n > LARGE / 4 else 3 if n > LARGE / 10 else None]


def _evicting(
    program: Steps,
    budget: int,
    kept: frozenset[int],
    way: tuple[float, int],
    preference: Preference | None,
) -> Sequence[int] | None:
    for slack in SLACK if preference is None else SLACK[:1]:
        order = Evicting(program, int(slack * budget), kept, *way, preference).plan()
        if order is not None and (slack == 1.0 or usage(program, order).peak <= budget):
            return order
    return None
