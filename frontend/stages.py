"""The stages of a compiled function: traced, lowered, compiled. Each can be looked at."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast

import jax

from ..ir.errors import ArgumentError, UsageError
from ..ir.graph import Graph
from ..ir.module import Module
from ..lowering.ahead import compiling
from ..lowering.call_spec import Call
from ..lowering.dispatch import Plan, make_dispatcher
from ..lowering.emit import lower_graph
from ..lowering.execute import Executable
from ..passes import Pass, run_passes
from .arguments import device_asked_for
from .avals import to_struct
from .execute import clean, default_platform, load, tidy
from .export import eval_graph
from .goals import goal_options, program_for
from .jax_compat import Tracer
from .modules import to_jaxpr
from .places import NOWHERE, Places
from .ref_args import is_ref_like
from .stage_info import StageInfo, shapes_of
from .staged import Staged
from .staging import names_of_leaves
from .trees import skeleton

if TYPE_CHECKING:
    from .fitting import Fitted
    from .memory_report import MemoryReport

Passes = str | Sequence[Pass | str]


class Traced(StageInfo):
    """A function traced for given types: `.module`, and the next stage by `.lower()`."""

    def __init__(
        self,
        staged: Staged,
        call: Call,
        name: str,
        passes: Passes = (),
        memory_budget: int | None = None,
        optimize: str = "run-time",
        wanted: Any = None,
        places: Places = NOWHERE,
        origin: str | None = None,
    ) -> None:
        self.call, self.wanted, self.places = call, wanted, places
        self.origin = origin
        self.name = name
        self.is_inner = any(isinstance(x, Tracer) for x in staged.captured)
        names = names_of_leaves(staged)
        self.refs = None if self.is_inner else staged.ref_use(name, call.leaves, names)
        self.leaves = call.leaves if self.is_inner else staged.operands(call.leaves)
        self.memory_budget = memory_budget
        self.optimize = optimize
        self.argument_tree, self.result_tree = call.tree, staged.out_tree
        self.in_types = staged.graph.input_types[staged.n_captured :]
        self.out_types = staged.graph.output_types[: staged.n_results]
        self._module = None if self.is_inner else self._run(staged, passes)

    @property
    def placed_leaves(self) -> list[Any]:
        """What the program takes, or what stands for it where it will be."""
        return self.places.placed(self.leaves)

    @property
    def wishes(self) -> dict[str, Any]:
        """Where the program is to run, and to leave its results."""
        return {"wanted": self.wanted, "out_shardings": self.places.outs}

    def _run(self, staged: Staged, passes: Passes) -> Module:
        """The program after the passes. One that changes the signature makes arguments or results
        flat."""
        traced = Module(
            {self.name: staged.graph.renamed(self.name)},
            name=self.name,
            in_tree=skeleton(self.argument_tree) if self.refs is None else None,
            out_tree=skeleton(self.result_tree) if self.refs is None else None,
        )
        if self.refs is not None:
            if passes:
                raise UsageError(
                    f"{self.name} uses mutable arrays that live outside of it: no passes can be "
                    "run over what is compiled",
                    hint="make the arrays inside of the function, or pass and return values",
                )
            return traced
        module = run_passes(traced, passes) if passes else traced
        main = module.main
        if main.input_types != self.in_types:
            self.argument_tree, self.in_types = _flat_arguments(len(main.inputs)), main.input_types
        if main.output_types != self.out_types:
            self.result_tree = jax.tree.structure([0] * len(main.outputs))
            self.out_types = main.output_types
        return module

    @property
    def _signature(self) -> Traced:
        return self

    @property
    def donated(self) -> tuple[int, ...]:
        """The positions of the donated leaves among what the program takes. Mutable arrays keep
        what they hold."""
        n = 0 if self.refs is None else len(self.refs.captured)
        kept = {i for i, x in enumerate(self.call.leaves) if is_ref_like(x)}
        return tuple([n + i for i in self.call.donated if i not in kept])

    @property
    def module(self) -> Module:
        """The program. Raises UsageError for one that uses values of an enclosing trace."""
        if self._module is None:
            raise UsageError(
                f"{self.name} uses values of an enclosing trace; its program can be looked at "
                "outside of it"
            )
        return self._module

    _num_consts = 0  # what jax.make_jaxpr of a compiled function asks for
    _consts = ()

    @property
    def jaxpr(self) -> Any:
        """The program as a closed jaxpr; one with effects, where there are mutable arrays."""
        use = self.refs
        if use is None:
            return to_jaxpr(self.module)
        main = self.module.main

        def run(*leaves: Any) -> list[Any]:
            return jax.tree.leaves(use.after(leaves, eval_graph(main, use.before(leaves))))

        return jax.make_jaxpr(run)(*self.call.leaves)

    @property
    def effects(self) -> frozenset[str]:
        """The names of what the program does beside computing its results."""
        return self.module.main.effects

    def lower(
        self,
        *,
        platforms: Sequence[str] | None = None,
        lowering_platforms: Sequence[str] | None = None,
        **for_export: Any,
    ) -> Lowered:
        """Lower to StableHLO, for other platforms than the arguments' if asked for
        (`lowering_platforms` is JAX's name for them). The rest is what jax.export.export asks for:
        a stage of JAX's own, of the same program."""
        chosen = platforms or lowering_platforms
        if for_export:
            theirs = self._as_jax_has_it().lower(lowering_platforms=chosen, **for_export)
            return cast(Lowered, theirs)
        return Lowered(self, tuple(chosen or (default_platform(self.placed_leaves, self.wanted),)))

    def _as_jax_has_it(self) -> Any:
        """The program, traced by JAX."""

        def program(*args: Any, **kwargs: Any) -> Any:
            outputs = eval_graph(self.module.main, jax.tree.leaves((args, kwargs)))
            return jax.tree.unflatten(self.result_tree, outputs)

        program.__name__ = program.__qualname__ = self.name
        args, kwargs = jax.tree.unflatten(self.argument_tree, map(to_struct, self.in_types))
        given = [i in self.donate_argnums for i in range(len(self.in_types))]
        flags, named = jax.tree.unflatten(self.argument_tree, given)
        donated = [i for i, flag in enumerate(flags) if any(jax.tree.leaves(flag))]
        names = [name for name, flag in named.items() if any(jax.tree.leaves(flag))]
        jitted = jax.jit(program, donate_argnums=donated, donate_argnames=names)
        return jitted.trace(*args, **kwargs)

    def program_for(self, platforms: Sequence[str]) -> Graph:
        """What XLA is to compile; with a budget, what is to be planned."""
        if self.memory_budget is not None:
            return clean(self.module.main)
        return program_for(self.optimize, tidy(self.module.main), platforms)

    def __repr__(self) -> str:
        return f"Traced({self.module!r})"


class Lowered(StageInfo):
    """A program in StableHLO: `.as_text()`, and the next stage by `.compile()`."""

    def __init__(self, traced: Traced, platforms: tuple[str, ...]) -> None:
        self.traced = traced
        self.platforms = platforms
        self.program = traced.program_for(platforms)
        self._lowering = lower_graph(self.program, platforms, traced.name)

    @property
    def _signature(self) -> Traced:
        return self.traced

    def as_text(self, dialect: str | None = None, *, debug_info: bool = False) -> str:
        """The program as text, in "stablehlo" or "hlo"; `debug_info` prints locations."""
        return self._lowering.as_text(locations=debug_info, dialect=dialect or "stablehlo")

    def compiler_ir(self, dialect: str | None = None) -> Any:
        """The program as the compiler's own object, in "stablehlo" or "hlo"."""
        return self._lowering.compiler_ir(dialect or "stablehlo")

    def cost_analysis(self) -> dict[str, float]:
        """XLA's estimates for the program as it is, before anything is optimised."""
        return self._lowering.cost_analysis()

    def compile(
        self, compiler_options: Mapping[str, Any] | None = None, *, device_assignment: Any = None
    ) -> Compiled:
        """Compile with XLA for where the arguments are. Raises UsageError for other platforms and
        devices."""
        wanted = device_asked_for("compile", None, (device_assignment, self.traced.wanted))
        leaves, budget = self.traced.placed_leaves, self.traced.memory_budget
        here = default_platform(leaves, wanted)
        if self.platforms != (here,):
            raise UsageError(
                f"{self.traced.name} was lowered for {', '.join(self.platforms)}, which this "
                f"process cannot compile for: its platform is {here}"
            )
        how: dict[str, Any] = {
            "donated": self.traced.donated,
            "options": goal_options(self.traced.optimize, here, compiler_options),
            **self.traced.wishes, "wanted": wanted,
        }  # fmt: skip
        if budget is None:
            with compiling(self.traced.origin):
                executable, constants = load(self._lowering, self.program, leaves, **how)
            return Compiled(self, executable, [c.array for c in constants])
        from .budget import build_within  # the planner is loaded when it is asked for

        fitted = build_within(self.program, leaves, budget, **how)
        arrays = [c.array for c in fitted.constants]
        return Compiled(self, fitted.executable, arrays, fitted)


class Compiled(StageInfo):
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

    call = __call__

    @property
    def _signature(self) -> Traced:
        return self.lowered.traced

    @property
    def in_shardings(self) -> Sequence[Any]:
        """Where each flat argument is to be."""
        return self.executable.in_shardings[len(self.constants) :]

    @property
    def input_shardings(self) -> Any:
        """Where each argument is to be."""
        return jax.tree.unflatten(self.in_tree, self.in_shardings)

    @property
    def output_shardings(self) -> Any:
        """Where each result is."""
        return jax.tree.unflatten(self.out_tree, self.executable.out_shardings)

    @property
    def input_formats(self) -> Any:
        """Where each argument is to be, and how it is laid out there."""
        flat = self.executable.formats()[0]
        return jax.tree.unflatten(self.in_tree, flat[len(self.constants) :])

    @property
    def output_formats(self) -> Any:
        """Where each result is, and how it is laid out there."""
        return jax.tree.unflatten(self.out_tree, self.executable.formats()[1])

    @property
    def out_info(self) -> Any:
        """For each result a jax.ShapeDtypeStruct that says where it is."""
        return shapes_of(self.out_tree, self._signature.out_types, self.executable.formats()[1])

    def runtime_executable(self) -> Any:
        """What the runtime (PJRT) has loaded."""
        return self.executable.loaded.xla_executable

    def _plan(self, call: Call) -> Plan:
        """Asked once for each signature. Raises ArgumentError for one that this is not for."""
        traced = self.lowered.traced
        if call.tree != self.in_tree:
            raise ArgumentError(
                f"{traced.name} was compiled for arguments nested as {self.in_tree}; "
                f"got {call.tree}"
            )
        if any(isinstance(x, jax.core.Tracer) for x in call.leaves):
            raise ArgumentError(
                f"{traced.name} is compiled, and was called with values that are being traced",
                hint="call the function itself, or one that covector.jit made, inside of traces",
            )
        places = self.in_shardings if traced.places.is_for_all else ()
        return Plan(
            self.executable, self.out_tree, self.constants, around=traced.refs, places=places
        )

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
            from .budget import measured

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
