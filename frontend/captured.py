"""Captured arrays as leading inputs: programs that differ in them alone are one program."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax

from ..ir.graph import Constant, Equation, Graph, Origin, Value, memoised
from ..ir.ops.call import call, constant


def lifted(
    graph: Graph, is_lifted: Callable[[Constant], bool]
) -> tuple[Graph, tuple[Constant, ...]]:
    """The graph with captured arrays of its own as inputs before the others, and those arrays;
    those of functions that it calls are its own."""
    inputs: dict[Constant, Value] = {}
    equations: list[Equation] = []
    renamed: dict[Any, Value] = {}
    for eqn in graph.equations:
        if eqn.primitive is constant and is_lifted(eqn.params["value"]):
            renamed[eqn.output] = inputs.setdefault(eqn.params["value"], eqn.output)
        elif eqn.primitive is call:
            equations.append(_handed_on(eqn, is_lifted, inputs))
        else:
            equations.append(eqn)
    if not inputs:
        return graph, ()
    if any(x is not y for x, y in renamed.items()):  # one array stands in several equations
        equations = [
            eqn.replace(inputs=tuple([renamed.get(x, x) for x in eqn.inputs])) for eqn in equations
        ]
    outputs = [renamed.get(x, x) for x in graph.outputs]
    return Graph((*inputs.values(), *graph.inputs), equations, outputs, graph.name), tuple(inputs)


def _handed_on(
    eqn: Equation, is_lifted: Callable[[Constant], bool], inputs: dict[Constant, Value]
) -> Equation:
    """A call that hands the function the arrays that it captures."""
    callee: Graph = eqn.params["graph"]
    key = ("lifted", is_lifted)
    taking, captured = memoised(callee, key, lambda: lifted(callee, is_lifted))
    if not captured:
        return eqn
    values = [inputs.setdefault(c, Value(c.type, c.name)) for c in captured]
    params = {**eqn.params, "graph": taking}
    return eqn.replace(inputs=(*values, *eqn.inputs), params=params, origin=_bare(eqn.origin))


def _bare(origin: Origin | None) -> Origin | None:
    """The same history without the functions in it, which hold the arrays that they capture."""
    if origin is None:
        return None
    eqn = origin.equation
    return Origin(origin.step, eqn.replace(params={}, origin=_bare(eqn.origin)))


def arrays_of(constants: Sequence[Constant]) -> list[Any]:
    """The captured arrays as they are handed over: on a device already, where that can be."""
    return [c.array if isinstance(c.array, jax.Array) else _on_device(c) for c in constants]


def _on_device(captured: Constant) -> Any:
    dtype: Any = captured.type.dtype
    return jax.numpy.asarray(captured.array, dtype=dtype)
