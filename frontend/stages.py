"""The stages of a compiled function: traced, lowered, compiled. Each can be looked at."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import jax

from ..ir.errors import ArgumentError, UsageError
from ..ir.graph import Graph
from ..ir.module import Module
from ..lowering.call_spec import Call
from ..lowering.dispatch import Plan, make_dispatcher
from ..lowering.emit import lower_graph
from ..lowering.execute import Executable
from ..passes import Pass, run_passes
from ..passes.outline import compiled_for
from .budget import Fitted, build_within, measured
from .execute import clean, default_platform, load, tidy
from .memory_report import MemoryReport
from .staging import Staged
from .trees import skeleton

Passes = str | Sequence[Pass | str]


class Traced:
    """A function traced for given types: `.module`, and the next stage by `.lower()`."""

    def __init__(
        self,
        staged: Staged,
        call: Call,
        name: str,
        passes: Passes = (),
        memory_budget: int | None = None,
        optimize: str = "run-time",
    ) -> None:
        if staged.captured:
            raise UsageError(
                f"{name} uses values of an enclosing trace; stages can be looked at outside of it"
            )
        self.call = call
        self.name = name
        self.memory_budget = memory_budget
        self.optimize = optimize
        traced = Module(
            {name: staged.graph.renamed(name)},
            name=name,
            in_tree=skeleton(call.tree),
            out_tree=skeleton(staged.out_tree),
        )
        self.module = run_passes(traced, passes) if passes else traced
        # A pass that changes the signature makes arguments or results flat.
        self.in_tree = call.tree
        self.out_tree = staged.out_tree
        if self.module.main.input_types != traced.main.input_types:
            self.in_tree = _flat_arguments(len(self.module.main.inputs))
        if self.module.main.output_types != traced.main.output_types:
            self.out_tree = jax.tree.structure([0] * len(self.module.main.outputs))

    def lower(self, *, platforms: Sequence[str] | None = None) -> Lowered:
        """Lower to StableHLO, for other platforms than the arguments' if asked for."""
        return Lowered(self, tuple(platforms or (default_platform(self.call.leaves),)))

    @property
    def program(self) -> Graph:
        """What XLA is to compile; with a budget, what is to be planned."""
        if self.memory_budget is not None:
            return clean(self.module.main)
        return compiled_for(self.optimize, tidy(self.module.main))

    def __repr__(self) -> str:
        return f"Traced({self.module!r})"


class Lowered:
    """A program in StableHLO: `.as_text()`, and the next stage by `.compile()`."""

    def __init__(self, traced: Traced, platforms: tuple[str, ...]) -> None:
        self.traced = traced
        self.platforms = platforms
        self.program = traced.program
        self._lowering = lower_graph(self.program, platforms, traced.name)

    def as_text(self, *, debug_info: bool = False) -> str:
        """The StableHLO as text; `debug_info` prints locations."""
        return self._lowering.as_text(locations=debug_info)

    def compile(self, compiler_options: Mapping[str, Any] | None = None) -> Compiled:
        """Compile with XLA for where the arguments are. Raises UsageError for other platforms."""
        here = default_platform(self.traced.call.leaves)
        if self.platforms != (here,):
            raise UsageError(
                f"{self.traced.name} was lowered for {', '.join(self.platforms)}, which this "
                f"process cannot compile for: its platform is {here}"
            )
        call, budget = self.traced.call, self.traced.memory_budget
        how: dict[str, Any] = {"donated": call.donated, "options": compiler_options}
        if budget is None:
            executable, constants = load(self._lowering, self.program, call.leaves, **how)
            return Compiled(self, executable, [c.array for c in constants])
        fitted = build_within(self.program, call.leaves, budget, **how)
        arrays = [c.array for c in fitted.constants]
        return Compiled(self, fitted.executable, arrays, fitted)


class Compiled:
    """A compiled function of one signature.

    Call it with arguments of the types it was compiled for (static ones left out).
    """

    def __init__(
        self,
        lowered: Lowered,
        executable: Executable,
        constants: Sequence[Any],
        fitted: Fitted | None = None,
    ) -> None:
        self.lowered = lowered
        self.executable = executable
        self.constants = constants
        self._fitted = fitted
        self._dispatch = make_dispatcher(None, self._plan, name=lowered.traced.name)

    @property
    def module(self) -> Module:
        """The program that was compiled."""
        return self.lowered.traced.module

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._dispatch(*args, **kwargs)

    def _plan(self, call: Call) -> Plan:
        """Asked once for each signature. Raises ArgumentError for one that this is not for."""
        traced = self.lowered.traced
        if call.tree != traced.in_tree:
            raise ArgumentError(
                f"{traced.name} was compiled for arguments nested as {traced.in_tree}; "
                f"got {call.tree}"
            )
        if any(isinstance(x, jax.core.Tracer) for x in call.leaves):
            raise ArgumentError(
                f"{traced.name} is compiled, and was called with values that are being traced",
                hint="call the function itself, or one that covector.jit made, inside of traces",
            )
        return Plan(self.executable, traced.out_tree, self.constants)

    def memory_analysis(self) -> Any:
        """XLA's account of argument, output, temporary and code bytes."""
        return self.executable.memory_analysis()

    @property
    def program(self) -> Graph:
        """The flat program as it was lowered: what is computed again stands in it again."""
        return self.lowered.program if self._fitted is None else self._fitted.graph

    def report(self) -> MemoryReport:
        """The memory that was planned and is needed, what is held at the peak, what runs again.

        Without a budget the plan is to do nothing; the prediction is reported all the same.
        """
        if self._fitted is None:
            return measured(self.lowered.program, self.executable)
        return self._fitted.report

    def cost_analysis(self) -> dict[str, float]:
        """XLA's estimates: flops, bytes accessed, ..."""
        return self.executable.cost_analysis()

    def as_text(self) -> str:
        """The optimised HLO."""
        return self.executable.as_text()


def _flat_arguments(n: int) -> Any:
    return jax.tree.structure(((0,) * n, {}))
