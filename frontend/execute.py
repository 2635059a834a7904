"""Running programs: compiled, or equation by equation; re-bound when a trace is under way.

What is known of a program is found by its structural hash, so a new closure with an equal program
compiles nothing; that it captures other arrays does not count.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from time import perf_counter
from typing import Any, Final, NamedTuple

import jax
import jax.numpy as jnp

from ..ir.errors import NotAvailable, error_behind
from ..ir.graph import Atom, Constant, Graph, Literal, memoised, walk_graphs
from ..ir.module import Module
from ..ir.ops.call import call
from ..ir.ops.shard_map import mesh_in
from ..ir.places import moves
from ..lowering.call_spec import Call
from ..lowering.dispatch import Plan, make_dispatcher
from ..lowering.emit import Lowering, lower_graph
from ..lowering.execute import Executable, Placement, compile_module, place
from ..lowering.jax_compat_calls import is_trace_clean
from ..lowering.result_types import types_on_mesh
from ..passes.eager import typed_eagerly
from ..passes.pipeline import cleaned, tidied
from ..passes.regions import arranged
from .captured import arrays_of, lifted
from .export import eval_graph
from .invalid_values import explainer
from .jax_compat import is_eager
from .offloading import check_offloaded
from .program_cache import ProgramCache
from .stepwise import (
    compile_seconds,
    has_checks,
    run_opened,
    run_stepwise,
    runs_by_itself,
    stepwise_seconds,
)

Runner = Callable[..., list[Any]]


def execute(graph: Graph, arguments: Sequence[Any]) -> list[Any]:
    """The outputs of a graph on flat arguments, of whichever kind they are.

    Outputs that are arguments, and outputs that are the same, are one array, not copies.
    """
    if is_eager():
        graph = typed_eagerly(graph)
    if is_tracing(arguments):
        return list(eval_graph(graph, arguments))
    computed, sources = _computed(graph)
    if computed is graph or not all([isinstance(arguments[i], jax.Array) for i in sources.given]):
        return _run(graph, arguments)
    outputs = _run(computed, arguments) if computed.outputs or graph.effects else []
    return [arguments[i] if is_given else outputs[i] for is_given, i in sources.places]


class _Sources(NamedTuple):
    """Where each output is found: (whether among the arguments, position); and those positions."""

    places: tuple[tuple[bool, int], ...]
    given: tuple[int, ...]


def _computed(graph: Graph) -> tuple[Graph, _Sources]:
    """The graph with the outputs only that it makes, each once."""

    def find() -> tuple[Graph, _Sources]:
        places: dict[Any, tuple[bool, int]] = {v: (True, i) for i, v in enumerate(graph.inputs)}
        outputs: list[Atom] = []
        for x in graph.outputs:
            if x not in places or x.__class__ is Literal:
                places[x] = (False, len(outputs))
                outputs.append(x)
        found = tuple([places[x] for x in graph.outputs])
        given = tuple(dict.fromkeys(i for is_given, i in found if is_given))
        return arranged(graph, graph.inputs, outputs), _Sources(found, given)

    made: tuple[Graph, _Sources] = memoised(graph, "computed", find)
    return made


def _run(graph: Graph, arguments: Sequence[Any]) -> list[Any]:
    try:
        run = runner(graph)
        outputs = _of_their_own(run, list(run(*arguments)), arguments)
        if may_raise(graph):  # then what it raises belongs to this call
            jax.block_until_ready(outputs)
        return outputs
    except (RuntimeError, ValueError) as error:  # the second from C++ dispatch
        failure = error_behind(error)
        if failure is None:
            raise
        raise failure from None


def _of_their_own(run: _Program, outputs: list[Any], arguments: Sequence[Any]) -> list[Any]:
    """What a program computes, as new arrays, which whoever gets them may give away: also where it
    is an argument in other words, as x is the gradient of the sum of w * x by w."""
    for i in run.passed_on:
        if any(outputs[i] is x for x in (*run.captured, *arguments)):
            outputs[i] = jnp.copy(outputs[i])
    return outputs


def may_raise(graph: Graph) -> bool:
    """Whether a program calls Python functions, which may raise."""

    def search() -> bool:
        return any(
            eqn.primitive.name in ("pure_callback", "io_callback") or eqn.params.get("throw")
            for inner in walk_graphs(graph)
            for eqn in inner.equations
        )

    found: bool = memoised(graph, "may raise", search)
    return found


def is_tracing(arguments: Sequence[Any]) -> bool:
    """Whether a call must be recorded rather than run."""
    return not is_trace_clean() or any(isinstance(x, jax.core.Tracer) for x in arguments)


def tidy(graph: Graph) -> Graph:
    """The program that is compiled: without repeated or unread equations."""
    made: Graph = memoised(graph, "tidy", lambda: tidied(graph))
    return made


def clean(graph: Graph) -> Graph:
    """The program that is planned: as `tidy`, but that loops still stack all that they did."""
    made: Graph = memoised(graph, "clean", lambda: cleaned(graph))
    return made


def runner(graph: Graph) -> _Program:
    """A callable of flat arrays. Equal programs share what they know of being run."""

    def make() -> tuple[Graph, list[Any], str, tuple[int, ...]]:
        program, captured = lifted(tidy(graph), _any_array)
        given = set(program.inputs)
        passed_on = tuple([i for i, x in enumerate(program.outputs) if x in given])
        return program, arrays_of(captured), program_hash(program), passed_on

    return _Program(*memoised(graph, "runner", make))


def _any_array(_: Constant) -> bool:
    return True


class _Program:
    """A graph as a callable of flat arrays, compiled when that pays.

    The first time that a program is seen it is compiled as a whole or run equation by equation,
    whichever is sooner done. When it comes again, it is compiled as soon as it has been run for the
    time that compiling it takes: all calls together wait at most twice as long as with the better
    choice from the start, and the second call of a program does not wait for a compiler.

    passed_on: the positions of outputs that are arguments.
    """

    __slots__ = ("captured", "digest", "graph", "passed_on")

    def __init__(
        self, graph: Graph, captured: list[Any], digest: str, passed_on: tuple[int, ...]
    ) -> None:
        self.graph, self.captured, self.digest = graph, captured, digest
        self.passed_on = passed_on

    def __call__(self, *own: Any) -> list[Any]:
        arguments = (*self.captured, *own)
        if has_checks(self.graph):
            return run_opened(self.graph, *arguments, runner=runner)
        run = _compiled.get(self.digest)
        if run is None and self._is_to_be_compiled():
            run = _compiled[self.digest] = _compile_on_call(self.graph)
        if run is not None:
            return self._run_compiled(run, arguments)
        is_first = self.digest not in _running
        start = perf_counter()
        outputs = run_stepwise(self.graph, arguments, runner)
        spent = 0.0 if is_first else perf_counter() - start
        _running[self.digest] = _running.get(self.digest, 0.0) + spent
        return outputs

    def _run_compiled(self, run: Runner, arguments: Sequence[Any]) -> list[Any]:
        """Its outputs; step by step where that is all that an operation's author provides for."""
        try:
            return run(*arguments)
        except NotAvailable:
            if not runs_by_itself(self.graph):
                raise
            _compiled[self.digest] = partial(run_opened, self.graph, runner=runner)
        return _compiled[self.digest](*arguments)

    def _is_to_be_compiled(self) -> bool:
        if moves(self.graph):
            return True  # the arrays between its steps would be in other memories
        if not any(eqn.primitive is call for eqn in self.graph.equations) and len(self.graph) == 1:
            return True  # one step is the whole program
        seconds = compile_seconds(self.graph)
        if self.digest in _running:
            return _running[self.digest] > seconds
        return seconds <= stepwise_seconds(self.graph)


