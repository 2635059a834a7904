"""Split a program by what is known.

    fn       (known, unknown)    -> (known', unknown')
    known    known               -> (known', residual)
    unknown  (residual, unknown) -> unknown'

An equation with only known inputs is known. Values cross over unchanged, so the split copies
nothing but lists; only equations with regions are taken apart (by rules of their own). What reads
no value at all (zeros, counts, captured arrays) is not a residual: it stands in both halves.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ..ir.errors import PassError
from ..ir.graph import Equation, Graph, Literal, Value, captures, memoised
from .tables import split as rules


@dataclass(frozen=True)
class Split:
    """The two halves of a graph.

    `known` returns the known outputs, then the residuals. `unknown` takes the residuals, then the
    unknown inputs, and returns the unknown outputs. `unknown_out[i]` tells which kind output i is.
    """

    known: Graph
    unknown: Graph
    residuals: tuple[Value, ...]
    unknown_out: tuple[bool, ...]


def split_graph(
    graph: Graph, unknown: Sequence[bool], force_unknown: Sequence[bool] | None = None
) -> Split:
    """Split a graph whose inputs are unknown where `unknown` says so.

    `force_unknown` marks outputs to return from the unknown half even if they are known.
    """
    flags = tuple(unknown)
    known = (False,) * len(graph.outputs)
    made: Split = memoised(graph, ("split", flags), lambda: _split(graph, flags, known))
    force = tuple(force_unknown or known)
    if any([f and not u for f, u in zip(force, made.unknown_out, strict=True)]):
        forced = tuple([f or u for f, u in zip(force, made.unknown_out, strict=True)])
        made = memoised(graph, ("split", flags, forced), lambda: _split(graph, flags, forced))
    return made


def ordered_graph(graph: Graph, unknown: Sequence[bool]) -> Graph:
    """The same function with everything that is known first, calls and loops taken apart: what a
    graph must be to be transposed in its unknown inputs."""
    split = split_graph(graph, unknown)
    first = split.known.equations
    placed = set(map(id, first))
    rest = [eqn for eqn in split.unknown.equations if id(eqn) not in placed]
    return graph.with_equations([*first, *rest])


def _split(graph: Graph, unknown: tuple[bool, ...], forced: tuple[bool, ...]) -> Split:
    unknown_values = {v for v, u in zip(graph.inputs, unknown, strict=True) if u}
    first, second = divide(graph.equations, unknown_values)
    unknown_out = tuple(
        f or v in unknown_values for v, f in zip(graph.outputs, forced, strict=True)
    )
    known_outputs = [v for v, u in zip(graph.outputs, unknown_out, strict=True) if not u]
    unknown_outputs = [v for v, u in zip(graph.outputs, unknown_out, strict=True) if u]
    unknown_inputs = [v for v, u in zip(graph.inputs, unknown, strict=True) if u]
    residuals = captures(unknown_inputs, second, unknown_outputs)
    second, residuals = _repeat_sources(first, second, residuals)
    known_inputs = [v for v, u in zip(graph.inputs, unknown, strict=True) if not u]
    known = Graph(known_inputs, first, (*known_outputs, *residuals), f"{graph.name}.known")
    rest = Graph((*residuals, *unknown_inputs), second, unknown_outputs, f"{graph.name}.unknown")
    return Split(known, rest, residuals, unknown_out)


def divide(
    equations: Sequence[Equation], unknown: set[Any]
) -> tuple[list[Equation], list[Equation]]:
    """What can be computed without the unknown values, and the rest, whose outputs are unknown
    too."""
    first: list[Equation] = []
    second: list[Equation] = []
    for eqn in equations:
        if unknown.isdisjoint(eqn.inputs):
            first.append(eqn)
        elif eqn.primitive.may_have_effects:
            _place(eqn, unknown, first, second)
        else:
            second.append(eqn)
            unknown.update(eqn.outputs)
    return first, second


def _place(eqn: Equation, unknown: set[Any], first: list[Equation], second: list[Equation]) -> None:
    """Put an equation with regions or effects, that reads unknown values, in the half it belongs
    to, or take it apart."""
    rule = rules.get(eqn.primitive)
    if rule is None:
        if eqn.primitive.effects_of(eqn):  # those of a region wait with all of it
            raise PassError(
                f"{eqn.primitive.name} has effects and depends on unknown values",
                eqn,
                stage="partial_eval",
            )
        second.append(eqn)
        unknown.update(eqn.outputs)
        return
    known_eqns, unknown_eqns, unknown_outputs = rule(eqn, [x in unknown for x in eqn.inputs])
    first.extend(known_eqns)
    second.extend(unknown_eqns)
    unknown.update(v for v, u in zip(eqn.outputs, unknown_outputs, strict=True) if u)


def _repeat_sources(
    first: list[Equation], second: list[Equation], residuals: tuple[Value, ...]
) -> tuple[list[Equation], tuple[Value, ...]]:
    """Put what is made of no value (a count, a mask of counts) in the second half too, in place of
    its residuals."""
    free: set[Any] = set()
    sources = []
    for eqn in first:
        if _reads_nothing(eqn, free):
            free.update(eqn.outputs)
            sources.append(eqn)
    needed: set[Any] = set(residuals)
    if needed.isdisjoint(free):
        return second, residuals
    repeated = []
    for eqn in reversed(sources):
        if not needed.isdisjoint(eqn.outputs):
            needed.update(eqn.inputs)
            repeated.append(eqn)
    repeated.reverse()
    made = {v for eqn in repeated for v in eqn.outputs}
    return [*repeated, *second], tuple([r for r in residuals if r not in made])


def _reads_nothing(eqn: Equation, free: set[Any]) -> bool:
    """Whether an equation reads literals only; or, if it is cheap, what is made of such."""
    inputs, primitive = eqn.inputs, eqn.primitive
    if inputs:  # the first tells it of nearly all
        x = inputs[0]
        if x.__class__ is not Literal and x not in free:
            return False
    if primitive.may_have_effects and (primitive.has_regions or eqn.effects):
        return False
    if not inputs or (len(inputs) == 1 and inputs[0].__class__ is Literal):
        return True
    if not primitive.elementwise and primitive.family != "shape":
        return False
    return all([x.__class__ is Literal or x in free for x in inputs])
