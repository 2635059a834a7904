"""Compiling to a memory budget: plan, compile, measure; where the plan missed, plan again.

What XLA needs is predicted by `ir.liveness`. The prediction is held against what the compiled
program says it needs; if that is more than the budget, the plan is made anew for a budget that is
smaller by as much.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Final

import jax
from jaxlib.version import __version__ as JAXLIB

from ..ir.graph import Constant, Graph
from ..ir.sizes import show_size
from ..lowering.barriers import loses_barriers
from ..lowering.call_spec import Call
from ..lowering.dispatch import Plan, make_dispatcher
from ..lowering.execute import Executable
from ..passes.budget.errors import BudgetError
from ..passes.budget.plan import MemoryPlan, plan_memory, without_plan
from ..passes.checkpoint import contractions
from .execute import build, clean, is_tracing, program_hash
from .export import eval_graph
from .memory_report import MemoryReport
from .trace import recording_trace

TOLERANCE: Final = 1.05
"""A plan is honoured if the program needs at most so many times the budget."""

CLOSE: Final = 1.02
"""So near to the budget a first plan is not made anew: it would cost more than it saves."""

DOUBT: Final = 1.1
"""By so much a prediction may be too high: nearer to a budget, no plan may be needed."""

ATTEMPTS: Final = 3

_errors: Final[dict[str, float]] = {}
"""By a program's hash, how much more than predicted its last plan needed."""


Compile = Callable[[MemoryPlan, int], "Fitted"]


class MemoryBudgetWarning(UserWarning):
    """A compiled program needs more temporary memory than its budget."""


@dataclass(frozen=True)
class Fitted:
    """A program compiled to a budget."""

    graph: Graph
    executable: Executable
    constants: Sequence[Constant]
    report: MemoryReport


def build_within(
    graph: Graph,
    arguments: Sequence[Any],
    budget: int,
    *,
    donated: Sequence[int] = (),
    options: Mapping[str, Any] | None = None,
) -> Fitted:
    """Compile a graph so that its temporary memory is at most `budget` bytes.

    Raises BudgetError where there is no plan; warns where XLA did not follow the best one.
    """
    compiled = partial(_compiled, arguments=arguments, donated=donated, options=options)
    plain = _in_doubt(graph, budget, compiled)
    if plain is not None and plain.report.actual <= CLOSE * budget:
        return plain
    best = _fitted(graph, budget, compiled)
    if best.report.actual > TOLERANCE * budget:
        best = _not_worse(best, plain or compiled(without_plan(graph, budget), budget))
        warnings.warn(_claim(best.report, graph.name), MemoryBudgetWarning, stacklevel=4)
    return best


def _in_doubt(graph: Graph, budget: int, compiled: Compile) -> Fitted | None:
    """The program without a plan, if it is nearly predicted to fit: then it may."""
    plan = without_plan(graph, budget)
    return compiled(plan, budget) if budget < plan.before.peak <= DOUBT * budget else None


def _fitted(graph: Graph, budget: int, compiled: Compile) -> Fitted:
    """The planned program that needs the least of those tried, up to the first that fits.

    What an earlier budget has shown of the prediction's error is taken from the budget at once.
    """
    digest = program_hash(graph)
    target, best = int(budget / _errors.get(digest, 1.0)), None
    for attempt in range(ATTEMPTS):
        strict = attempt % 2 == 1
        try:
            plan = replace(plan_memory(graph, target), strict=strict)
        except BudgetError as error:
            if attempt == 0 and error.smallest > budget:
                raise _with_actual(error, graph, compiled) from None
            plan = replace(plan_memory(graph, error.smallest), strict=strict)
        fitted = compiled(plan, budget)
        _errors[digest] = max(fitted.report.actual / max(plan.after.peak, 1), 1.0)
        if best is None or fitted.report.actual < best.report.actual:
            best = fitted
        near = CLOSE if attempt == 0 else TOLERANCE
        if fitted.report.actual <= near * budget or plan.after.peak > target:
            break
        target = _corrected(target, plan, budget, fitted.report.actual)
    assert best is not None
    return best


def _with_actual(error: BudgetError, graph: Graph, compiled: Compile) -> BudgetError:
    """The error with what the smallest plan needs once it is compiled."""
    fitted = compiled(plan_memory(graph, error.smallest), error.smallest)
    return error.of(max(error.smallest, fitted.report.actual))