_compiled: Final[ProgramCache[Runner]] = ProgramCache()
"""Dispatchers by the structural hash of their program."""

_running: Final[ProgramCache[float]] = ProgramCache()
"""By the same, how many seconds programs ran equation by equation, the first time not counted."""


def _compile_on_call(graph: Graph) -> Runner:
    out_tree = jax.tree.structure([0] * len(graph.outputs))

    def compile_for(call: Call) -> Plan:
        executable, constants = build(graph, call.leaves)
        held = [c.array for c in constants]
        return Plan(executable, out_tree, held, explain=explainer(graph, runner))

    return make_dispatcher(None, compile_for, name=graph.name)


def program_hash(graph: Graph) -> str:
    """The structural hash of a graph as a program."""
    return Module({"main": graph.renamed("main")}).hash()


def build(
    graph: Graph,
    arguments: Sequence[Any],
    *,
    donated: Sequence[int] = (),
    platform: str | None = None,
    options: Mapping[str, Any] | None = None,
    wanted: Any = None,
    out_shardings: Sequence[Any] | None = None,
) -> tuple[Executable, Sequence[Constant]]:
    """Lower and compile a graph for arguments where they are, or for the device `wanted`, where
    they must be then; the constants it takes first."""
    target = platform or default_platform(arguments, wanted)
    lowered = lower_graph(graph, platforms=(target,))
    how: dict[str, Any] = {"donated": donated, "platform": platform, "options": options}
    return load(lowered, graph, arguments, wanted=wanted, out_shardings=out_shardings, **how)


