"""What mutable arrays hold in the backward pass, to which backward rules of custom_vjp write.

A program holds values only, and its backward pass is what transposing makes of it. So a second
value goes with each array from call to call, unchanged (the array is *carried*):

    y, z' = custom_vjp_call x, ref, z         ct of z: what the array holds after the backward rule,
                                              ct of z': what it holds before

`grad` and `vjp` give the last cotangent what the array holds when the backward pass begins, and
write the first one back. What z itself holds nobody reads: it is zero.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp

from ..ir.builder import Builder
from ..ir.graph import Graph, Value, memoised
from ..ir.types import TensorType, has_tangent
from .avals import to_aval
from .cells import Cell


@dataclass(frozen=True, eq=False)
class Carried:
    """Among what a recording captured and wrote: the second value of this mutable array."""

    ref: Any
    type: TensorType

    def value(self) -> Any:
        """What to pass for it where nobody differentiates further out."""
        aval = to_aval(self.type)
        return jnp.zeros(aval.shape, aval.dtype)


def carried_by(cell: Cell) -> Cell | None:
    """The second value of a mutable array, as a cell; None where no backward pass is to write."""
    if cell.carried is None and cell.carry is not None and has_tangent(cell.type):
        cell.carried = cell.carry(cell)
    return cell.carried


def entered(cell: Cell) -> Cell:
    """The second value of a mutable array that a region is given: an input, where it is needed."""
    return Cell(Value(cell.type), cell.aval)


def arrays_carried(operands: Sequence[Any]) -> dict[int, Cell]:
    """By position, those operands of a call that are mutable arrays, each once, with their second
    values."""
    found: dict[int, Cell] = {}
    seen: set[int] = set()
    for i, x in enumerate(operands):
        if isinstance(x, Cell) and id(x) not in seen:
            seen.add(id(x))
            second = carried_by(x)
            if second is not None:
                found[i] = second
    return found


def carrying(graph: Graph, types: Sequence[TensorType]) -> Graph:
    """A function that also takes and returns second values of these types."""
    if not types:
        return graph

    def extend() -> Graph:
        seconds = [Value(t) for t in types]
        return Graph(
            (*graph.inputs, *seconds), graph.equations, (*graph.outputs, *seconds), graph.name
        )

    made: Graph = memoised(graph, ("carrying", tuple(types)), extend)
    return made


def write_seconds(b: Builder, seconds: Mapping[int, Cell], outputs: Sequence[Any]) -> list[Any]:
    """Take the last outputs of a call for second values; the other outputs."""
    n = len(outputs) - len(seconds)
    for cell, value in zip(seconds.values(), outputs[n:], strict=True):
        cell.write(b, value)
    return list(outputs[:n])


def with_second_inputs(
    inputs: Sequence[Any], cells: Sequence[Cell]
) -> tuple[list[Any], list[Cell]]:
    """The inputs of a region and the cells of the arrays that it is given, with the second values
    that it needs after each."""
    second = {cell.initial: cell.carried for cell in cells}
    taken: list[Any] = []
    for x in inputs:
        found = second.get(x)
        taken += [x] if found is None else [x, found.initial]
    held = [x for cell in cells for x in (cell, cell.carried) if x is not None]
    return taken, held


def note_carried(graph: Graph, cells: Sequence[Cell]) -> None:
    """Note which inputs of a region are second values (see `inputs_carried`)."""
    second = {cell.carried.initial for cell in cells if cell.carried is not None}
    places = frozenset(i for i, x in enumerate(graph.inputs) if x in second)
    memoised(graph, "carried", lambda: places)


def inputs_carried(graph: Graph) -> frozenset[int]:
    """The inputs of a region that are second values: each follows its mutable array."""
    found: frozenset[int] = memoised(graph, "carried", frozenset)
    return found


def is_carrying(operands: Sequence[Any]) -> bool:
    """Whether a mutable array among these may have a second value."""
    return any(isinstance(x, Cell) and x.carry is not None for x in operands)


def with_seconds(b: Builder, graph: Graph, operands: Sequence[Any]) -> tuple[Any, ...]:
    """The operands of a region, or the first of them, with the second values that it takes."""
    places = inputs_carried(graph)
    return tuple(_interleaved(b, places, operands)) if places else tuple(operands)


def _interleaved(b: Builder, places: frozenset[int], operands: Sequence[Any]) -> Iterator[Any]:
    position = 0
    for x in operands:
        yield x
        position += 1
        if position in places:
            yield carried_by(x) or Cell(b.full(x.type, 0), x.aval)
            position += 1


def alike(graphs: Sequence[Graph], operands: Sequence[Any]) -> list[Graph]:
    """Branches of a choice that all take the second values that any of them takes."""
    cells = [i for i, x in enumerate(operands) if isinstance(x, Cell)]
    wanted = {i for graph in graphs for i in _owners(graph)}
    return [_taking(graph, cells, wanted) if wanted else graph for graph in graphs]


def _owners(graph: Graph) -> list[int]:
    """By position among the operands, the mutable arrays whose second values a graph takes."""
    return [place - 1 - n for n, place in enumerate(sorted(inputs_carried(graph)))]


def _taking(graph: Graph, cells: Sequence[int], wanted: set[int]) -> Graph:
    """The graph with an input for each second value that it does not read, returned as it is."""
    own = set(_owners(graph))

    def extend() -> Graph:
        n_operands = len(graph.inputs) - len(own)
        n_results = len(graph.outputs) - len(cells) - len(own)
        taken, left = iter(graph.inputs), iter(graph.outputs[n_results:])
        inputs: list[Any] = []
        outputs: list[Any] = list(graph.outputs[:n_results])
        places = set()
        for i in range(n_operands):
            inputs.append(next(taken))
            if i in cells:
                outputs.append(next(left))
            if i in wanted:
                places.add(len(inputs))
                is_new = i not in own
                inputs.append(Value(inputs[-1].type) if is_new else next(taken))
                outputs.append(inputs[-1] if is_new else next(left))
        made = Graph(inputs, graph.equations, outputs, graph.name)
        memoised(made, "carried", lambda: frozenset(places))
        return made

    if own == wanted:
        return graph
    made: Graph = memoised(graph, ("taking", tuple(cells), tuple(sorted(wanted))), extend)
    return made
