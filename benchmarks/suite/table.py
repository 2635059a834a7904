"""Results as tables in the terminal."""

from __future__ import annotations

from typing import Any

from results import where
from rich.console import Console
from rich.table import Table

STAGES = ("trace", "autodiff", "stage", "compile", "run", "dispatch")


def show(results: dict[str, Any], console: Console, summary: bool = False) -> None:
    """Ratios to JAX of every program, library and stage, then the means beside the targets; with
    `summary`, only these."""
    console.print(where(results["environment"]))
    console.print("time in units of JAX's in the same round: median (quartiles); below 1 is faster")
    if not summary:
        _show_programs(results, console)
    console.print(_summary(results["summary"]))


def _show_programs(results: dict[str, Any], console: Console) -> None:
    rows = [r for r in results["rows"] if "ratio" in r]
    table = Table()
    for column in ("program", "library", *STAGES):
        table.add_column(column, justify="left" if column in ("program", "library") else "right")
    for program, library in dict.fromkeys((r["program"], r["library"]) for r in rows):
        cells = {r["stage"]: r for r in rows if (r["program"], r["library"]) == (program, library)}
        table.add_row(program, library, *[_cell(cells.get(stage)) for stage in STAGES])
    console.print(table)
    for program, reasons in results.get("left out", {}).items():
        for library, reason in reasons.items():
            console.print(f"{program}: {library} is left out: {reason}", markup=False)


def _cell(row: dict[str, Any] | None) -> str:
    if row is None:
        return "-"
    low, high = row["spread"]
    return f"{row['ratio']:.2f} ({low:.2f}-{high:.2f})" if low < high else f"{row['ratio']:.2f}"


def _summary(rows: list[dict[str, Any]]) -> Table:
    table = Table()
    for column in (
        "library",
        "programs",
        "stage",
        "n",
        "mean",
        "aim",
        "worst",
        "aim",
        "worst program",
    ):
        table.add_column(column)
    for r in rows:
        mean, worst = r["geometric mean"], r["worst"]
        table.add_row(
            r["library"], r["kind"], r["stage"], str(r["programs"]),
            _judged(mean, r["target mean"]), f"{r['target mean']:.2f}",
            _judged(worst, r["target worst"]), f"{r['target worst']:.2f}", r["worst program"],
        )  # fmt: skip
    return table


def _judged(value: float, target: float) -> str:
    return f"[{'green' if value <= target else 'red'}]{value:.2f}[/]"
