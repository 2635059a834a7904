"""Transformations that are called from Python (`covector.grad(f)(x)`), as steps of pipelines.

They take a graph, not a module, and nobody has written a pipeline; yet the environment's switches
show them as they show passes (COVECTOR_PRINT_AFTER_ALL=1 python train.py), and what fails in one
names the equation and a file from which the failure can be repeated.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

from ..ir.errors import CovectorError
from ..ir.graph import Atom, Graph, Value
from ..ir.memory import collector_paused
from ..ir.module import Module
from ..ir.reproducer import explain, keep, runs_rules_of_users
from ..ir.types import has_tangent
from .base import Pass
from .batch import Batch, batch_graph
from .jvp import Jvp, jvp_graph
from .linearize import Linearize, Linearized, linearize_graph, slim_halves
from .manager import Manager, is_refusal
from .reverse import Grad, grad_graph
from .settings import Settings, is_switched
from .slim import WORTH
from .transpose import Transpose, linear_flags, pulled_by, transpose_graph
from .wrt import derived_module

Result = TypeVar("Result")
Graphs = Callable[[Result], Sequence[Graph]]


def watched(
    step: Pass, graph: Graph, transform: Callable[[], Result], graphs: Graphs[Result]
) -> Result:
    """What `transform` returns, which does to the graph what `step` does to a module's entry.

    `graphs` picks from the result what becomes of the entry: the new entry first. Errors of users'
    own rules are raised as they are; those of ours name the step, and a reproducer.
    """
    try:
        if not is_switched():
            with collector_paused():
                return transform()
        return _managed(step, graph, transform, graphs)
    except Exception as error:
        if not is_refusal(error) and not runs_rules_of_users(error):
            _tell(error, step, graph)
        raise


def _managed(
    step: Pass,
    graph: Graph,
    transform: Callable[[], Result],
    graphs: Graphs[Result],
) -> Result:
    """The transformation as a pipeline of one step, which no switch leaves out."""
    results: list[Result] = []
    errors: list[Exception] = []

    def run(step: Pass, module: Module) -> Module:
        try:
            results.append(transform())
        except Exception as error:
            errors.append(error)
            raise
        return derived_module(module, *graphs(results[0]))

    always = Settings.of({}).replace(
        stop_after=None, bisect_limit=None, disable=(), reproducer="off"
    )
    try:
        Manager((step,), always, run=run).run(Module({graph.name: graph}))
    except CovectorError:
        if errors:
            raise errors[0] from errors[0].__cause__
        raise
    return results[0]


def _tell(error: Exception, step: Pass, graph: Graph) -> None:
    """Have an error say in which step it arose, and how to repeat it."""
    if isinstance(error, CovectorError):
        place = f"pass {step}"
        if place not in (error.stage or ""):
            error.stage = f"{error.stage}, {place}" if error.stage else place
        keep(error, Module({graph.name: graph}), passes=str(step))
    elif not hasattr(error, "__notes__"):
        shown = explain(step.name, error)
        keep(shown, Module({graph.name: graph}), passes=str(step))
        for line in str(shown).splitlines():
            error.add_note(line)


# -- the steps -----------------------------------------------------------------------------------


def jvp(graph: Graph, active: Sequence[bool]) -> tuple[Graph, tuple[bool, ...]]:
    """`jvp_graph`, watched."""
    step = Jvp(_wrt(graph, active))
    return watched(step, graph, lambda: jvp_graph(graph, active), lambda made: made[:1])


def grad(
    graph: Graph,
    active: Sequence[bool],
    n_aux: int,
    with_value: bool,
    seeds: Sequence[tuple[int, Atom]] = (),
) -> Graph:
    """`grad_graph`, watched."""
    step = Grad(_wrt(graph, active), with_value)
    pull = lambda: grad_graph(graph, active, n_aux, with_value, seeds)
    return watched(step, graph, pull, lambda made: [made])


def linearize(graph: Graph, active: Sequence[bool]) -> Linearized:
    """`linearize_graph` with slim halves, watched."""
    step = Linearize(_wrt(graph, active), WORTH)
    split = lambda: slim_halves(linearize_graph(graph, active))
    return watched(step, graph, split, lambda made: [made.primal, made.linear])


def transpose(linear: Graph, cts: Sequence[Value] | None = None) -> tuple[Graph, tuple[bool, ...]]:
    """`transpose_graph` of a linear half, or `pulled_by` cotangents, watched."""
    flags = linear_flags(linear)

    def flip() -> tuple[Graph, tuple[bool, ...]]:
        return transpose_graph(linear, flags) if cts is None else pulled_by(linear, flags, cts)

    return watched(Transpose(), linear, flip, lambda made: made[:1])


def batch(
    graph: Graph, mapped: Sequence[bool], size: int, force: Sequence[bool], axis_name: str | None
) -> tuple[Graph, tuple[bool, ...]]:
    """`batch_graph`, watched."""
    axes: tuple[int | None, ...] = tuple(0 if m else None for m in mapped)
    step = Batch(size, (0,) if all(mapped) else axes, axis_name)
    stack = lambda: batch_graph(graph, mapped, size, force, axis_name)
    return watched(step, graph, stack, lambda made: made[:1])


def _wrt(graph: Graph, active: Sequence[bool]) -> tuple[int | str, ...] | None:
    """The option `wrt` that says which inputs are active; None for all that can be."""
    if all(a or not has_tangent(t) for a, t in zip(active, graph.input_types, strict=True)):
        return None
    return tuple(i for i, a in enumerate(active) if a)
