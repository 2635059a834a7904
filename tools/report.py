"""`covector report`: what a program costs, where, and what it keeps."""

from __future__ import annotations

import json
from typing import Any

import click

from .options import ARGS, JSON, LOAD, PASSES, TARGET, combined
from .output import write
from .switches import HIDDEN_SWITCHES, WithForms, given
from .targets import load_files, read_target, transformed

SECTIONS = (
    "totals", "residuals", "memory", "plan", "lines", "primitives", "functions", "repeats",
    "constants", "silent",
)  # fmt: skip


@click.command(cls=WithForms)
@combined(TARGET, ARGS, PASSES, LOAD, HIDDEN_SWITCHES)
@click.option(
    "--only",
    multiple=True,
    type=click.Choice(SECTIONS),
    help="Print this part alone; may be given several times.",
)
@click.option(
    "--rows", default=15, show_default=True, help="Rows of a table; the rest is added up."
)
@click.option("--xla/--no-xla", default=True, help="Compile, and print XLA's own figures (yes).")
@click.option(
    "--memory-budget",
    metavar="SIZE",
    help="Say what a plan makes of the program so that it needs at most 24MiB, 8GB, ...",
)
@JSON
def report(
    target: str,
    args: str | None,
    passes: str,
    load: tuple[str, ...],
    only: tuple[str, ...],
    rows: int,
    xla: bool,
    memory_budget: str | None,
    as_json: bool,
    **switches: Any,
) -> None:
    """What a program computes, moves and keeps, and which lines of the source are to blame.

    Figures are counted from the text: loops count their steps, shared functions their calls. Beside
    them stands what XLA says of the compiled program. Of a program that is not differentiated the
    residuals are those that reverse mode would keep.

    Example: covector report examples/gpt.py:loss --passes "grad{wrt=0}" --only residuals
    """
    from ..ir.sizes import read_size
    from .report_data import report_of
    from .report_text import report_text

    budget = None if memory_budget is None else read_size(memory_budget)
    load_files(load)
    module = transformed(read_target(target, args), passes, given(switches))
    chosen = [name for name in SECTIONS if not only or name in only]
    data = report_of(module, chosen, xla=xla, budget=budget)
    write(json.dumps(data, indent=1) if as_json else report_text(data, rows), None)
