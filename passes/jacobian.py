"""The dense Jacobian of dynamics, for solvers whose steps are implicit."""

from __future__ import annotations

from math import prod
from typing import Any

from ..ir.builder import Builder
from ..ir.graph import Graph, Value, memoised
from ..ir.solvers.algebra import identity, matrix_dtype
from ..ir.types import Dtype
from .batch import batch_graph
from .dce import region_of
from .jvp import jvp_graph


def jacobian_graph(graph: Graph, n_args: int) -> Graph:
    """args | y | t -> df/dy of dynamics args | y | t -> f, as a d x d matrix.

    d is the number of elements of y, its leaves laid out one after the other. Columns are
    derivatives in one direction each, all made at once.
    """
    made: Graph = memoised(graph, ("jacobian", n_args), lambda: _jacobian(graph, n_args))
    return made


def _jacobian(graph: Graph, n_args: int) -> Graph:
    state = graph.inputs[n_args:-1]
    sizes = [prod(v.type.shape) for v in state]
    d = sum(sizes)
    dtype = matrix_dtype(state)
    directions = _all_directions(graph, n_args, d)
    b = Builder()
    inputs = [Value(v.type, v.name) for v in graph.inputs]
    basis, start = [], 0
    unit = identity(b, d, dtype)
    for v, size in zip(state, sizes, strict=True):
        columns = b.slice(unit, start_indices=(0, start), limit_indices=(d, start + size))
        columns = b.convert(columns, v.type.dtype)
        basis.append(b.reshape(columns, new_sizes=(d, *v.type.shape)))
        start += size
    found = b.inline(directions, (*inputs, *basis))
    rows = [_flat(b, x, d, size, dtype) for x, size in zip(found, sizes, strict=True)]
    by_direction = rows[0] if len(rows) == 1 else b.concatenate(*rows, dimension=1)
    matrix = b.transpose(by_direction, permutation=(1, 0))
    return b.graph(inputs, [matrix], f"{graph.name}.jacobian")


def _all_directions(graph: Graph, n_args: int, d: int) -> Graph:
    """args | y | t | d directions dy -> d derivatives of f."""
    n = len(graph.outputs)
    active = [n_args <= i < n_args + n for i in range(len(graph.inputs))]
    forward, _ = jvp_graph(graph, active, (True,) * n)
    tangent = Graph(forward.inputs, forward.equations, forward.outputs[n:], forward.name)
    needed = region_of(tangent, (True,) * n, (True,) * len(tangent.inputs))
    flags = [i >= len(graph.inputs) for i in range(len(tangent.inputs))]
    return batch_graph(needed, flags, d, (True,) * n)[0]


def _flat(b: Builder, x: Any, d: int, size: int, dtype: Dtype) -> Any:
    return b.convert(b.reshape(x, new_sizes=(d, size)), dtype)
