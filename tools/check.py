"""`covector check`: is each pass's result right, on numbers?"""

from __future__ import annotations

import json
import shlex
from typing import TYPE_CHECKING, Any

import click

from ..passes.statistics import as_table
from .options import ARGS, AT, INPUTS, JAX, JSON, LOAD, PASSES, SEED, TARGET
from .output import BAD_PROGRAM, write
from .targets import load_files, read_target

if TYPE_CHECKING:
    from .checking import Report
    from .trials import Finding


@click.command()
@TARGET
@ARGS
@PASSES
@INPUTS
@AT
@SEED
@click.option("--trials", default=1, show_default=True, help="How many random inputs to try.")
@click.option("--xla/--no-xla", default=True, help="Run through XLA too (yes).")
@JAX
@LOAD
@JSON
def check(
    target: str,
    args: str | None,
    passes: str,
    inputs: str | None,
    at: str | None,
    seed: int,
    trials: int,
    xla: bool,
    own: bool,
    load: tuple[str, ...],
    as_json: bool,
) -> int:
    """Check each pass on numbers: its law by NumPy in double precision, and XLA against NumPy.

    Prints the worst error of each output, relative to its largest element; exits with 1 if one is
    too large.

    Example: covector check loss.cvir --passes "linearize,transpose,cse,dce"
    """
    from ..passes.pipeline import parse_pipeline
    from .checking import check_pipeline
    from .data import given_inputs
    from .jax_own import compare_with_jax
    from .xla import run_xla

    load_files(load)
    steps = parse_pipeline(passes)
    module = read_target(target, args)
    rows: dict[Any, dict[str, Any]] = {}
    for trial in range(trials):
        arrays = given_inputs(module.main, inputs, at, seed + trial)
        runner = run_xla if xla else None
        beside = compare_with_jax if own else None
        reports = check_pipeline(steps, module, arrays, seed=seed + trial, xla=runner, jax=beside)
        for i, report in enumerate(reports):
            _enter(rows, i, report)
    found = [rows[key] for key in sorted(rows, key=lambda k: (k[0], k[2] is None, k[1], k[2] or 0))]
    write(json.dumps(found, indent=1) if as_json else _as_text(found), None)
    if any(row["verdict"] == "wrong" for row in found):
        files = "".join(f" --load {shlex.quote(file)}" for file in load)
        again = f"covector bisect {target}{files} --passes {passes!r}"
        click.echo(f"which equation is it? {again}", err=True)
        return BAD_PROGRAM
    return 0


def _enter(rows: dict[Any, dict[str, Any]], i: int, report: Report) -> None:
    """Add a report's findings to the rows, keeping the worst error of each output."""
    wrong = set(report.failures())
    for kind, findings in (("law", report.law), ("xla", report.xla), ("jax", report.jax)):
        for f in findings or ():
            row = rows.setdefault((i, f.graph, f.index, f.note), _row(report, f))
            row[kind] = f.error if row[kind] is None else max(row[kind], f.error)
            if f in wrong:
                row["verdict"] = "wrong"
            elif not f.ok and row["verdict"] != "wrong":
                row["verdict"] = "own rule"
    for note in report.notes:
        rows[i, "", None, note] = _row(report, None) | {"output": note, "verdict": "not checked"}


def _row(report: Report, finding: Finding | None) -> dict[str, Any]:
    return {
        "pass": str(report.step),
        "law_text": report.step.law,
        "graph": finding.graph if finding else "",
        "output": report.label(finding) if finding else "",
        "law": None,
        "xla": None,
        "jax": None,
        "verdict": "ok",
    }


def _as_text(rows: list[dict[str, Any]]) -> str:
    if not rows:
        return "nothing to check: give --passes"
    table: list[list[Any]] = [["pass", "output", "law", "xla", "jax", ""]]
    last = None
    for row in rows:
        name = row["pass"] if row["pass"] != last else ""
        last = row["pass"]
        shown = f"@{row['graph']} {row['output']}" if row["graph"] else row["output"]
        table.append(
            [
                name,
                shown,
                _error(row["law"]),
                _error(row["xla"]),
                _error(row["jax"]),
                row["verdict"],
            ]
        )
    used = [i for i in range(6) if i in (0, 1, 5) or any(row[i] for row in table[1:])]
    lines = [as_table([[row[i] for i in used] for row in table])]
    if any(row["verdict"] == "own rule" for row in rows):
        lines.append(
            "own rule: differs from differences, but the program states derivatives of its own"
        )
    return "\n".join(lines)


def _error(error: float | None) -> str:
    return "" if error is None else f"{error:.1e}"
