"""Mutable arrays that functions with rules of their own are given: what they hold, in and out.

A custom_vjp function takes what each holds and returns, after its results, what it leaves there; so
does its forward rule. A mutable array among the residuals is what it holds then.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..ir.errors import CovectorError, UsageError
from ..ir.graph import Graph
from .graph_trace import GraphTrace, GraphTracer, RefTracer


@dataclass(frozen=True, eq=False)
class Kind:
    """An argument that is a mutable array, of this type of JAX's."""

    aval: Any


Kinds = dict[int, Kind]
"""By position, the arguments that are mutable arrays."""


def kinds_of(refs: Mapping[int, Any]) -> Kinds:
    """One kind for each mutable array: arguments that are the same array have the same."""
    kinds: dict[int, Kind] = {}
    return {i: kinds.setdefault(id(_array_behind(x)), Kind(x.aval)) for i, x in refs.items()}


def _array_behind(x: Any) -> Any:
    return x.cell if isinstance(x, RefTracer) else x


def take_contents(values: Sequence[Any], places: Mapping[int, Any]) -> list[Any]:
    """What the arguments at these places hold at the end of a function, to be returned by it."""
    found = []
    for i in places:
        tracer = values[i]
        found.append(GraphTracer(tracer._trace, tracer.cell.read()))
    for i in places:
        values[i].cell.initial = values[i].cell.atom  # it is returned: nobody else has to
    return found


def written_among(
    graph: Graph, places: Iterable[int], outputs: Sequence[Any], n_consts: int = 0
) -> Iterator[tuple[int, Any]]:
    """The places of arguments that a function with such a graph writes to, and of the outputs of
    its call what it leaves there."""
    places = tuple(places)
    n = len(outputs) - len(places)
    for i, left, value in zip(places, graph.outputs[n:], outputs[n:], strict=True):
        if left is not graph.inputs[n_consts + i]:
            yield i, value


def leave_contents(
    trace: GraphTrace, graph: Graph, refs: Mapping[int, Any], n_operands: int, outputs: list[Any]
) -> list[Any]:
    """Write the last outputs of a call to the arrays that it was given; its other outputs.

    What a function with rules leaves there has no derivative: its rules do not speak of it.
    """
    n_consts = len(graph.inputs) - n_operands
    b = trace.builder
    for i, value in written_among(graph, refs, outputs, n_consts):
        trace.operand(refs[i]).write(b, b.stop_gradient(value.atom))
    return outputs[: len(outputs) - len(refs)]


def contents_of(residuals: list[Any], values: Sequence[Any]) -> tuple[dict[int, int], list[Any]]:
    """Residuals with what mutable arrays hold instead of those, and which arguments these are."""
    held: dict[int, int] = {}
    plain: list[Any] = []
    for i, x in enumerate(residuals):
        if isinstance(x, RefTracer):
            held[i] = next(
                j for j, y in enumerate(values) if isinstance(y, RefTracer) and y.cell is x.cell
            )
            x = GraphTracer(x._trace, x.cell.read())
        plain.append(x)
    return held, plain


def with_contents(results: list[Any], places: Sequence[int], of_contents: list[Any]) -> list[Any]:
    """The cotangents of a backward rule, to which those of what arrays hold in the end are added:
    that is what they held at first, which the rule has its own cotangent for."""
    summed = list(results)
    for i, ct in zip(places, of_contents, strict=True):
        if ct is not None:
            own = summed[i]
            summed[i] = ct if not isinstance(own, GraphTracer) else own + ct
    return summed


def held_after(arrays: Sequence[Any], before: Sequence[Any]) -> list[Any]:
    """What a backward rule leaves in mutable arrays: for None, what there was before."""
    found = []
    for x, ct in zip(arrays, before, strict=True):
        if x is not None:
            x.cell.initial = x.cell.atom  # it is returned: nobody else has to
            ct = GraphTracer(x._trace, x.cell.read())
        found.append(ct)
    return found


def check_closed_over(name: str, written: Sequence[Any]) -> None:
    """Raise UsageError where a function or a rule writes to an array that it was not given, or a
    backward rule to one of which the backward pass knows nothing (carried)."""
    if written:
        kinds = ", ".join(ref.aval.str_short() for ref in written)
        raise UsageError(
            f"{name} writes to a mutable array ({kinds}) that its function was not given as an "
            "argument; or it is a backward rule, and the array was made in what is differentiated, "
            "holds integers, or is written in no pass of grad, value_and_grad or vjp",
            hint="pass the array to the function, make it outside of what is differentiated, and "
            "have the forward rule return it among the residuals",
        )


def check_writes(
    name: str,
    function: Graph,
    rule: Graph,
    rule_outputs: Sequence[Any],
    places: Iterable[int],
    n_consts: int,
) -> None:
    """Raise UsageError where a forward rule writes to an argument that its function only reads:
    what it leaves there would be lost, for only what the function leaves is written back."""
    places = tuple(places)
    by_function = {i for i, _ in written_among(function, places, function.outputs, n_consts)}
    n = len(rule_outputs) - len(places)
    for i, left in zip(places, rule_outputs[n:], strict=True):
        if left is not rule.inputs[n_consts + i] and i not in by_function:
            raise UsageError(
                f"the forward rule {name} writes to argument {i}, a mutable array to which its "
                "function does not write",
                hint="do the same in both: the function is what runs where nothing is "
                "differentiated",
            )


def no_refs_in_jvp(name: str) -> CovectorError:
    return UsageError(
        f"the custom_jvp function {name} is given a mutable array, which has no tangent",
        hint="pass what it holds, ref[...], or use custom_vjp",
    )
