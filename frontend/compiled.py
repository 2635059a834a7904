"""`jit` and `compile`: staged, compiled functions whose calls go through JAX's C++ dispatch."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import jax

from ..ir.errors import UsageError
from ..ir.graph import Constant, Graph
from ..ir.sizes import read_size
from ..lowering.ahead import compiling
from ..lowering.call_spec import Call, CallSpec
from ..lowering.dispatch import Done, Plan, make_dispatcher
from ..lowering.execute import Executable
from ..lowering.jax_compat import settings, unusual_layout
from ..lowering.jax_compat_calls import configuration, is_trace_clean
from ..lowering.plan import is_written_out
from .arguments import check_callable, check_inner, check_values, device_asked_for
from .avals import SymbolicSizesError
from .captured import arrays_of, lifted
from .error_types import TracingForbiddenError
from .execute import build, default_platform, is_tracing, program_hash, runner
from .expected import expected
from .explain import Listener, Record, found_again, listener, reason
from .export import call_graph, eval_graph
from .goals import check_goal, goal_options
from .invalid_values import explainer
from .places import asked_for
from .program_cache import ProgramCache
from .stages import Compiled, Lowered, Passes, Traced
from .staging import call_names, function_name, stage_call
from .trace import recording_trace

Numbers = int | Sequence[int] | None
Names = str | Iterable[str] | None


_executables: ProgramCache[tuple[Executable, Sequence[Constant]]] = ProgramCache()
"""Executables, and the arrays that they take first, by structural hash, placement and donation:
equal programs compile once."""


def jit(
    fun: Callable[..., Any] | None = None,
    *,
    static_argnums: Numbers = None,
    static_argnames: Names = None,
    donate_argnums: Numbers = None,
    donate_argnames: Names = None,
    keep_unused: bool = False,
    device: Any = None,
    backend: str | None = None,
    inline: bool = False,
    in_shardings: Any = None,
    out_shardings: Any = None,
    compiler_options: Mapping[str, Any] | None = None,
    passes: Passes = (),
    memory_budget: int | str | None = None,
    optimize: str = "run-time",
    explain: bool | Listener = False,
) -> Any:
    """Compile fun when it is called, once for each signature, as `jax.jit`.

    Known signatures are dispatched in C++. A new function with an equal program compiles nothing.
    The result has `.trace(*args)`, whose stages are `.module`, `.lower()` and `.compile()`.
    `passes` is a pipeline to run over the program before it is lowered. `memory_budget` is the
    temporary memory ("24MiB", or bytes) that the program may need, beside arguments and results:
    what would not fit is computed again instead of kept. `optimize` says what to save: "run-time",
    "balanced" or "compile-time". See `compile`. With `explain`, each compile is explained on
    standard error, or to the function given: which type or part of the program differs from the
    nearest program compiled before.

    Arguments that the program does not read are not handed to it, except with `keep_unused`. With
    `inline`, a call in a trace leaves its equations there instead of one call. A program is of one
    device: shardings, `device` and `backend` may name which, for calls that are not in a trace.
    """
    if fun is None:
        return lambda f: jit(
            f, static_argnums=static_argnums, static_argnames=static_argnames,
            donate_argnums=donate_argnums, donate_argnames=donate_argnames,
            keep_unused=keep_unused, device=device, backend=backend, inline=inline,
            in_shardings=in_shardings, out_shardings=out_shardings,
            compiler_options=compiler_options, passes=passes, memory_budget=memory_budget,
            optimize=optimize, explain=explain,
        )  # fmt: skip
    check_callable(fun, "jit")
    wanted = device_asked_for("jit", backend, (device, in_shardings, out_shardings))
    is_for_all = device is not None or backend is not None
    asked = (wanted if is_for_all else None, in_shardings, out_shardings)
    into_trace = eval_graph if inline else call_graph
    budget = _read_budget(memory_budget, optimize)
    function, tell = fun, listener(explain)
    spec = CallSpec.resolve(fun, static_argnums, static_argnames, donate_argnums, donate_argnames)

    def by_jax(error: SymbolicSizesError) -> Any:
        """JAX's function, for sizes that are left open; the error, with options of ours."""
        if passes or memory_budget is not None or optimize != "run-time":
            raise error
        how = {"in_shardings": in_shardings, "out_shardings": out_shardings, "device": device}
        make: Any = jax.jit
        return make(
            function, static_argnums=static_argnums, static_argnames=static_argnames,
            donate_argnums=donate_argnums, donate_argnames=donate_argnames,
            keep_unused=keep_unused, inline=inline, backend=backend,
            compiler_options=compiler_options,
            **{name: place for name, place in how.items() if place is not None},
        )  # fmt: skip

    def awaited(call: Call) -> str | None:
        if budget is not None:  # several programs may be compiled
            return None
        return expected(function, call, passes, optimize, compiler_options)

    def plan(call: Call) -> Plan | Done:
        try:
            return plan_of_known_sizes(call)
        except SymbolicSizesError as error:
            theirs = by_jax(error)
        args, kwargs = call.rebuild(call.leaves)
        return Done(theirs(*args, **kwargs))

    def plan_of_known_sizes(call: Call) -> Plan | Done:
        if settings.jax_no_tracing:
            raise TracingForbiddenError(
                f"{function_name(function)} has to be traced for these arguments, and no_tracing "
                "is set"
            )
        name = function_name(function)
        if is_trace_clean():  # else JAX may only ask for types, and says itself where it does not
            check_values(call.leaves, lambda: call_names(function, call), name)
        origin = awaited(call)
        trace = recording_trace()
        outer = trace if trace is not None and trace.carries else None
        traced = stage_call(function, call, takes_refs=True, carries=outer is not None)
        places = asked_for(name, call, traced, asked)
        if is_tracing((*call.leaves, *traced.captured)):
            graph = traced.graph
            check_inner(name, compiler_options, wanted)
            if budget is not None:
                from .budget import planned_in_trace  # the planner is loaded when it is asked for

                graph = planned_in_trace(graph, budget)
            outputs = into_trace(graph, traced.operands(call.leaves, outer))
            outputs = traced.settle(outputs, outer)
            return Done(jax.tree.unflatten(traced.out_tree, outputs))
        stages = Traced(traced, call, name, passes, budget, optimize, wanted, places, origin)
        return _plan(stages, compiler_options, keep_unused, tell)

    dispatch = make_dispatcher(
        fun, plan, static_argnums=static_argnums, static_argnames=static_argnames,
        donate_argnums=donate_argnums, donate_argnames=donate_argnames,
    )  # fmt: skip

    def trace(*args: Any, **kwargs: Any) -> Traced:
        """Stage for these arguments (arrays or jax.ShapeDtypeStruct)."""
        try:
            return trace_of_known_sizes(spec.split(args, kwargs))
        except SymbolicSizesError as error:
            theirs = by_jax(error)
        return theirs.trace(*args, **kwargs)  # type: ignore[no-any-return]

    def trace_of_known_sizes(call: Call) -> Traced:
        origin, name = awaited(call), function_name(function)
        staged = stage_call(function, call, takes_refs=True)
        places = asked_for(name, call, staged, asked)
        return Traced(staged, call, name, passes, budget, optimize, wanted, places, origin)

    def lower(*args: Any, **kwargs: Any) -> Lowered:
        """`.trace(*args, **kwargs).lower()`."""
        return trace(*args, **kwargs).lower()

    def eval_shape(*args: Any, **kwargs: Any) -> Any:
        """The types of the results for these arguments, as a tree of jax.ShapeDtypeStruct."""
        return trace(*args, **kwargs).out_info

    dispatch.eval_shape = eval_shape  # type: ignore[attr-defined]
    dispatch.trace = trace  # type: ignore[attr-defined]
    dispatch.lower = lower  # type: ignore[attr-defined]
    return dispatch


