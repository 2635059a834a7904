"""When two modules are equal, and a digest of what a module does."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import zip_longest
from typing import Any

from .constants import digest, same_contents
from .graph import Atom, Constant, Graph, Literal, walk_graphs
from .module import Module
from .printer import literal_text, module_sections, value_text, write_elided

_KEY = "structural hash"
_CHUNK = 4096
"""Equations between two updates of the hash: bounds the text held at a time."""


def modules_equal(a: Module, b: Module) -> bool:
    """Whether both print the same text and their constants hold the same bits."""
    if _is_same(a, b):
        return True
    sections = zip_longest(module_sections(a, write_elided), module_sections(b, write_elided))
    if not all(x == y for x, y in sections):
        return False
    return all(same_contents(x, y) for x, y in zip(a.constants(), b.constants(), strict=True))


def _is_same(a: Module, b: Module) -> bool:
    """Whether both hold the very same graphs under the same names."""
    return (
        list(a.graphs) == list(b.graphs)
        and all(a.graphs[key] is b.graphs[key] for key in a.graphs)
        and (a.entry, a.name) == (b.entry, b.name)
        and value_text((a.in_tree, a.out_tree)) == value_text((b.in_tree, b.out_tree))
    )


def structural_hash(module: Module) -> str:
    """A digest of operations, types, literals, contents of constants and trees; stable across
    processes. Names, locations and the sharing of equal graphs do not count; thunks count by name.
    """
    import hashlib

    hasher = hashlib.blake2b(digest_size=20)
    keys = list(module.graphs)
    hasher.update(value_text((keys.index(module.entry), module.in_tree, module.out_tree)).encode())
    for graph in module.graphs.values():
        hasher.update(graph_hash(graph).encode())
    return hasher.hexdigest()


def graph_hash(graph: Graph) -> str:
    """The digest of one graph, computed once for it and for each graph that it calls."""
    for callee in walk_graphs(graph, skip=lambda g: _KEY in g.derived):
        callee.derived[_KEY] = _hash_graph(callee)  # those that it calls have theirs
    found: str = graph.derived[_KEY]
    return found


def by_structure(param: Any) -> Any:
    """A parameter with its graphs by what they do: equal where theirs are equal programs."""
    if isinstance(param, Graph):
        return graph_hash(param)
    if isinstance(param, tuple):
        return tuple([by_structure(item) for item in param])
    return param


def _refer(thing: Any) -> str | None:
    if isinstance(thing, Graph):
        return "@" + str(thing.derived[_KEY])
    if isinstance(thing, Constant):
        return "$" + digest(thing)
    return None


class _Numbers(dict[Any, str]):
    """Values by number, in the order in which they are made; literals by their text."""

    def __missing__(self, x: Atom) -> str:
        text = literal_text(x) if isinstance(x, Literal) else "?"
        self[x] = text
        return text


def _hash_graph(graph: Graph) -> str:
    import hashlib  # slow to start, and most programs in text form are never hashed

    hasher = hashlib.blake2b(digest_size=20)
    lines: list[str] = []
    for line in structural_lines(graph):
        lines.append(line)
        if len(lines) > _CHUNK:
            hasher.update("\n".join(lines).encode())
            lines = [""]
    hasher.update("\n".join(lines).encode())
    return hasher.hexdigest()


def structural_lines(graph: Graph) -> Iterator[str]:
    """What the digest is of: a line for the inputs, for each equation, and for the outputs. The
    graphs that it calls must have their digests."""
    numbers = _Numbers()
    linear = graph.linear_from
    for value in graph.inputs:
        numbers[value] = str(len(numbers))
    made = len(numbers)
    types = " ".join([v.type.text for v in graph.inputs])
    yield types if linear is None else f"{types}|{linear}"
    for eqn in graph.equations:
        params = ""
        if eqn.params:
            params = value_text(tuple(eqn.params.values()), _refer)
        inputs = " ".join([numbers[x] for x in eqn.inputs])
        types = " ".join([v.type.text for v in eqn.outputs])
        yield f"{types}={eqn.primitive.name}{params} {inputs}"
        for value in eqn.outputs:
            numbers[value] = str(made)
            made += 1
    yield " ".join([numbers[x] for x in graph.outputs])
