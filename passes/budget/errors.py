"""A budget that no plan fits."""

from __future__ import annotations

from ...ir.errors import PassError
from ...ir.sizes import show_size


class BudgetError(PassError):
    """A memory budget is too small. `smallest`: the least, in bytes, that there is a plan for."""

    def __init__(self, budget: int, name: str, smallest: int, *, hint: str | None = None) -> None:
        claim = (
            f"a memory budget of {show_size(budget)} is too small for @{name}: the smallest that a "
            f"plan was found for is {show_size(smallest)} ({smallest} bytes)"
        )
        super().__init__(claim, hint=hint)
        self.budget, self.program, self.smallest = budget, name, smallest

    def of(self, budget: int, smallest: int) -> BudgetError:
        """The same error for another budget, with another smallest one."""
        return BudgetError(budget, self.program, smallest, hint=self.hint)
