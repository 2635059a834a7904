"""Running programs: compiled when arguments are arrays, re-bound when a trace is under way.

Executables are found by the structural hash of the program, so a new closure with an equal program
compiles nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax

from ..ir.errors import error_behind
from ..ir.graph import Constant, Graph, memoised, walk_graphs
from ..ir.module import Module
from ..ir.ops.shard_map import devices_in
from ..lowering.call_spec import Call
from ..lowering.dispatch import Plan, make_dispatcher
from ..lowering.emit import Lowering, lower_graph
from ..lowering.execute import Executable, compile_module, place
from ..lowering.jax_compat import is_trace_clean
from ..passes.pipeline import tidied
from .export import eval_graph

Runner = Callable[..., list[Any]]

_runners: dict[str, Runner] = {}
"""Dispatchers by the structural hash of their program."""


def execute(graph: Graph, arguments: Sequence[Any]) -> list[Any]:
    """The outputs of a graph on flat arguments, of whichever kind they are."""
    if is_tracing(arguments):
        return list(eval_graph(graph, arguments))
    try:
        outputs = list(runner(graph)(*arguments))
        if may_raise(graph):  # then what it raises belongs to this call
            jax.block_until_ready(outputs)
        return outputs
    except (RuntimeError, ValueError) as error:  # the second from C++ dispatch
        failure = error_behind(error)
        if failure is None:
            raise
        raise failure from None


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


def runner(graph: Graph) -> Runner:
    """A callable of flat arrays that compiles once per program and placement."""
    made: Runner = memoised(graph, "runner", lambda: _shared_runner(graph))
    return made


def _shared_runner(graph: Graph) -> Runner:
    program = tidy(graph)
    digest = program_hash(program)
    if digest not in _runners:
        _runners[digest] = _make_runner(program)
    return _runners[digest]


def _make_runner(graph: Graph) -> Runner:
    out_tree = jax.tree.structure([0] * len(graph.outputs))

    def compile_for(call: Call) -> Plan:
        executable, constants = build(graph, call.leaves)
        return Plan(executable, out_tree, [c.array for c in constants])

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
) -> tuple[Executable, Sequence[Constant]]:
    """Lower and compile a graph for arguments where they are; the constants it takes first."""
    target = platform or default_platform(arguments)
    lowered = lower_graph(graph, platforms=(target,))
    return load(lowered, graph, arguments, donated=donated, platform=platform, options=options)


def load(
    lowered: Lowering,
    graph: Graph,
    arguments: Sequence[Any],
    *,
    donated: Sequence[int] = (),
    platform: str | None = None,
    options: Mapping[str, Any] | None = None,
) -> tuple[Executable, Sequence[Constant]]:
    """Compile a lowered graph for arguments where they are; the constants it takes first."""
    constants = lowered.constants
    placement = (
        None if platform else place([*(c.array for c in constants), *arguments], devices_in(graph))
    )
    executable = compile_module(
        lowered.mlir_module,
        name=lowered.name,
        in_types=lowered.in_types,
        out_types=lowered.out_types,
        platform=platform,
        placement=placement,
        compiler_options=options,
        donated=[len(constants) + i for i in donated],
        ordered_effects=lowered.host.ordered_effects,
        unordered_effects=lowered.host.unordered_effects,
        host_callbacks=lowered.host.callbacks,
        keepalive=lowered.host.keepalive,
        has_barriers=lowered.has_barriers,
    )
    return executable, constants


def default_platform(arguments: Sequence[Any]) -> str:
    """The platform where arguments are committed to, or JAX's default one, as lowering names it."""
    platform = str(place(arguments).devices[0].platform)
    return "cuda" if platform == "gpu" else platform