def _compiled(
    plan: MemoryPlan,
    budget: int,
    arguments: Sequence[Any],
    donated: Sequence[int],
    options: Mapping[str, Any] | None,
) -> Fitted:
    executable, constants = build(plan.graph, arguments, donated=donated, options=options)
    report = MemoryReport(
        budget=budget,
        plan=plan,
        actual=temporary_bytes(executable),
        contractions=(contractions(plan.unplanned.graph), contractions(plan.graph)),
        compiled_contractions=compiled_contractions(executable),
    )
    return Fitted(plan.graph, executable, constants, report)


_runners: dict[tuple[str, int], Callable[..., list[Any]]] = {}


def execute_within(graph: Graph, arguments: Sequence[Any], budget: int) -> list[Any]:
    """`execute`, compiled to a budget; while something is traced the plan becomes part of that."""
    program = clean(graph)
    if is_tracing(arguments):
        return list(eval_graph(planned_in_trace(graph, budget), arguments))
    key = program_hash(program), budget
    if key not in _runners:
        out_tree = jax.tree.structure([0] * len(program.outputs))

        def compile_for(call: Call) -> Plan:
            fitted = build_within(program, call.leaves, budget)
            return Plan(fitted.executable, out_tree, [c.array for c in fitted.constants])

        _runners[key] = make_dispatcher(None, compile_for, name=program.name)
    return list(_runners[key](*arguments))


def planned_in_trace(graph: Graph, budget: int) -> Graph:
    """The program by its plan, to become part of one that is traced.

    Warns where that is JAX's, and what JAX makes of it would not follow the plan.
    """
    if recording_trace() is None and loses_barriers(jax.default_backend()):
        warnings.warn(_LOST, MemoryBudgetWarning, stacklevel=4)
    return plan_memory(clean(graph), budget).graph


_LOST: Final = (
    f"a memory budget inside of a program that JAX compiles: on CPU jaxlib {JAXLIB} removes the "
    "barriers of the plan too early, so that what should be computed again is kept. Compile with "
    "covector.jit, or give jax.jit "
    'compiler_options={"xla_disable_hlo_passes": "cse_barrier_expander"}'
)


def measured(graph: Graph, executable: Executable) -> MemoryReport:
    """The report of a program that was compiled without a budget."""
    plan = without_plan(graph, 0)
    n = contractions(plan.unplanned.graph)
    actual = temporary_bytes(executable)
    return MemoryReport(None, plan, actual, (n, n), compiled_contractions(executable))


def _corrected(target: int, plan: MemoryPlan, budget: int, actual: int) -> int:
    """A budget smaller by as much as the prediction was too low, and a little more."""
    peak = min(target, plan.after.peak)
    return min(int(peak * budget / actual), peak - (actual - budget), peak - 1)


def _not_worse(best: Fitted, plain: Fitted) -> Fitted:
    """The program without a plan, if it needs no more than the planned one."""
    return plain if plain.report.actual <= best.report.actual else best


def _claim(report: MemoryReport, name: str) -> str:
    return (
        f"{name} needs {show_size(report.actual)} of temporary memory, more than its budget of "
        f"{show_size(report.budget or 0)}: XLA did not follow the plan, which predicted "
        f"{show_size(report.plan.after.peak)}"
    )


def temporary_bytes(executable: Executable) -> int:
    """What XLA says that the program needs beside arguments and results."""
    return int(executable.memory_analysis().temp_size_in_bytes)


_MATMUL: Final = re.compile(r"gemm|matmul|conv|dot", re.IGNORECASE)
_INSTRUCTION: Final = re.compile(
    r"^\s*(?:ROOT )?\S+ = .*?[\])}] ([a-z][\w-]*)\((.*)$", re.MULTILINE
)
_TARGET: Final = re.compile(r'custom_call_target="([^"]*)"')


def compiled_contractions(executable: Executable) -> int:
    """How many contractions are left in the optimised program, those of a loop's body once."""
    count = 0
    for opcode, rest in _INSTRUCTION.findall(executable.as_text()):
        if opcode in ("dot", "convolution"):
            count += 1
        elif opcode == "custom-call":
            target = _TARGET.search(rest)
            count += bool(target and _MATMUL.search(target.group(1)))
    return count
