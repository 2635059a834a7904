"""Running a program one equation after the other, and when that is better than compiling it whole.

What a program costs before it returns its first result is mostly compile time: of the whole, or of
each operation in it that this process has not yet run on such arrays. Which is less depends on the
program: one of 25 equations compiles as a whole in the time of six operations, one of 2000
equations, repeating the same hundred operations, in three times that of the operations.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from typing import Any, Final

import jax

from ..ir.equality import graph_hash
from ..ir.errors import describe_equation
from ..ir.graph import Equation, Graph, Thunk, Value, equation_key, memoised
from ..ir.ops.call import call, checkpoint, custom_jvp_call, custom_vjp_call
from ..ir.ops.foreign import foreign
from ..ir.ops.shape import optimization_barrier
from ..lowering.narrow import in_bytes
from .export import evaluate
from .export_rules import rule_for

Runner = Callable[..., Sequence[Any]]

OPERATION: Final = 0.024
"""Seconds of compile time for one operation of its own (on the CPU platform; as the next two,
medians over the programs of benchmarks/unjitted.py: their ratios matter more than they)."""

PROGRAM: Final = 0.05
"""Seconds of compile time for a program, however small."""

OUR_OWN: Final = "F16_F16_F32"
"""The precision of products that JAX refuses on CPUs, where it has none, and covector computes."""

EQUATION: Final = 0.004
"""Seconds of compile time for each equation of it."""

_known: Final[set[Hashable]] = set()
"""The operations, with the types of their operands, that this process has run by themselves."""


def compile_seconds(graph: Graph) -> float:
    """About how long it takes to compile a graph as one program."""
    return PROGRAM + EQUATION * _size(graph)


def stepwise_seconds(graph: Graph) -> float:
    """About how long it takes to compile the operations of a graph that have not run before."""
    seconds = 0.0
    for key, eqn in _operations(graph).items():
        if key not in _known:
            seconds += sum(map(compile_seconds, eqn.regions())) or OPERATION
    return seconds


def run_stepwise(
    graph: Graph, arguments: Sequence[Any], runner: Callable[[Graph], Runner]
) -> list[Any]:
    """The outputs of a graph on flat arrays. Equations with regions are programs of their own, run
    by what `runner` gives for them.
    """

    def bind(eqn: Equation, inputs: Sequence[Any]) -> Sequence[Any]:
        if eqn.primitive is optimization_barrier:  # nothing is moved past it here
            return inputs
        if not eqn.primitive.has_regions and not _needs_our_lowering(eqn):
            try:
                return rule_for(eqn.primitive)(eqn, inputs)
            except FloatingPointError as error:  # under jax_debug_nans
                raise located(str(error), eqn) from None
        if eqn.primitive is call:
            return runner(eqn.params["graph"])(*inputs)
        given = {x: value for x, value in zip(eqn.inputs, inputs, strict=True) if _is_value(x)}
        return runner(unit(graph, eqn))(*given.values())

    outputs = evaluate(graph, arguments, bind)
    _known.update(_operations(graph))
    return [x if isinstance(x, jax.Array) else jax.device_put(x) for x in outputs]


def _needs_our_lowering(eqn: Equation) -> bool:
    """Whether XLA for CPUs refuses an operation as JAX lowers it, computes it wrongly or dies."""
    if eqn.params.get("precision") == OUR_OWN:
        return True
    return any([in_bytes(x.type) is not x.type for x in eqn.inputs])


def located(claim: str, eqn: Equation) -> FloatingPointError:
    """The error for an equation that makes an invalid value."""
    place = f" at {eqn.location}" if eqn.location is not None else ""
    return FloatingPointError(f"{claim}{place}\n    {describe_equation(eqn)}")


def run_opened(graph: Graph, *arguments: Any, runner: Callable[[Graph], Runner]) -> list[Any]:
    """As `run_stepwise`, for a graph that cannot be compiled: an operation in it has no lowering,
    only what its author does with arrays. Calls are opened until it stands alone."""

    def bind(eqn: Equation, inputs: Sequence[Any]) -> Sequence[Any]:
        if eqn.primitive in OPENED:
            return runner(eqn.params["graph"])(*inputs)
        if not eqn.primitive.has_regions:
            return rule_for(eqn.primitive)(eqn, inputs)
        given = {x: value for x, value in zip(eqn.inputs, inputs, strict=True) if _is_value(x)}
        return runner(unit(graph, eqn))(*given.values())

    return list(evaluate(graph, arguments, bind))


OPENED: Final = (call, checkpoint, custom_jvp_call, custom_vjp_call)


def has_checks(graph: Graph) -> bool:
    """Whether there are checks of checkify's that it has not taken away: they raise errors where
    they run by themselves, and cannot be compiled."""

    def search() -> bool:
        return any(
            (eqn.primitive is foreign and eqn.params["name"] == "check")
            or (eqn.primitive in OPENED and has_checks(eqn.params["graph"]))
            for eqn in graph.equations
        )

    found: bool = memoised(graph, "has checks", search)
    return found


def runs_by_itself(graph: Graph) -> bool:
    """Whether a program that cannot be compiled can be run step by step: what hinders is not in a
    loop or a branch."""
    return any(eqn.primitive is foreign or eqn.primitive in OPENED for eqn in graph.equations)


def _is_value(x: Any) -> bool:
    return isinstance(x, Value)


def unit(graph: Graph, eqn: Equation) -> Graph:
    """One equation as a program of the values that it reads."""

    def make() -> Graph:
        inputs = dict.fromkeys(x for x in eqn.inputs if isinstance(x, Value))
        return Graph(inputs, (eqn,), eqn.outputs, eqn.primitive.name)

    unit: Graph = memoised(graph, ("unit", eqn), make)
    return unit


def _operations(graph: Graph) -> dict[Hashable, Equation]:
    """An equation of each kind that is compiled once, by what makes the kind."""

    def make() -> dict[Hashable, Equation]:
        return {
            _kind(eqn): eqn for eqn in graph.equations if eqn.primitive is not optimization_barrier
        }

    found: dict[Hashable, Equation] = memoised(graph, "operations", make)
    return found


def _kind(eqn: Equation) -> Hashable:
    types: Any = tuple([x.type for x in eqn.inputs])
    params: dict[str, Any] = eqn.params
    if eqn.primitive.has_regions:  # by structure: what is known for good must not hold programs
        params = {name: _structure(value) for name, value in params.items()}
    key = equation_key(eqn.primitive, types, params)
    try:
        hash(key)
    except TypeError:  # arrays among the parameters
        return eqn.primitive, types, repr(eqn.params)
    return key  # type: ignore[no-any-return]


def _structure(value: Any) -> Any:
    if isinstance(value, Graph):
        return graph_hash(value)
    if isinstance(value, Thunk):
        return value.name
    return tuple(map(_structure, value)) if isinstance(value, tuple) else value


def _size(graph: Graph) -> int:
    """The equations of a graph, those of each region counted wherever it is used."""

    def make() -> int:
        return sum(1 + sum(map(_size, eqn.regions())) for eqn in graph.equations)

    size: int = memoised(graph, "size", make)
    return size
