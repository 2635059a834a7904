"""The suite: staging, compiling, dispatch and run time, covector beside JAX and its peers.

    python benchmarks/suite                     all of it (tens of minutes)
    python benchmarks/suite --quick             under three minutes on two idle cores
    python benchmarks/suite -p "GPT, 12" -s stage     some programs, some stages
    python benchmarks/suite --show docs/suite.json    the tables of results that were saved
    python benchmarks/suite --join a.json --join b.json    those of runs of some programs each

Results of the libraries are compared before anything is timed. Rounds are interleaved in one
process, and ratios are taken within rounds. Staging and compiling are measured in processor time,
runs and calls in wall time. Writes results.json, suite.png and suite.html.
"""

from __future__ import annotations

import gc
import json
from pathlib import Path
from typing import Any

import click
from dispatch import LEAVES, dispatch_times
from libraries import Library, libraries
from measure import agreeing, compile_times, run_times, stage_times
from plots import draw, write_page
from programs import all_programs
from programs.program import Program
from results import environment, joined, rows_of, save, summaries
from rich.console import Console
from table import show


def measure_program(
    program: Program,
    chosen: list[Library],
    rounds: tuple[int, int],
    stages: tuple[str, ...],
    quick: bool,
) -> tuple[list[dict[str, Any]], dict[str, str]]:
    """Rows of one program, and which libraries were left out of it and why.

    rounds: of staging, of compiling.
    """
    gc.collect()
    gc.freeze()  # what is there already need not be looked through before each measurement
    runs: dict[str, Any] = {}
    dropped: dict[str, str] = {}
    if program.compiles and {"compile", "run"} & set(stages):
        chosen, runs, dropped = agreeing(program, chosen, quick)
    else:
        chosen = [x for x in chosen if x.takes(program) and x.trace is not None]
    times = {}
    if "stage" in stages:
        times |= stage_times(program, chosen, rounds[0])
    if runs and "compile" in stages:
        times |= compile_times(program, chosen, rounds[1])
    if runs and "run" in stages:
        times |= run_times(program, {x.name: runs[x.name] for x in chosen}, 4 * rounds[0])
    return rows_of(program.name, program.kind, times), dropped


@click.command(help=__doc__)
@click.option("--quick", is_flag=True, help="fewer rounds; the largest programs only staged")
@click.option("--rounds", type=int, default=None, help="rounds of staging (7, quick: 3)")
@click.option("--program", "-p", "wanted", multiple=True, help="programs whose names have this")
@click.option("--stage", "-s", "stages", multiple=True, help="stage, compile, run, dispatch")
@click.option("--library", "-l", "peers", multiple=True, help="peers, or goals of `optimize`")
@click.option("--out", type=Path, default=Path("build/suite"), help="the folder to write to")
@click.option("--show", "saved", type=Path, default=None, help="only show these results")
@click.option("--join", "parts", type=Path, multiple=True, help="results to put together")
@click.option("--summary", is_flag=True, help="of these, only the means")
def main(
    quick: bool,
    rounds: int | None,
    wanted: tuple[str, ...],
    stages: tuple[str, ...],
    peers: tuple[str, ...],
    out: Path,
    saved: Path | None,
    parts: tuple[Path, ...],
    summary: bool,
) -> None:
    if saved is not None:
        show(json.loads(saved.read_text()), Console(width=100 if summary else 110), summary)
        return
    console = Console()
    if parts:
        results = joined([json.loads(part.read_text()) for part in parts])
        save(out / "results.json", results)
        publish(results, out, console)
        return
    stages = stages or ("stage", "compile", "run", "dispatch")
    chosen = libraries(peers or (("compile-time",) if quick else ()))
    counts = (rounds or (3 if quick else 7), 1 if quick else 3)
    rows: list[dict[str, Any]] = []
    left_out: dict[str, dict[str, str]] = {}

    def keep() -> dict[str, Any]:
        found = {"environment": environment(), "rounds": counts, "rows": rows}
        found |= {"left out": left_out, "summary": summaries(rows)}
        save(out / "results.json", found)
        return found

    for program in all_programs(quick) if set(stages) - {"dispatch"} else []:
        if wanted and not any(text in program.name for text in wanted):
            continue
        console.print(f"[dim]{program.name}[/]")
        found, dropped = measure_program(program, chosen, counts, stages, quick)
        rows += found
        if dropped:
            left_out[program.name] = dropped
        keep()
    for leaves in LEAVES if "dispatch" in stages and not wanted else ():
        times = dispatch_times(leaves, 10 * counts[0])
        rows += rows_of(f"call of {leaves} arrays", "call", times)
    publish(keep(), out, console)


def publish(results: dict[str, Any], out: Path, console: Console) -> None:
    """Draw the plots, write the page, and show the tables."""
    draw(results, out / "suite.png")
    write_page(results, [out / "suite.png"], out / "suite.html")
    show(results, console)


if __name__ == "__main__":
    main()
