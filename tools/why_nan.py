"""`covector why-nan`: the first equation that makes a NaN or an infinity, forward and backward."""

from __future__ import annotations

import json
from typing import Any, Final

import click

from .options import ARGS, AT, INPUTS, JSON, LOAD, PASSES, SEED, TARGET, combined
from .output import BAD_PROGRAM, write
from .switches import HIDDEN_SWITCHES, WithForms, given
from .targets import load_files, read_target_with_inputs, transformed

PROBES: Final = ("0", "1", "-1", "100", "-100", "1e30", "-1e30")
"""Numbers at which functions are often not finite, or have no derivative."""


@click.command(cls=WithForms)
@combined(TARGET, ARGS, PASSES, LOAD, HIDDEN_SWITCHES)
@INPUTS
@AT
@SEED
@click.option("--probe", is_flag=True, help="Where all is finite, try zeros and large numbers.")
@click.option("--wrt", metavar="INPUTS", help="Inputs to differentiate: names or positions (all).")
@click.option("--backward/--no-backward", default=True, help="Differentiate the program (yes).")
@JSON
def why_nan(
    target: str,
    args: str | None,
    passes: str,
    load: tuple[str, ...],
    inputs: str | None,
    at: str | None,
    seed: int,
    probe: bool,
    wrt: str | None,
    backward: bool,
    as_json: bool,
    **switches: Any,
) -> int:
    """Find the equation and the line that first make a NaN or an infinity.

    Runs the program, then its pull-back of cotangents of ones, by the NumPy meaning of each
    operation. Inputs are those of --inputs or --at, else the example arguments of the file, else
    random ones. Exits with 1 if something is not finite.

    Example: covector why-nan model.py:loss --at "x=0"
    """
    from ..passes.base import read_value
    from ..passes.wrt import select_inputs
    from .data import choose_inputs
    from .diagnosis import diagnose_numbers

    load_files(load)
    read, examples = read_target_with_inputs(target, args)
    module = transformed(read, passes, given(switches))
    arrays = choose_inputs(module.main, inputs, at, examples, seed)
    chosen = read_value("tuple[int | str, ...] | None", wrt, "--wrt") if wrt is not None else None
    active = select_inputs(module, chosen, "why-nan") if backward else None
    found = diagnose_numbers(module.main, arrays, active, backward)
    for number in PROBES if probe else ():
        if found.findings:
            break
        filled = choose_inputs(module.main, None, number, arrays, seed)
        found = diagnose_numbers(module.main, filled, active, backward)
    write(json.dumps(found.as_json(), indent=1) if as_json else found.describe(), None)
    return BAD_PROGRAM if found.findings else 0
