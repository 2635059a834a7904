"""Compiling to a memory budget: plan, compile, measure; where the plan missed, plan again.

What XLA needs is predicted by `ir.liveness`. The prediction is held against what the compiled
program says it needs; if that is more than the budget, the plan is made anew for one that is
smaller by what has been learned of the prediction (`fitting`, `calibration`).
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Final

import jax
from jaxlib.version import __version__ as JAXLIB

from ..ir.graph import Graph
from ..ir.sizes import show_size
from ..lowering.barriers import loses_barriers
from ..lowering.call_spec import Call
from ..lowering.dispatch import Plan, make_dispatcher
from ..lowering.execute import Executable
from ..passes.budget.plan import MemoryPlan, plan_memory, without_plan
from ..passes.checkpoint import contractions
from .calibration import Calibration
from .execute import build, clean, is_tracing, program_hash
from .export import eval_graph
from .fitting import Fitted, Fitting
from .memory_report import MemoryReport
from .program_cache import ProgramCache
from .trace import recording_trace

_seen: Final[ProgramCache[Calibration]] = ProgramCache()
"""By a program's hash and a backend, what its plans needed."""


class MemoryBudgetWarning(UserWarning):
    """A compiled program needs more temporary memory than its budget."""


def build_within(
    graph: Graph,
    arguments: Sequence[Any],
    budget: int,
    *,
    donated: Sequence[int] = (),
    options: Mapping[str, Any] | None = None,
    wanted: Any = None,
    out_shardings: Sequence[Any] | None = None,
) -> Fitted:
    """Compile a graph so that its temporary memory is at most `budget` bytes.

    Raises BudgetError where there is no plan; warns where XLA did not follow the best one.
    """
    key = program_hash(graph), jax.default_backend()
    if key not in _seen:
        _seen[key] = Calibration()
    how: dict[str, Any] = {
        "donated": donated, "options": options, "wanted": wanted, "out_shardings": out_shardings
    }  # fmt: skip
    compiled = partial(_compiled, arguments=arguments, how=how)
    best = Fitting(graph, budget, compiled, _seen[key]).run()
    if not best.report.honoured:
        warnings.warn(_claim(best.report, graph.name), MemoryBudgetWarning, stacklevel=4)
    return best


def _compiled(
    plan: MemoryPlan,
    budget: int,
    arguments: Sequence[Any],
    how: Mapping[str, Any],
) -> Fitted:
    executable, constants = build(plan.graph, arguments, **how)
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
