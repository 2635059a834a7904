"""Graphs back to JAX: each equation binds the JAX primitive that it came from.

Evaluated under a JAX transformation, a graph is traced like any JAX code; evaluated while a graph
is being recorded, it is spliced into that graph, without a detour through JAX.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import Any

import jax

from ..ir.builder import Builder
from ..ir.errors import InterpretError
from ..ir.graph import Atom, Equation, Graph, Literal, memoised
from ..ir.memory import collector_paused
from ..ir.ops.call import call
from .avals import as_weak, to_aval, to_struct
from .export_rules import rule_for
from .jax_compat import typed_scalar, typeof
from .locations import find_site
from .trace import GraphTrace, recording_trace
from .varying import together


def eval_graph(graph: Graph, arguments: Sequence[Any]) -> list[Any]:
    """The outputs of a graph on flat arguments, its equations run or traced one by one."""
    trace = recording_trace()
    if trace is not None:
        return _splice(trace, graph, arguments)
    return evaluate(graph, arguments, _bind)


def call_graph(graph: Graph, arguments: Sequence[Any]) -> list[Any]:
    """As eval_graph, but kept as one call: of the graph, or of a jitted function of it."""
    trace = recording_trace()
    if trace is None:
        return list(jitted(graph)(*arguments))
    atoms = _fitting(trace, graph, arguments)
    return trace.emit(call, *atoms, graph=graph)


def jitted(graph: Graph) -> Callable[..., Any]:
    """The graph as a jitted function of flat arguments: one for each graph, for JAX to share."""

    def make() -> Callable[..., Any]:
        def run(*arguments: Any) -> list[Any]:
            return eval_graph(graph, arguments)

        run.__name__ = run.__qualname__ = graph.name
        return jax.jit(run)

    made: Callable[..., Any] = memoised(graph, "jitted", make)
    return made


def closed_jaxpr(graph: Graph) -> Any:
    """The graph as a closed jaxpr: one object for each graph."""

    def make() -> Any:
        def run(*arguments: Any) -> list[Any]:
            return eval_graph(graph, arguments)

        run.__name__ = graph.name
        return jax.make_jaxpr(run)(*[to_struct(t) for t in graph.input_types])

    return memoised(graph, "closed_jaxpr", make)


# -- running -------------------------------------------------------------------------------------


def _bind(eqn: Equation, inputs: Sequence[Any]) -> Sequence[Any]:
    if not eqn.primitive.has_regions:
        inputs = together(inputs)
    if eqn.location is not None and eqn.location.scope:
        with jax.named_scope(eqn.location.scope):
            return rule_for(eqn.primitive)(eqn, inputs)
    return rule_for(eqn.primitive)(eqn, inputs)


def evaluate(
    graph: Graph,
    arguments: Sequence[Any],
    bind: Callable[[Equation, Sequence[Any]], Sequence[Any]],
) -> list[Any]:
    """The outputs of a graph whose equations are run or traced by `bind`, in order."""
    if len(arguments) != len(graph.inputs):
        raise InterpretError(
            f"@{graph.name} takes {len(graph.inputs)} inputs, got {len(arguments)}"
        )
    env: dict[Any, Any] = dict(zip(graph.inputs, arguments, strict=True))
    last_read = _last_reads(graph)
    for i, eqn in enumerate(graph.equations):
        inputs = [_read(x, env) for x in eqn.inputs]
        env.update(zip(eqn.outputs, bind(eqn, inputs), strict=True))
        for value in last_read[i]:
            env.pop(value, None)
    return [_as_stated(_read(x, env), x) for x in graph.outputs]


def _last_reads(graph: Graph) -> list[list[Any]]:
    """For each equation, the values that nothing after it reads: their arrays are let go."""

    def make() -> list[list[Any]]:
        seen = set(graph.outputs)
        dead: list[list[Any]] = []
        for eqn in reversed(graph.equations):
            names = [x for x in dict.fromkeys((*eqn.inputs, *eqn.outputs)) if x not in seen]
            seen.update(names)
            dead.append(names)
        return dead[::-1]

    made: list[list[Any]] = memoised(graph, "last_reads", make)
    return made


def _read(x: Atom, env: dict[Any, Any]) -> Any:
    if x.__class__ is not Literal:
        return env[x]
    return typed_scalar(x.value, x.type.weak)


def _as_stated(x: Any, atom: Atom) -> Any:
    """x with the weakness that its type states: what an output promotes to is part of a program."""
    stated = atom.type
    found = typeof(x)
    if found.weak_type == stated.weak or found is to_aval(stated) or not hasattr(found, "dtype"):
        return x
    return as_weak(x, stated.weak)


# -- splicing ------------------------------------------------------------------------------------


def _splice(trace: GraphTrace, graph: Graph, arguments: Sequence[Any]) -> list[Any]:
    builder: Builder = trace.builder
    atoms = _fitting(trace, graph, arguments)
    site, _ = find_site(sys._getframe(1))
    builder.location = site.location if site is not None else None
    with collector_paused():
        return [trace.tracer(x) for x in builder.adopt(graph, atoms)]


def _fitting(trace: GraphTrace, graph: Graph, arguments: Sequence[Any]) -> list[Atom]:
    """The arguments as atoms. Raises InterpretError where a type is not the graph's."""
    atoms = [trace.atom(x, is_users=False) for x in arguments]
    for i, (x, value) in enumerate(zip(atoms, graph.inputs, strict=True)):
        if x.type.strong is not value.type.strong:
            raise InterpretError(f"input {i} of @{graph.name} has type {value.type}, got {x.type}")
    return atoms
