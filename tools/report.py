"""`covector report`: what a program costs, and which lines of the source it spends that on."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import click

from .options import ARGS, JSON, LOAD, PASSES, combined
from .output import write
from .switches import HIDDEN_SWITCHES, WithForms, given
from .targets import load_files, read_target, transformed

if TYPE_CHECKING:
    from ..ir.graph import Equation, Graph
    from ..ir.module import Module

KEYS: Final = ("line", "primitive", "function")
SHOWN: Final = 20
"""Rows of a table; the rest is added up in one more."""


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


@click.command(cls=WithForms)
@combined(click.argument("target"), ARGS, PASSES, LOAD, HIDDEN_SWITCHES)
@click.option("--by", type=click.Choice(KEYS), default="line", show_default=True, help="Rows.")
@JSON
def report(
    target: str,
    args: str | None,
    passes: str,
    load: tuple[str, ...],
    by: str,
    as_json: bool,
    **switches: Any,
) -> None:
    """Count what a program costs: arithmetic, memory traffic, residuals, by line of the source.

    The counts follow from the text alone: loops count their steps, shared functions their calls.

    Example: covector report examples/gpt.py:loss --passes "linearize,transpose,clean"
    """
    load_files(load)
    module = transformed(read_target(target, args), passes, given(switches))
    totals, rows, unknown = measure(module, by)
    if as_json:
        data = {**totals, "by": by, "unknown": unknown, "rows": [vars(row) for row in rows]}
        write(json.dumps(data, indent=1), None)
    else:
        write(_as_text(totals, rows, unknown, by), None)


def measure(module: Module, by: str) -> tuple[dict[str, int], list[Row], list[str]]:
    """Totals, rows with the dearest first, and what could not be counted."""
    from ..ir.costs import module_cost
    from ..passes.statistics import residual_bytes

    cost, sizes = module_cost(module), module.stats()
    graphs = module.graphs.values()
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
    for graph in graphs:
        for row in _walk(graph, 1, _KEY_OF[by]):
            rows.setdefault(row.key, Row(row.key)).add(row)
    for row in _residuals(module, by):
        rows.setdefault(row.key, Row(row.key)).add(row)
    order = sorted(rows.values(), key=lambda r: (-r.flops, -r.bytes, -r.residual_bytes, r.key))
    return totals, order, sorted(cost.unknown)


KeyOf = Callable[["Equation", "Graph"], str]
_KEY_OF: dict[str, KeyOf] = {
    "line": lambda eqn, graph: _line(eqn),
    "primitive": lambda eqn, graph: eqn.primitive.name,
    "function": lambda eqn, graph: f"@{graph.name}",
}


def _line(eqn: Equation) -> str:
    location = eqn.location
    return f"{location.file}:{location.line}" if location is not None else "(no line)"


def _walk(graph: Graph, times: int, key_of: KeyOf) -> Iterator[Row]:
    """A row for each equation, those of regions as often as they run, if that is known."""
    from ..ir.costs import equation_cost, graph_runs

    for eqn in graph.equations:
        runs = graph_runs(eqn) if eqn.primitive.has_regions else []
        if runs:
            yield Row(key_of(eqn, graph), 1)
            for region, steps in runs:
                yield from _walk(region, times * steps, key_of)
        else:
            cost = equation_cost(eqn)
            yield Row(key_of(eqn, graph), 1, times * cost.flops, times * cost.bytes)


def _residuals(module: Module, by: str) -> Iterator[Row]:
    """The bytes of each residual of a linear half, at the equation that makes it."""
    main = module.main
    made = {v: eqn for eqn in main.equations for v in eqn.outputs}
    for graph in module.graphs.values():
        n = graph.linear_from or 0
        returned = main.outputs[len(main.outputs) - n :]  # an entry returns residuals last
        fits = len(main.outputs) >= n and tuple(x.type for x in returned) == graph.input_types[:n]
        for v, x in zip(graph.inputs[:n], returned if fits else graph.inputs, strict=False):
            key = _KEY_OF[by](made[x], main) if x in made else "(inputs)"
            yield Row(key, residual_bytes=v.type.nbytes)


def _as_text(totals: dict[str, int], rows: list[Row], unknown: list[str], by: str) -> str:
    from ..passes.statistics import as_table

    lines = [f"{name.replace('_', ' ')}: {_short(n)}" for name, n in totals.items()]
    if unknown:
        lines.append(f"not counted: {', '.join(unknown)}")
    shown = rows[:SHOWN]
    if len(rows) > SHOWN:
        rest = Row(f"{len(rows) - SHOWN} more")
        for row in rows[SHOWN:]:
            rest.add(row)
        shown = [*shown, rest]
    table: list[list[Any]] = [[by, "equations", "flops", "%", "bytes", "residual bytes"]]
    for row in shown:
        share = 100 * row.flops / max(totals["flops"], 1)
        numbers = (_short(row.flops), f"{share:.1f}", _short(row.bytes), _short(row.residual_bytes))
        table.append([row.key, row.equations, *numbers])
    return "\n".join([*lines, "", as_table(table)])


def _short(n: int) -> str:
    """A count with a unit prefix: 1234567 as 1.23 M."""
    for factor, prefix in ((10**12, "T"), (10**9, "G"), (10**6, "M"), (10**3, "k")):
        if n >= factor:
            return f"{n / factor:.3g} {prefix}"
    return str(n)
