"""What was made of a graph, made once: kept with it, for as long as it is there."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Final, NamedTuple

if TYPE_CHECKING:
    from .graph import Graph

_SELF: Final = object()
"""Stands for a graph among what was derived from it: a graph that held itself would keep the arrays
that it captures until a garbage collection."""


class _AndSelf(NamedTuple):
    """The rest of a tuple whose first item is the graph itself."""

    rest: tuple[Any, ...]


def memoised(graph: Graph, key: Any, make: Callable[[], Any]) -> Any:
    """`make()`, computed once for this graph and key."""
    found = graph.derived.get(key)
    if found is not None:
        return _whole(graph, found)
    with room_to_nest(graph):
        found = make()
    remember(graph, key, found)
    return found


def remember(graph: Graph, key: Any, found: Any) -> None:
    """Note what was derived from a graph."""
    if found is graph:
        found = _SELF
    elif found.__class__ is tuple and found and found[0] is graph:
        found = _AndSelf(found[1:])
    graph.derived[key] = found


def remembered(graph: Graph, key: Any) -> Any:
    """What was derived from a graph under this key. Raises KeyError if nothing was."""
    return _whole(graph, graph.derived[key])


def _whole(graph: Graph, found: Any) -> Any:
    if found is _SELF:
        return graph
    return (graph, *found.rest) if found.__class__ is _AndSelf else found


def memoised_with_forced(
    graph: Graph,
    key: Any,
    make: Callable[[tuple[bool, ...]], tuple[Graph, tuple[bool, ...]]],
    force: Sequence[bool],
) -> tuple[Graph, tuple[bool, ...]]:
    """`make(forced)`, a graph and flags of which the forced ones are set: made once for all `force`
    that ask for no more flags than are set anyway (`forced` is then empty)."""
    made: tuple[Graph, tuple[bool, ...]] = memoised(graph, key, lambda: make(()))
    if any([f and not flag for f, flag in zip(force, made[1], strict=False)]):
        forced = tuple([f or flag for f, flag in zip(force, made[1], strict=True)])
        made = memoised(graph, (key, forced), lambda: make(forced))
    return made


FRAMES_PER_LEVEL: Final = 16


class room_to_nest:
    """Lets Python recurse as deep as the graph's regions are nested, a few frames a level.

    Not longer than that: at a high limit other code's endless recursion may overflow the stack of C
    before Python sees it.
    """

    __slots__ = ("before", "wanted")

    def __init__(self, graph: Graph) -> None:
        self.wanted = 500 + FRAMES_PER_LEVEL * graph.nesting
        self.before = 0

    def __enter__(self) -> None:
        if self.wanted > 1000 and (limit := sys.getrecursionlimit()) < self.wanted:
            self.before = limit
            sys.setrecursionlimit(self.wanted)

    def __exit__(self, *_: object) -> None:
        if self.before:
            with contextlib.suppress(RecursionError):  # called from deeper than that
                sys.setrecursionlimit(self.before)
