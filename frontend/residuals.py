"""What reverse mode keeps of a function's values, and what a memory budget makes of that."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from ..ir.ops.placement import DEVICE
from ..ir.sizes import show_size
from ..passes.linearize import Linearize
from ..passes.residuals import Residual, residuals_of
from ..passes.slim import WORTH
from ..passes.statistics import as_table
from .arguments import check_argnums
from .compiled import compile
from .gradients import grad
from .memory_report import MemoryReport
from .modules import make_ir

SHOWN = 20


@dataclass(frozen=True)
class Residuals:
    """What is saved for the backward pass, the largest first.

    plan: with a memory budget, the report of the gradient compiled to it: before and after,
    predicted and actual.
    """

    rows: tuple[Residual, ...]
    plan: MemoryReport | None = None

    @property
    def nbytes(self) -> int:
        """Bytes of all that is made; inputs, which are there anyway, do not count."""
        return sum(r.nbytes for r in self.rows if r.kind != "input")

    def __iter__(self) -> Iterator[Residual]:
        return iter(self.rows)

    def __len__(self) -> int:
        return len(self.rows)

    def __str__(self) -> str:
        lines: list[list[object]] = [["bytes", "type", "line", "why"]]
        lines += [
            [show_size(r.nbytes), r.value.type, r.location or f"({r.kind})", r.why()]
            for r in self.rows[:SHOWN]
        ]
        if len(self.rows) > SHOWN:
            rest = self.rows[SHOWN:]
            lines.append([show_size(sum(r.nbytes for r in rest)), "", "", f"{len(rest)} others"])
        elsewhere = sum(r.nbytes for r in self.rows if r.memory != DEVICE)
        of_them = f", {show_size(elsewhere)} of them on the host" if elsewhere else ""
        text = f"{show_size(self.nbytes)} saved for the backward pass{of_them}\n{as_table(lines)}"
        return text if self.plan is None else f"{text}\n\n{self.plan}"


def residuals(
    fun: Callable[..., Any],
    argnums: int | Sequence[int] = 0,
    *,
    memory_budget: int | str | None = None,
) -> Callable[..., Residuals]:
    """A function of fun's arguments that says what differentiating it saves, and why.

    Each row has `value`, `nbytes`, `location`, `kind` and `why()`. With a `memory_budget` fun
    returns a scalar and its gradient is compiled: `.plan` says what the budget makes of it.
    """

    def residuals_at(*args: Any, **kwargs: Any) -> Residuals:
        wanted = check_argnums(fun, argnums, len(args))
        module = make_ir(fun)(*args, **kwargs)
        found = residuals_of(Linearize(tuple(wanted), WORTH).run(module))
        plan = None
        if memory_budget is not None:
            gradient = grad(fun, argnums)
            plan = compile(gradient, *args, memory_budget=memory_budget, **kwargs).report()
        return Residuals(tuple(sorted(found, key=lambda r: -r.nbytes)), plan)

    return residuals_at
