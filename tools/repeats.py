"""Parts of a program that stand in it several times: functions that are equal, and blocks of
equations that are alike, one after the other.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from ..ir.equality import graph_hash
from ..ir.graph import Graph, Location
from ..ir.module import Module
from ..ir.printer import value_text

PERIODS: Final = 32
"""How many distances between alike equations are tried."""
LEAST: Final = 4
"""Equations of a block that is worth a line."""


@dataclass(frozen=True)
class Repeat:
    """`equations` in a row of @graph, `times` over, from `first` to `last`; or a function of so
    many equations that is written `times` over under the names of `graph`."""

    kind: str
    graph: str
    equations: int
    times: int
    first: Location | None = None
    last: Location | None = None

    def as_json(self) -> dict[str, Any]:
        return {
            "kind": self.kind,
            "graph": self.graph,
            "equations": self.equations,
            "times": self.times,
            "first": str(self.first) if self.first else None,
            "last": str(self.last) if self.last else None,
        }

    def describe(self) -> str:
        if self.kind == "function":
            return f"{self.graph}: {self.times} equal functions of {self.equations} equations each"
        place = f", {self.first} to {self.last}" if self.first and self.last else ""
        return f"@{self.graph}: {self.equations} equations, {self.times} times over{place}"


def repeats_of(module: Module) -> list[Repeat]:
    """What is repeated, that which takes most equations first."""
    graphs = module.all_graphs()
    found = [*_equal_functions(graphs)]
    for graph in graphs:
        found += _blocks(graph)
    return sorted(found, key=lambda r: -r.equations * (r.times - 1))


def _equal_functions(graphs: Sequence[Graph]) -> list[Repeat]:
    """Graphs that are equal but not the same: each is transformed and compiled by itself."""
    alike: dict[str, list[Graph]] = {}
    for graph in graphs:
        if len(graph) >= LEAST:
            alike.setdefault(graph_hash(graph), []).append(graph)
    return [
        Repeat("function", ", ".join(f"@{g.name}" for g in group[:3]), len(group[0]), len(group))
        for group in alike.values()
        if len(group) > 1
    ]


def _blocks(graph: Graph) -> list[Repeat]:
    """Runs of equations with one period, alike in operations and types."""
    words = _words(graph)
    n = len(words)
    found: list[Repeat] = []
    taken = np.zeros(n, bool)
    periods = _periods(words)
    for period in periods:
        for start, stop in _runs(words, period):
            times = (stop - start) // period + 1
            if times < 2 or taken[start : stop + period].any():
                continue
            found.append(_block(graph, taken, start, period, times, period))
    for period in periods:
        found += _interrupted(graph, words, period, taken)
    return found


def _interrupted(graph: Graph, words: Any, period: int, taken: Any) -> Iterator[Repeat]:
    """Blocks at one distance with other equations between, which take at most half of it."""
    alike = dict(_runs(words, period))
    for start, stop in alike.items():
        length, times = stop - start, 2
        if not max(LEAST, period // 2) <= length < period or taken[start:stop].any():
            continue
        while (last := start + (times - 1) * period) in alike:
            length, times = min(length, alike[last] - last), times + 1
        if length >= LEAST and not taken[last : last + length].any():
            yield _block(graph, taken, start, length, times, period)


def _runs(words: Any, period: int) -> list[tuple[int, int]]:
    """From where to where equations are like those one period later."""
    same = np.concatenate([words[period:] == words[:-period], [False]])
    edges = np.flatnonzero(np.diff(np.concatenate([[False], same]).astype(np.int8)))
    return list(zip(edges[::2].tolist(), edges[1::2].tolist(), strict=False))


def _block(graph: Graph, taken: Any, start: int, length: int, times: int, period: int) -> Repeat:
    end = start + (times - 1) * period + length
    taken[start:end] = True
    places = (graph.equations[start].location, graph.equations[end - 1].location)
    return Repeat("block", graph.name, length, times, *places)


def _periods(words: Any) -> list[int]:
    """Distances between alike equations, the shortest first of those that are frequent."""
    last: dict[int, int] = {}
    gaps: Counter[int] = Counter()
    for i, word in enumerate(words.tolist()):
        if word in last:
            gaps[i - last[word]] += 1
        last[word] = i
    frequent = [gap for gap, _ in gaps.most_common(PERIODS) if gap >= LEAST]
    return sorted(gap for gap in frequent if gap * 2 <= len(words))


def _words(graph: Graph) -> Any:
    """A number for each equation: equal for the same operation on operands of the same types."""
    numbers: dict[Any, int] = {}
    words = np.empty(len(graph.equations), np.int64)
    for i, eqn in enumerate(graph.equations):
        params = value_text(tuple(eqn.params.values()), _by_identity) if eqn.params else ""
        key = (eqn.primitive.name, params, tuple([x.type for x in eqn.inputs]))
        words[i] = numbers.setdefault(key, len(numbers))
    return words


def _by_identity(thing: Any) -> str | None:
    return f"@{id(thing)}" if isinstance(thing, Graph) else "$"
