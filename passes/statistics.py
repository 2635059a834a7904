"""What each pass of a pipeline did: its own counters, and costs before and after it."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Any

from ..ir.costs import module_cost
from ..ir.module import Module
from .base import Pass


@dataclass(frozen=True)
class Measures:
    """Sizes of a module: equations (shared graphs once), arithmetic, traffic, residuals."""

    equations: int
    flops: int
    bytes: int
    residual_bytes: int

    @classmethod
    def of(cls, module: Module) -> Measures:
        cost = module_cost(module)
        equations = sum(len(graph) for graph in module.all_graphs())
        return cls(equations, cost.flops, cost.bytes, residual_bytes(module))


def residual_bytes(module: Module) -> int:
    """The bytes that cross from primal to linear halves."""
    return sum(
        v.type.nbytes
        for graph in module.graphs.values()
        if graph.linear_from is not None
        for v in graph.inputs[: graph.linear_from]
    )


@dataclass(frozen=True)
class StepStatistics:
    """One pass: its counters, and the measures before and after."""

    step: str
    counters: dict[str, int]
    before: Measures
    after: Measures

    @classmethod
    def of(cls, step: Pass, before: Module, after: Module) -> StepStatistics:
        counters = {k: n for k, n in step.counters(before, after).items() if n}
        return cls(str(step), counters, Measures.of(before), Measures.of(after))


def statistics_report(steps: list[StepStatistics], form: str) -> str:
    """The statistics as a `table` or as `json`."""
    if form == "json":
        return json.dumps([asdict(step) for step in steps], indent=1)
    rows: list[list[str]] = [["pass", "equations", "flops", "bytes", "residual bytes", "did"]]
    for step in steps:
        pairs = zip(asdict(step.before).values(), asdict(step.after).values(), strict=True)
        did = ", ".join(f"{n} {what}" for what, n in step.counters.items())
        rows.append([step.step, *(_change(a, b) for a, b in pairs), did])
    return as_table(rows)


def _change(before: int, after: int) -> str:
    return f"{after}" if before == after else f"{before} -> {after}"


def as_table(rows: list[list[Any]]) -> str:
    """Rows of cells in aligned columns, the first row the header."""
    cells = [[str(cell) for cell in row] for row in rows]
    widths = [max(len(row[i]) for row in cells) for i in range(len(cells[0]))]
    return "\n".join(
        "  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip()
        for row in cells
    )
