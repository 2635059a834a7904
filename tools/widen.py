"""A program in double precision, where derivatives can be compared but for rounding."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..ir.constants import has_contents
from ..ir.errors import CovectorError
from ..ir.graph import Atom, Constant, Equation, Graph, Literal, Value
from ..ir.module import Module
from ..ir.types import TensorType, dtype_category

_WIDE = {"float": np.dtype(np.float64), "complex": np.dtype(np.complex128)}


def widened(module: Module) -> Module | None:
    """The module with every float and complex type widened; None if that is no program.

    Operations on the bits of numbers, or thunks that would make narrow graphs, do not widen.
    """
    graphs: dict[Graph, Graph] = {}
    constants: dict[Constant, Constant] = {}
    try:
        for graph in module.all_graphs():
            graphs[graph] = _widen_graph(graph, graphs, constants)
        wide = module.replace(graphs={n: graphs[g] for n, g in module.graphs.items()})
        return wide.verify()
    except CovectorError:
        return None


def wide_type(type: TensorType) -> TensorType:
    return type.with_dtype(_WIDE.get(dtype_category(type.dtype), type.dtype))


def wide_array(x: Any) -> Any:
    """An array in double precision; integers and booleans as they are."""
    wide = _WIDE.get(dtype_category(x.dtype)) if isinstance(x, (np.ndarray, np.generic)) else None
    return x if wide is None else np.asarray(x).astype(wide)


def _widen_graph(
    graph: Graph, graphs: dict[Graph, Graph], constants: dict[Constant, Constant]
) -> Graph:
    graph_inputs = [Value(wide_type(v.type), v.name) for v in graph.inputs]
    env: dict[Any, Atom] = dict(zip(graph.inputs, graph_inputs, strict=True))

    def wide(x: Atom) -> Atom:
        if isinstance(x, Literal):
            return Literal(x.value, wide_type(x.type))
        return env[x]

    equations = []
    for eqn in graph.equations:
        params = {k: _widen_param(p, graphs, constants) for k, p in eqn.params.items()}
        inputs = tuple(wide(x) for x in eqn.inputs)
        outputs = tuple(Value(wide_type(v.type), v.name) for v in eqn.outputs)
        env.update(zip(eqn.outputs, outputs, strict=True))
        equations.append(Equation(eqn.primitive, inputs, outputs, params, eqn.location))
    results = map(wide, graph.outputs)
    return Graph(graph_inputs, equations, results, graph.name, graph.linear_from)


def _widen_param(
    value: Any, graphs: dict[Graph, Graph], constants: dict[Constant, Constant]
) -> Any:
    if isinstance(value, Graph):
        return graphs[value]
    if isinstance(value, tuple):
        return tuple(_widen_param(item, graphs, constants) for item in value)
    if isinstance(value, np.dtype):
        return _WIDE.get(dtype_category(value), value)
    if isinstance(value, TensorType):
        return wide_type(value)
    if isinstance(value, Constant) and has_contents(value):
        if value not in constants:
            array = np.asarray(value.array)
            constants[value] = Constant(wide_array(array), wide_type(value.type), value.name)
        return constants[value]
    return value
