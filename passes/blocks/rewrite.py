"""Equal stretches of equations as calls of one function."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ...ir.graph import Equation, Graph, Value
from ...ir.ops.call import call
from ..regions import equation
from .choose import Block
from .fingerprint import wiring


def outlined(graph: Graph, blocks: Sequence[Block]) -> Graph:
    """The graph with each copy of a block as a call."""
    read_by = _readers(graph)
    at: dict[int, tuple[Equation, int]] = {}
    for number, block in enumerate(blocks):
        for start, eqn in _calls(graph, block, read_by, f"{graph.name}.block{number}"):
            at[start] = (eqn, block.length)
    equations: list[Equation] = []
    i = 0
    while i < len(graph.equations):
        eqn, length = at.get(i, (graph.equations[i], 1))
        equations.append(eqn)
        i += length
    return graph.with_equations(equations)


def _readers(graph: Graph) -> dict[Any, list[int]]:
    """The positions of the equations that read each value; the end for the graph's outputs."""
    readers: dict[Any, list[int]] = {}
    for i, eqn in enumerate(graph.equations):
        for x in eqn.inputs:
            readers.setdefault(x, []).append(i)
    for x in graph.outputs:
        readers.setdefault(x, []).append(len(graph.equations))
    return readers


def _calls(
    graph: Graph, block: Block, read_by: dict[Any, list[int]], name: str
) -> list[tuple[int, Equation]]:
    copies = [graph.equations[s : s + block.length] for s in block.starts]
    leaves: set[tuple[int, int]] = set()
    for start, copy in zip(block.starts, copies, strict=True):
        end = start + block.length
        for i, eqn in enumerate(copy):
            for j, v in enumerate(eqn.outputs):
                if any(not start <= r < end for r in read_by.get(v, ())):
                    leaves.add((i, j))
    places = sorted(leaves)
    shared = _function(copies[0], places, name)
    calls = []
    for start, copy in zip(block.starts, copies, strict=True):
        _, outside = wiring(copy)
        outputs = [copy[i].outputs[j] for i, j in places]
        params = {"graph": shared, "outlined": True}
        calls.append((start, equation(call, outside, outputs, params, copy[0])))
    return calls


def _function(copy: Sequence[Equation], places: Sequence[tuple[int, int]], name: str) -> Graph:
    """The stretch as a graph with values of its own."""
    _, outside = wiring(copy)
    env: dict[Any, Any] = {v: Value(v.type, v.name) for v in outside}
    inputs = list(env.values())
    equations = []
    for eqn in copy:
        outputs = tuple([Value(v.type, v.name) for v in eqn.outputs])
        operands = tuple([env.get(x, x) for x in eqn.inputs])
        equations.append(eqn.replace(inputs=operands, outputs=outputs))
        env.update(zip(eqn.outputs, outputs, strict=True))
    returned = [equations[i].outputs[j] for i, j in places]
    return Graph(inputs, equations, returned, name)
