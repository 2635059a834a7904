"""Unique names from name hints.

A hint that nobody else bears is kept. The first bearer of a shared hint keeps it, later ones get
`_1`, `_2`, ...; values without a hint get `a`, `b`, ..., `z`, `aa`, ... No made name equals any
hint of the function. So names are a function of the structure and the hints, and naming a program
whose hints are its printed names changes nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import count, product
from typing import TYPE_CHECKING

from .graph import Graph, Value

if TYPE_CHECKING:
    from .module import Module

Names = dict[Value, str]


def value_names(graph: Graph) -> Names:
    """A name for every value that the graph takes or makes."""
    values = list(graph.inputs)
    for eqn in graph.equations:
        values += eqn.outputs
    hints = {v.name for v in values}
    names: Names = {}
    used: set[str] = set()
    suffixes: dict[str, int] = {}
    fresh = _short_names()
    for v in dict.fromkeys(values):  # one that is made twice, against the rules, has one name
        name = v.name
        if not name:
            name = next(fresh)
            while name in hints:
                name = next(fresh)
        elif name in used:
            name = _suffixed(name, hints, suffixes)
        used.add(name)
        names[v] = name
    return names


def unique(names: Iterable[str]) -> list[str]:
    """The names, with suffixes on those that came before."""
    wanted = list(names)
    hints: set[str | None] = set(wanted)
    used: set[str] = set()
    suffixes: dict[str, int] = {}
    result = []
    for name in wanted:
        if name in used:
            name = _suffixed(name, hints, suffixes)
        used.add(name)
        result.append(name)
    return result


def graph_names(module: Module) -> dict[Graph, str]:
    """Every graph with its name, in printing order: public ones, then callees as they are used."""
    graphs = [*module.graphs.values(), *_private_graphs(module)]
    # public graphs come first, so that they keep their names
    return dict(zip(graphs, unique(g.name or "f" for g in graphs), strict=True))


def _private_graphs(module: Module) -> list[Graph]:
    """Graphs that are only called, breadth first: near what calls them, and without recursion."""
    seen = set(module.graphs.values())
    queue = list(module.graphs.values())
    for graph in queue:  # grows while it is walked
        for eqn in graph.equations:
            if eqn.primitive.has_regions:
                for region in eqn.regions():
                    if region not in seen:
                        seen.add(region)
                        queue.append(region)
    return queue[len(module.graphs) :]


def _suffixed(name: str, hints: set[str | None], suffixes: dict[str, int]) -> str:
    """The next `name_k` that is no hint; it is new, since each (name, k) is given once."""
    k = suffixes.get(name, 0) + 1
    while f"{name}_{k}" in hints:
        k += 1
    suffixes[name] = k
    return f"{name}_{k}"


def _short_names() -> Iterator[str]:
    """a, b, ..., z, aa, ab, ..."""
    for length in count(1):
        for letters in product("abcdefghijklmnopqrstuvwxyz", repeat=length):
            yield "".join(letters)