def _read_budget(memory_budget: int | str | None, optimize: str) -> int | None:
    """The budget in bytes. Raises UsageError for wrong values, and for two that do not fit."""
    check_goal(optimize)
    if memory_budget is None:
        return None
    if optimize != "run-time":
        raise UsageError(
            f"memory_budget does not go together with optimize={optimize!r}: a plan of memory is "
            "made for the program as XLA sees it whole",
            hint="give one of the two",
        )
    return read_size(memory_budget)


def _plan(
    traced: Traced,
    options: Mapping[str, Any] | None,
    keep_unused: bool,
    tell: Listener | None = None,
) -> Plan:
    """The executable of a program for arguments where they are, found by its structure."""
    call, budget = traced.call, traced.memory_budget
    graph = traced.program_for((default_platform(traced.placed_leaves, traced.wanted),))
    kept = (True,) * len(traced.leaves) if keep_unused else read_inputs(graph)
    taken = [i for i, is_kept in enumerate(kept) if is_kept]
    program = graph if all(kept) else with_inputs(graph, taken)
    program, captured = (program, ()) if budget is not None else lifted(program, _is_handed_over)
    places = traced.placed_leaves
    leaves = [*arrays_of(captured), *[places[i] for i in taken]]
    donated = [len(captured) + taken.index(i) for i in traced.donated if kept[i]]
    where = tuple(map(_place_of, leaves))
    options = goal_options(traced.optimize, default_platform(leaves, traced.wanted), options)
    chosen = tuple(sorted(options.items())) if options else ()
    key = (
        program_hash(program), where, tuple(donated), traced.result_tree, chosen, configuration(),
        budget, kept, (traced.wanted, traced.places.outs),
    )  # fmt: skip
    if tell is not None:
        is_known = key in _executables
        record = Record(traced.name, program, _facts(call, key))
        tell(found_again(traced.name) if is_known else reason(record))
    if key not in _executables:
        how: dict[str, Any] = {"donated": donated, "options": options, **traced.wishes}
        if budget is None:
            with compiling(traced.origin):
                _executables[key] = build(program, leaves, **how)
        else:
            from .budget import build_within  # see above

            fitted = build_within(program, leaves, budget, **how)
            _executables[key] = fitted.executable, fitted.constants
    executable, constants = _executables[key]
    explain, handed = explainer(program, runner), leaves[: len(captured)]
    held = [c.array for c in constants] + handed

    def explained(taken: Sequence[Any], error: FloatingPointError) -> FloatingPointError:
        return explain([*handed, *taken], error)

    own = leaves[len(captured) :]
    moved = [x.sharding if isinstance(x, jax.ShapeDtypeStruct) else None for x in own]
    return Plan(executable, traced.result_tree, held, kept, explained, traced.refs, moved)


