"""What a program spends on each line of the source, primitive or function."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final

from ..ir.costs import equation_cost, graph_runs, module_cost
from ..ir.graph import Equation, Graph, Location
from ..ir.module import Module
from ..passes.residuals import residuals_of
from ..passes.statistics import residual_bytes

KEYS: Final = ("line", "primitive", "function")


@dataclass
class Row:
    """What is spent on one line, primitive or function."""

    key: str
    equations: int = 0
    flops: int = 0
    bytes: int = 0
    residual_bytes: int = 0

    def add(self, other: Row) -> None:
        self.equations += other.equations
        self.flops += other.flops
        self.bytes += other.bytes
        self.residual_bytes += other.residual_bytes

    @property
    def intensity(self) -> float | None:
        """FLOPs for each byte that is moved if every equation goes to memory."""
        return self.flops / self.bytes if self.bytes else None

    def as_json(self) -> dict[str, Any]:
        return {**vars(self), "intensity": self.intensity}


def measure(module: Module, by: str) -> tuple[dict[str, int], list[Row], list[str]]:
    """Totals, rows with the dearest first, and what could not be counted."""
    cost, sizes = module_cost(module), module.stats()
    totals = {
        "functions": sizes["graphs"],
        "equations": sizes["equations"],
        "input_bytes": sum(v.type.nbytes for v in module.main.inputs),
        "output_bytes": sum(x.type.nbytes for x in module.main.outputs),
        "constant_bytes": sizes["constant_bytes"],
        "residual_bytes": residual_bytes(module),
        "flops": cost.flops,
        "bytes": cost.bytes,
    }
    rows: dict[str, Row] = {}
    for graph in module.graphs.values():
        for row in _walk(graph, 1, _KEY_OF[by], None):
            rows.setdefault(row.key, Row(row.key)).add(row)
    for row in _residuals(module, by):
        rows.setdefault(row.key, Row(row.key)).add(row)
    order = sorted(rows.values(), key=lambda r: (-r.flops, -r.bytes, -r.residual_bytes, r.key))
    return totals, order, sorted(cost.unknown)


KeyOf = Callable[[Equation, Graph, Location | None], str]
_KEY_OF: Final[dict[str, KeyOf]] = {
    "line": lambda eqn, graph, place: line_of(place),
    "primitive": lambda eqn, graph, place: eqn.primitive.name,
    "function": lambda eqn, graph, place: f"@{graph.name}",
}


def line_of(location: Location | None) -> str:
    return f"{location.file}:{location.line}" if location is not None else "(no line)"


def _walk(graph: Graph, times: int, key_of: KeyOf, caller: Location | None) -> Iterator[Row]:
    """A row for each equation, those of regions as often as they run, if that is known.

    What has no line of its own (functions of libraries) is spent at the line that calls it.
    """
    for eqn in graph.equations:
        place = eqn.location or caller
        runs = graph_runs(eqn) if eqn.primitive.has_regions else []
        if runs:
            yield Row(key_of(eqn, graph, place), 1)
            for region, steps in runs:
                yield from _walk(region, times * steps, key_of, place)
        else:
            cost = equation_cost(eqn)
            yield Row(key_of(eqn, graph, place), 1, times * cost.flops, times * cost.bytes)


def _residuals(module: Module, by: str) -> Iterator[Row]:
    """The bytes of each residual of a linear half, at the equation that makes it."""
    if all(graph.linear_from is None for graph in module.graphs.values()):
        return
    for residual in residuals_of(module):
        maker = residual.maker
        key = "(inputs)"
        if maker is not None:
            key = _KEY_OF[by](maker, module.main, maker.location)
        yield Row(key, residual_bytes=residual.nbytes)
