"""What a memory budget makes of a program, as data: before and after, predicted and actual."""

from __future__ import annotations

from typing import Any

from ..ir.module import Module
from ..ir.sizes import read_size
from .progress import say
from .xla import uses_64_bits


def plan_of(module: Module, budget: int | str) -> dict[str, Any]:
    """The entry compiled to a budget, and without one. Raises BudgetError where there is no plan.

    Bytes are of temporary memory; `text` is the whole report.
    """
    import jax

    from ..frontend.avals import to_struct
    from ..frontend.budget import build_within, measured
    from ..frontend.execute import build, clean, tidy

    size = read_size(budget)
    graph = module.main
    with jax.enable_x64(bool(jax.enable_x64.value) or uses_64_bits(graph)):
        arguments = [to_struct(v.type) for v in graph.inputs]
        say("compiling without a plan")
        plain = measured(tidy(graph), build(tidy(graph), arguments)[0])
        say("planning, and compiling what was planned")
        planned = build_within(clean(graph), arguments, size).report
    plan = planned.plan
    return {
        "budget": size,
        "predicted": {"before": plain.predicted, "after": planned.predicted},
        "actual": {"before": plain.actual, "after": planned.actual},
        "cost": plan.after.cost / max(plan.before.cost, 1.0),
        "honoured": planned.honoured,
        "loops": [vars(loop) for loop in planned.loops()],
        "recomputed": [vars(row) for row in planned.recomputed()],
        "text": str(planned),
    }