def load(
    lowered: Lowering,
    graph: Graph,
    arguments: Sequence[Any],
    *,
    donated: Sequence[int] = (),
    platform: str | None = None,
    options: Mapping[str, Any] | None = None,
    wanted: Any = None,
    out_shardings: Sequence[Any] | None = None,
) -> tuple[Executable, Sequence[Constant]]:
    """Compile a lowered graph, as `build`; the constants it takes first."""
    constants = lowered.constants
    arrays = [*(c.array for c in constants), *arguments]
    placement = None if platform else place(arrays, *mesh_in(graph), wanted=wanted)
    shardings = placement.in_shardings if placement else ()
    out_types = types_on_mesh(graph, lowered.out_types, shardings)

    def compile_it(lowered: Lowering) -> Executable:
        return compile_module(
            lowered.mlir_module,
            name=lowered.name,
            in_types=lowered.in_types,
            out_types=out_types,
            platform=platform,
            placement=placement,
            out_shardings=out_shardings,
            compiler_options=options,
            donated=[len(constants) + i for i in donated],
            ordered_effects=lowered.host.ordered_effects,
            unordered_effects=lowered.host.unordered_effects,
            host_callbacks=lowered.host.callbacks,
            keepalive=lowered.host.keepalive,
            has_barriers=lowered.has_barriers,
            has_borders=lowered.has_borders,
            on_host=lowered.out_on_host,
        )

    if lowered.has_kernels:
        executable = _compile_kernels(lowered, graph, placement, compile_it)
    else:
        executable = compile_it(lowered)
    if moves(graph):
        check_offloaded(graph, executable.memory_analysis())
    return executable, constants


def _compile_kernels(
    lowered: Lowering,
    graph: Graph,
    placement: Placement | None,
    compile_it: Callable[[Lowering], Executable],
) -> Executable:
    """A program with loops that are to be kernels, which XLA knows on one device only; with loops
    instead if there is something in them after all that its emitter of kernels lacks."""
    if placement is None or len(placement.devices) == 1:
        try:
            return compile_it(lowered)
        except jax.errors.JaxRuntimeError as error:
            if "UNIMPLEMENTED" not in str(error):
                raise
    return compile_it(lower_graph(graph, lowered.platforms, lowered.name, kernels=False))


def default_platform(arguments: Sequence[Any], wanted: Any = None) -> str:
    """The platform of the device `wanted`, or where arguments are committed to, or JAX's default
    one, as lowering names it."""
    platform = str((wanted or place(arguments).devices[0]).platform)
    return "cuda" if platform == "gpu" else platform
