"""The search for a program that, compiled, fits a budget: plan, compile, measure, plan again."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from ..ir.graph import Constant, Graph
from ..ir.sizes import show_size
from ..lowering.execute import Executable
from ..passes.budget.errors import BudgetError
from ..passes.budget.plan import MemoryPlan, plan_memory, without_plan
from .calibration import Calibration
from .memory_report import TOLERANCE, MemoryReport

CLOSE: Final = 1.02
"""So near to the budget a first plan is not made anew: it would cost more than it saves."""

DOUBT: Final = 1.1
"""By so much a prediction may be too high: nearer to a budget, no plan may be needed."""

ROOM: Final = 0.9
"""A plan that needs less than this share of the budget may be dearer than it has to be."""

ATTEMPTS: Final = 4


@dataclass(frozen=True)
class Fitted:
    """A program compiled to a budget."""

    graph: Graph
    executable: Executable
    constants: Sequence[Constant]
    report: MemoryReport


@dataclass
class Fitting:
    """The plans of one program that are compiled for one budget.

    seen: what is known of the prediction's error, from earlier budgets too.
    """

    graph: Graph
    budget: int
    compiled: Callable[[MemoryPlan, int], Fitted]
    seen: Calibration
    made: list[Fitted] = field(default_factory=list)

    def best(self) -> Fitted:
        """Of those that fit the cheapest; else the one that needs the least memory."""
        fitting = [f for f in self.made if f.report.honoured]
        if fitting:
            return min(fitting, key=lambda f: (f.report.plan.after.cost, f.report.actual))
        return min(self.made, key=lambda f: f.report.actual)

    def run(self) -> Fitted:
        """The best program found, which may need more than the budget.

        Raises BudgetError where no plan fits.
        """
        self._without_a_plan()
        if not (self.made and self._is_near(CLOSE)):
            self._with_plans()
        if not self.best().report.honoured:
            self._at_the_ends()
            if self.best().report.honoured:
                self._with_plans()
        self._with_known_plan()
        return self.best()

    def _compile(self, plan: MemoryPlan) -> None:
        fitted = self.compiled(plan, self.budget)
        self.seen.remember(plan, fitted.report.actual)
        self.made.append(fitted)

    def _is_near(self, limit: float) -> bool:
        return self.made[-1].report.actual <= limit * self.budget

    def _without_a_plan(self) -> None:
        """The program without a plan, if it is nearly predicted to fit: then it may."""
        plan = without_plan(self.graph, self.budget)
        if self.budget < plan.before.peak <= DOUBT * self.budget:
            self._compile(plan)

    def _with_plans(self) -> None:
        """Plans for what has been learned so far, up to one that fits without much room left."""
        for attempt in range(ATTEMPTS):
            target = self.seen.target(self.budget)
            plan = self._not_yet_made(target, attempt)
            if plan is None:
                return
            self._compile(plan)
            if self._is_near(CLOSE if attempt == 0 else TOLERANCE):
                if not self._has_room(target):
                    return
            elif plan.after.peak > target:
                return

    def _not_yet_made(self, target: int, attempt: int) -> MemoryPlan | None:
        """The plan for a target, strict or not; if it was compiled both ways, the next smaller."""
        is_strict = attempt % 2 == 1
        while True:
            plan = self._plan(target, not self.made)
            for strict in (is_strict, not is_strict):
                chosen = replace(plan, strict=strict)
                if not any(_same(chosen, f) for f in self.made):
                    return chosen
            if plan.after.peak > target or plan.is_trivial:
                return None
            target = plan.after.peak - 1

    def _with_known_plan(self) -> None:
        """A plan that was compiled for another budget, if it is cheaper, and fits this one."""
        plan = self.seen.cheapest(self.budget)
        if plan is None or any(_same(plan, f) for f in self.made):
            return
        best = self.best().report
        if not best.honoured or plan.after.cost < best.plan.after.cost:
            self._compile(plan)

    def _plan(self, target: int, is_first: bool) -> MemoryPlan:
        """The plan for a target, or the smallest that there is."""
        try:
            return plan_memory(self.graph, target)
        except BudgetError as error:
            if is_first and error.smallest > self.budget:
                least = max(error.smallest, self._least(error.smallest))
                raise error.of(self.budget, least) from None
            return plan_memory(self.graph, error.smallest)

    def _least(self, smallest: int) -> int:
        """What the smallest plan needs, compiled in the way that needs less."""
        plan = plan_memory(self.graph, smallest)
        for strict in (False, True):
            self._compile(replace(plan, strict=strict))
            if self.made[-1].report.actual <= TOLERANCE * plan.after.peak:
                break
        return min(actual for actual, _ in self.seen.plans)

    def _has_room(self, target: int) -> bool:
        """Whether the last plan was made for less than it seems now that there is room for."""
        report = self.made[-1].report
        return (
            not report.plan.is_trivial
            and report.actual < ROOM * self.budget
            and self.seen.target(self.budget) > max(target, report.predicted)
        )

    def _at_the_ends(self) -> None:
        """The smallest plan and none; an error if that one is followed, and still too large."""
        smallest = self._smallest()
        if smallest.after.peak < min(f.report.predicted for f in self.made):
            self._compile(smallest)
        if not any(f.report.plan.is_trivial for f in self.made):
            self._compile(without_plan(self.graph, self.budget))
        best = self.best().report
        if not best.honoured and self.seen.is_followed():
            beside = show_size(self.seen.beside())
            raise BudgetError(
                self.budget,
                self.graph.name,
                best.actual,
                hint=f"the compiled program needs {beside} beside what is predicted for it",
            )

    def _smallest(self) -> MemoryPlan:
        try:
            return plan_memory(self.graph, 1)
        except BudgetError as error:
            return plan_memory(self.graph, error.smallest)


def _same(plan: MemoryPlan, fitted: Fitted) -> bool:
    other = fitted.report.plan
    return (
        plan.strict == other.strict
        and plan.after == other.after
        and plan.order == other.order
        and plan.loops == other.loops
    )