def _place_of(x: Any) -> Any:
    """Where an argument is, or is asked to be, and how it is laid out there; None: anywhere."""
    is_somewhere = isinstance(x, jax.ShapeDtypeStruct) or getattr(x, "committed", False)
    return (x.sharding, unusual_layout(x)) if is_somewhere else None


def _is_handed_over(captured: Constant) -> bool:
    """Whether a captured array is passed to the program, which then serves for any of its type."""
    return not is_written_out(captured)


def _facts(call: Call, key: tuple[Any, ...]) -> dict[str, Any]:
    """What a compiled program is for, beside its structure: by what it is called."""
    names = (
        "places of the arguments", "donated arguments", "nesting of the results",
        "compiler options", "configuration of JAX", "memory budget", "arguments handed over",
        "device asked for",
    )  # fmt: skip
    facts = dict(zip(names, key[1:], strict=True))
    return {"nesting of the arguments": call.tree, "static arguments": call.static, **facts}


def read_inputs(graph: Graph) -> tuple[bool, ...]:
    """Which inputs the program reads."""
    read: set[Any] = set(graph.outputs)
    for eqn in graph.equations:
        read.update(eqn.inputs)
    return tuple([v in read for v in graph.inputs])


def with_inputs(graph: Graph, taken: Sequence[int]) -> Graph:
    """The program without inputs that it does not read."""
    inputs = [graph.inputs[i] for i in taken]
    return Graph(inputs, graph.equations, graph.outputs, graph.name)


def compile(
    fun: Callable[..., Any],
    *args: Any,
    passes: Passes = (),
    compiler_options: Mapping[str, Any] | None = None,
    static_argnums: Numbers = None,
    static_argnames: Names = None,
    donate_argnums: Numbers = None,
    memory_budget: int | str | None = None,
    optimize: str = "run-time",
    **kwargs: Any,
) -> Compiled:
    """Trace, transform, lower and compile fun for arguments (arrays or jax.ShapeDtypeStruct).

    `passes` is a pipeline to run over the program: `compile(loss, p, x, passes="grad{wrt=0}")`.
    A pass that changes what the program takes or returns makes its arguments and results flat.

    `memory_budget` is the temporary memory that the compiled program may need, beside its arguments
    and results: bytes, or a size such as "24MiB". The program then keeps less and computes more,
    at least extra cost (for `grad` and `vjp` programs: activations are computed again by the
    backward pass). Results stay the same, random numbers included. `.report()` says what is held
    and what is computed again. Raises BudgetError, with the smallest budget that works, where none
    does; warns (MemoryBudgetWarning) where XLA needs more than was planned.

    With `optimize="compile-time"`, blocks that the program repeats, found by their structure,
    become functions that XLA compiles once; what it otherwise fuses across their borders it does
    not, and memory may grow. On CPUs that is done only with blocks of long chains that XLA would
    make one loop of, and LLVM does less (its optimisation level 1). "balanced" is the same, with
    functions only where they leave less than half of the program.
    """
    budget = _read_budget(memory_budget, optimize)
    spec = CallSpec.resolve(fun, static_argnums, static_argnames, donate_argnums, None)
    call = spec.split(args, kwargs)
    origin = expected(fun, call, passes, optimize, compiler_options) if budget is None else None
    staged, name = stage_call(fun, call, takes_refs=True), function_name(fun)
    traced = Traced(staged, call, name, passes, budget, optimize, origin=origin)
    return traced.lower().compile(compiler_options)
