"""The plans of one program for all budgets: a larger budget never gets a dearer plan.

Planners are heuristics: they may find for less memory an order that is cheaper than what they found
for more. So orders are asked for at fixed limits, whatever the budget is: the peak of the program
and, downwards, a few percent less each time, then the smallest that there is an order for. A budget
gets the cheapest of all of these that fits it. What a larger budget chooses from holds all that a
smaller one does; hence costs never rise with budgets.

The limits below a budget are looked at only as far as they may hold something cheaper: a bound on
what an order that fits must run again ends the search (`cuts`). Of programs of thousands of steps,
whose plans take seconds, it ends after the first that fits: for them costs may rise a little.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from itertools import count
from typing import Final

from .search import Found, Search

SPACING: Final = (1.01, 1.02)
"""Of the limits: for small programs without loops, and for others."""

SMALL: Final = 500
"""Steps of a small program."""

FEW: Final = 2_000
"""Steps of a program of whose plans all that may be cheaper are looked at."""

EQUAL: Final = 1 - 1e-9


@dataclass
class Front:
    """The plans found so far, by the number of their limit."""

    search: Search
    found: dict[int, Found | None] = field(default_factory=dict)

    def __post_init__(self) -> None:
        is_small = len(self.search.program.steps) <= SMALL and len(self.search.path) == 1
        self.spacing = math.log(SPACING[not is_small])
        self.is_large = len(self.search.program.steps) > FEW

    def cheapest(self, budget: int) -> Found | None:
        """The cheapest plan that fits."""
        best: Found | None = None
        start = max(math.floor(math.log(self.search.peak / max(budget, 1)) / self.spacing), 0)
        for number in count(start):
            limit = int(self.search.peak * math.exp(-number * self.spacing))
            if self.search.is_too_small(limit):
                break
            if best is not None and self._is_enough(best, limit):
                return best
            if number not in self.found:
                self.found[number] = self.search.cheapest(limit)
            best = _better(best, self.found[number], budget)
            if self.found[number] is None and limit < self.search.smallest:
                break
        return _better(best, self.search.smallest_plan, budget)

    def _is_enough(self, best: Found, limit: int) -> bool:
        """Whether plans for a limit are not worth looking for."""
        return self.is_large or self.search.least_cost(limit, best) >= EQUAL * best.cost


def _better(best: Found | None, other: Found | None, budget: int) -> Found | None:
    if other is None or other.peak > budget or (best is not None and best.cost <= other.cost):
        return best
    return other
