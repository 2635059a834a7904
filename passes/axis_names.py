"""The name of a batch axis: collectives over it are marked before a program is batched.

An axis named None is that of the batch which is being made. Batch rules so need not be told its
name: what is marked stands in the graphs that they are given.
"""

from __future__ import annotations

from typing import Any, Final

from ..ir.graph import Equation, Graph, Thunk, memoised, remembered, transformed, walk_graphs
from ..ir.ops.collective import COLLECTIVES, axes_key, axes_of
from .regions import with_regions

_COLLECTIVES: Final = frozenset(COLLECTIVES)


def mark_axis(graph: Graph, name: str) -> Graph:
    """The graph with the axis of this name called None, in the graphs that it holds too."""
    key = ("axis", name)

    def change(inner: Graph) -> Graph:
        equations = [_mark(eqn, name, key) for eqn in inner.equations]
        same = all(a is b for a, b in zip(equations, inner.equations, strict=True))
        return inner if same else inner.with_equations(equations)

    return transformed(graph, key, change)


def _mark(eqn: Equation, name: str, key: Any) -> Equation:
    if eqn.primitive in _COLLECTIVES:
        axes = axes_of(eqn.params)
        if name not in axes:
            return eqn
        marked: Any = tuple(None if axis == name else axis for axis in axes)
        which = axes_key(eqn.params)
        if not isinstance(eqn.params[which], tuple):
            (marked,) = marked
        return eqn.replace(params={**eqn.params, which: marked})
    if not eqn.primitive.has_regions or name in eqn.params.get("manual_axes", ()):
        return eqn
    changed = with_regions(eqn, lambda region: remembered(region, key))
    rules = {k: v for k, v in eqn.params.items() if k in ("jvp", "fwd", "bwd")}
    thunks = {k: _marked_rule(eqn, v, name) for k, v in rules.items() if isinstance(v, Thunk)}
    return changed.replace(params={**changed.params, **thunks}) if thunks else changed


def _marked_rule(eqn: Equation, rule: Thunk, name: str) -> Thunk:
    """The rule whose graphs are marked; equal calls of a function keep equal rules."""

    def make(*signature: Any) -> Any:
        made = rule(*signature)
        if isinstance(made, Graph):
            return mark_axis(made, name)
        graph, flags = made
        return mark_axis(graph, name), flags

    marked = Thunk(rule.name, make)
    function = eqn.params.get("graph")
    if isinstance(function, Graph):
        kept: Thunk = memoised(function, ("axis of a rule", name, rule), lambda: marked)
        return kept
    return marked


def has_marked(eqn: Equation) -> bool:
    """Whether an equation, or one in its graphs, is a collective over the axis of the batch."""
    if eqn.primitive in _COLLECTIVES:
        return None in axes_of(eqn.params)
    return eqn.primitive.has_regions and any(is_marked(graph) for graph in eqn.regions())


_MARKED: Final = "has collectives over the batch axis"


def is_marked(graph: Graph) -> bool:
    """Whether a graph holds a collective over the axis of the batch."""
    for inner in walk_graphs(graph, skip=lambda g: _MARKED in g.derived):
        inner.derived[_MARKED] = any([has_marked(eqn) for eqn in inner.equations])
    found: bool = graph.derived[_MARKED]
    return found
