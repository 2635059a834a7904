"""What of a program becomes a function, and which captured arrays each function must be handed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from ..ir.graph import Constant, Equation, Graph
from ..ir.types import ExtendedDtype
from . import tables

SMALL: Final = 16
"""Captured arrays of at most so many elements are written into the program."""

DEEP: Final = 16
"""MLIR and XLA take quadratic time, and stack, over regions in regions and calls in calls.

A body that would stand more than so many regions deep becomes a function; a graph that is called
once and would call functions that many calls deep is written where it is called.
"""


@dataclass(frozen=True)
class Plan:
    """The graphs that are emitted as functions, callees first; the constants of every graph; which
    of the functions are kernels."""

    functions: list[Graph]
    constants: dict[Graph, tuple[Constant, ...]]
    kernels: frozenset[Graph]

    @staticmethod
    def of(main: Graph) -> Plan:
        order = _callees_first(main)
        kernels = [g for graph in order for eqn, g in _regions(graph) if eqn.params.get("kernel")]
        is_function = _choose_functions(order) | set(kernels)
        constants: dict[Graph, tuple[Constant, ...]] = {}
        for graph in order:
            needed = dict.fromkeys(_own_constants(graph))
            for _, region in _regions(graph):
                needed.update(dict.fromkeys(constants[region]))
            constants[graph] = tuple(needed)
        return Plan([g for g in order if g in is_function], constants, frozenset(kernels))


def _choose_functions(order: Sequence[Graph]) -> set[Graph]:
    """The entry (last in order), what is used several times or called, what stands too deep."""
    uses: Counter[Graph] = Counter()
    called: set[Graph] = set()
    is_function: set[Graph] = {order[-1]}
    for graph in order:
        for eqn, region in _regions(graph):
            uses[region] += 1
            if eqn.primitive in tables.called:
                called.add(region)
            elif eqn.primitive in tables.referred:
                is_function.add(region)
    regions_deep: dict[Graph, int] = {}
    calls_deep: dict[Graph, int] = {}
    for graph in order:
        regions, calls = 0, 0
        for _, inner in _regions(graph):
            if inner in is_function:
                calls = max(calls, 1 + calls_deep[inner])
            else:
                regions = max(regions, regions_deep[inner] + (inner not in called))
                calls = max(calls, calls_deep[inner])
        regions_deep[graph], calls_deep[graph] = regions, calls
        if uses[graph] > 1 or regions >= DEEP or (graph in called and calls < DEEP):
            is_function.add(graph)
    return is_function


def _regions(graph: Graph) -> Iterator[tuple[Equation, Graph]]:
    """The graphs that lowering emits for the equations of a graph."""
    for eqn in graph.equations:
        if eqn.primitive.has_regions:
            for region in tables.callees.find(eqn)(eqn):
                yield eqn, region


def _callees_first(main: Graph) -> list[Graph]:
    order: list[Graph] = []
    done = {main}
    stack = [(main, _regions(main))]
    while stack:
        graph, rest = stack[-1]
        found = next(rest, None)
        if found is None:
            stack.pop()
            order.append(graph)
        elif found[1] not in done:
            done.add(found[1])
            stack.append((found[1], _regions(found[1])))
    return order


def _own_constants(graph: Graph) -> Iterator[Constant]:
    for eqn in graph.equations:
        for value in eqn.params.values():
            if value.__class__ is Constant and not is_written_out(value):
                yield value


def is_written_out(constant: Constant) -> bool:
    """Whether a captured array is small, and at hand, so that the program can hold its elements."""
    if isinstance(constant.type.dtype, ExtendedDtype) or constant.type.size > SMALL:
        return False
    return bool(getattr(constant.array, "is_fully_addressable", True))
