"""Memory over the course of a program: the bytes live at each equation, and what makes the peak."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

from ..ir.graph import Equation, Graph, Literal, Value, memoised, walk_graphs
from ..ir.printer import atom_texts


@dataclass(frozen=True)
class Timeline:
    """Bytes of temporaries live while each equation runs; `values` are those live at the peak."""

    live: tuple[int, ...]
    at: int
    equation: Equation | None
    values: tuple[tuple[str, int, str | None], ...]

    @property
    def peak(self) -> int:
        return max(self.live, default=0)

    def as_json(self) -> dict[str, Any]:
        rows = [{"value": v, "bytes": n, "location": place} for v, n, place in self.values]
        eqn = self.equation
        place = f" ({eqn.location})" if eqn is not None and eqn.location else ""
        return {
            "peak": self.peak,
            "at": self.at,
            "steps": len(self.live),
            "equation": f"{eqn.primitive.name}{place}" if eqn is not None else None,
            "live": list(self.live),
            "values": rows,
        }


def timeline_of(graph: Graph) -> Timeline:
    """The memory of a graph in program order; inputs, outputs and captured arrays do not count.

    A value lives from the equation that makes it to the last that reads it. Loops and branches need
    what their bodies need while they run.
    """
    for callee in walk_graphs(graph):
        memoised(callee, "timeline", partial(_live_bytes, callee))
    live: tuple[int, ...] = graph.derived["timeline"]
    if not live:
        return Timeline((), 0, None, ())
    at = live.index(max(live))
    ends = _last_uses(graph)
    kept = _not_temporary(graph)
    names = atom_texts(graph)
    values = [
        (f"{names[v]}: {v.type}", v.type.nbytes, str(e.location) if e.location else None)
        for i, e in enumerate(graph.equations[: at + 1])
        for v in e.outputs
        if v not in kept and ends.get(v, i) >= at and v.type.nbytes
    ]
    values.sort(key=lambda row: -row[1])
    return Timeline(live, at, graph.equations[at], tuple(values))


def _not_temporary(graph: Graph) -> set[Any]:
    """Outputs, and captured arrays, which are there before and after."""
    captured = (e.outputs for e in graph.equations if e.primitive.name == "constant")
    return set(graph.outputs).union(*captured)


def _last_uses(graph: Graph) -> dict[Value, int]:
    ends: dict[Value, int] = {}
    for i, eqn in enumerate(graph.equations):
        for x in eqn.inputs:
            if not isinstance(x, Literal):
                ends[x] = i
    return ends


def _live_bytes(graph: Graph) -> tuple[int, ...]:
    ends = _last_uses(graph)
    kept = _not_temporary(graph)
    dying: dict[int, int] = {}
    now, live = 0, []
    for i, eqn in enumerate(graph.equations):
        for v in eqn.outputs:
            if v not in kept:
                now += v.type.nbytes
                end = ends.get(v, i)
                dying[end] = dying.get(end, 0) + v.type.nbytes
        inside = [max(g.derived["timeline"], default=0) for g in eqn.regions()]
        live.append(now + max(inside, default=0))
        now -= dying.get(i, 0)
    return tuple(live)
