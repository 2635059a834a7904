"""`covector opt`: run passes over a program in text form."""

from __future__ import annotations

import click

from .options import LOAD, LOCATIONS, OUTPUT, PASSES
from .targets import load_files, read_program, transformed


@click.command()
@click.argument("program")
@PASSES
@click.option("--verify/--no-verify", default=True, help="Verify after each pass (on).")
@LOAD
@LOCATIONS
@OUTPUT
def opt(
    program: str,
    passes: str,
    verify: bool,
    load: tuple[str, ...],
    locations: bool,
    output: str | None,
) -> None:
    """Run passes over a program in text form.

    Example: covector opt loss.cvir --passes "linearize,transpose,cse,dce"
    """
    from .output import write_module

    load_files(load)
    write_module(transformed(read_program(program), passes, verify), output, locations)
