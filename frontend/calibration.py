"""What compiled programs have shown of the error of predictions, and the plans to ask for by it.

A compiler may need more than is live: a constant (workspaces of libraries), a share (padding), or
both. So the bytes that a program needs are taken to be affine in those that its plan predicts, from
the two observations that are nearest to a budget; after a single one whichever of the two laws asks
for less memory.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from ..passes.budget.plan import MemoryPlan

FOLLOWED: Final = 0.5
"""A compiler follows plans if it saves at least this share of what they are predicted to save."""


@dataclass
class Calibration:
    """One program's observations. actual: by the predicted bytes of a plan, the bytes needed.
    plans: those that were compiled, with the bytes that they needed."""

    actual: dict[int, int] = field(default_factory=dict)
    plans: list[tuple[int, MemoryPlan]] = field(default_factory=list)

    def observe(self, predicted: int, actual: int) -> None:
        """Remember what a plan needed; of several ways to compile it, the one that needs least."""
        self.actual[predicted] = min(actual, self.actual.get(predicted, actual))

    def remember(self, plan: MemoryPlan, actual: int) -> None:
        """Observe a plan, and keep it for other budgets."""
        self.observe(plan.after.peak, actual)
        if all(plan is not other for _, other in self.plans):
            self.plans.append((actual, plan))

    def cheapest(self, budget: int) -> MemoryPlan | None:
        """The cheapest plan that is known to need no more."""
        fitting = [plan for actual, plan in self.plans if actual <= budget]
        return min(fitting, key=lambda plan: plan.after.cost, default=None)

    def target(self, budget: int) -> int:
        """The predicted bytes to plan for, such that `budget` bytes are needed; at most that."""
        above = sorted((a, p) for p, a in self.actual.items() if a > budget)
        below = sorted((a, p) for p, a in self.actual.items() if a <= budget)
        if above and below:
            return _between(below[-1], above[0], budget)
        if above:
            return _less(above, budget)
        if below:
            actual, predicted = below[-1]
            return min(predicted + budget - actual, budget)
        return budget

    def is_followed(self) -> bool:
        """Whether smaller plans need less, about as much as they should."""
        small, large = min(self.actual), max(self.actual)
        return self.actual[large] - self.actual[small] >= FOLLOWED * (large - small) > 0

    def beside(self) -> int:
        """The bytes that the smallest plan needs beside those that are predicted."""
        smallest = min(self.actual)
        return self.actual[smallest] - smallest


def _between(below: tuple[int, int], above: tuple[int, int], budget: int) -> int:
    (low, small), (high, large) = below, above
    if large <= small:
        return min(small, budget)
    return min(int(small + (large - small) * (budget - low) / (high - low)), large - 1, budget)


def _less(above: list[tuple[int, int]], budget: int) -> int:
    """A target below plans that all need too much."""
    actual, predicted = above[0]
    share = predicted * budget / actual
    if len(above) == 1:
        rest = predicted - (actual - budget)
        found = rest if share / 2 <= rest < share else share
    else:
        other, farther = above[-1]
        slope = (other - actual) / (farther - predicted) if farther > predicted else 1.0
        found = predicted - (actual - budget) / max(slope, 1.0)
        found = found if found > 0 else share
    return max(min(int(found), predicted - 1, budget), 1)
