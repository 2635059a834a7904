"""`covector bisect`: which pass goes wrong first, and with which equation."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click

from ..ir.errors import CovectorError, UsageError
from .options import ARGS, AT, INPUTS, JAX, JSON, LOAD, PASSES, SEED, TARGET
from .output import BAD_PROGRAM, write
from .progress import say
from .targets import load_files, read_target

if TYPE_CHECKING:
    from ..ir.module import Module
    from ..passes.base import Pass
    from .culprit import Culprit
    from .symptoms import Symptom

PREDICATE = click.option(
    "--predicate",
    metavar="COMMAND",
    help="What is wrong: COMMAND exits with 0 for a file with such a program (%s, or at its end).",
)


@dataclass(frozen=True)
class _Found:
    """The first pass that goes wrong, on what program, on which arrays, and how."""

    number: int
    step: Pass
    module: Module
    arrays: Sequence[Any]
    symptom: Symptom
    details: tuple[str, ...]


@click.command()
@TARGET
@ARGS
@PASSES
@INPUTS
@AT
@SEED
@PREDICATE
@click.option("--nan", is_flag=True, help="Look for the equation that first makes a NaN.")
@click.option("--xla/--no-xla", default=True, help="Compare XLA with NumPy too (yes).")
@JAX
@click.option("-o", "--output", metavar="FILE", help="Write the smallest program found to FILE.")
@LOAD
@JSON
def bisect(
    target: str,
    args: str | None,
    passes: str,
    inputs: str | None,
    at: str | None,
    seed: int,
    predicate: str | None,
    nan: bool,
    xla: bool,
    own: bool,
    output: str | None,
    load: tuple[str, ...],
    as_json: bool,
) -> int:
    """Find the pass, then the equation, with which a result first goes wrong.

    Wrong is what `covector check` finds, an error that a pass raises, what --predicate says, or
    --nan. Exits with 1 if something is found, 0 if nothing is wrong.

    Example: covector bisect loss.cvir --passes "linearize,transpose,clean"
    """
    from ..ir.interpret import evaluate
    from ..passes.pipeline import parse_pipeline
    from .culprit import find_culprit
    from .data import finite_inputs, given_inputs
    from .jax_own import compare_with_jax
    from .xla import run_xla

    load_files(load)
    steps = parse_pipeline(passes)
    module = read_target(target, args)
    given = given_inputs(module.main, inputs, at, seed)
    arrays = finite_inputs(module.main, seed, evaluate) if given is None else given
    if nan:
        return _report_nan(steps, module, arrays, seed, as_json)
    if predicate is not None:
        found = _first_by_predicate(steps, module, arrays, predicate)
    else:
        ways = {"xla": run_xla if xla else None, "jax": compare_with_jax if own else None}
        found = _first_wrong(steps, module, arrays, seed, ways)
    if found is None:
        write(json.dumps(None) if as_json else "nothing is wrong", None)
        return 0
    say("looking for the equation")
    culprit = find_culprit(found.symptom, found.module, found.arrays)
    if output is not None:
        write(str(culprit.module if culprit is not None else found.module), output)
    describe = _found_as_json if as_json else _found_as_text
    write(describe(found, culprit, len(steps)), None)
    return BAD_PROGRAM


def _found_as_json(found: _Found, culprit: Culprit | None, steps: int) -> str:
    data = {
        "pass": str(found.step), "number": found.number, "passes": steps, "details": found.details
    }  # fmt: skip
    if culprit is None:
        return json.dumps({**data, "culprit": None}, indent=1)
    made = {"becomes": _made(found, culprit)}
    return json.dumps({**data, "culprit": culprit.as_json() | made}, indent=1)


def _made(found: _Found, culprit: Culprit) -> str | None:
    """What the pass makes of the smallest program: the rewrite that is wrong. None if it raises."""
    from .checking import run_step

    (step,) = culprit.passes
    try:
        return str(run_step(step, culprit.module))
    except CovectorError:
        return None


def _found_as_text(found: _Found, culprit: Culprit | None, steps: int) -> str:
    lines = [f"pass {found.number} of {steps} is the first to go wrong: {found.step}"]
    lines += [f"  {detail}" for detail in found.details]
    if culprit is None:
        lines.append("no part of the program shows it by itself")
    else:
        lines += [culprit.describe(), "", "with this program:", str(culprit.module)]
        made = _made(found, culprit)
        lines += ["of which the pass makes:", made] if made is not None else []
    return "\n".join(lines)


def _first_wrong(
    steps: Sequence[Pass], module: Module, arrays: Sequence[Any], seed: int, ways: dict[str, Any]
) -> _Found | None:
    """The first pass that raises, breaks its law, whose result XLA computes otherwise, or of which
    JAX makes something else."""
    from .checking import check_pipeline
    from .symptoms import Failure, WrongNumbers, failure

    for number, step in enumerate(steps, 1):
        say(f"pass {step}", number - 1, len(steps))
        error = failure([step], module)
        if error is not None:
            symptom = Failure.of((step,), error)
            return _Found(number, step, module, arrays, symptom, (symptom.describe(),))
        (report,) = check_pipeline([step], module, arrays, seed=seed, **ways)
        wrong = list(report.failures())
        if wrong:
            details = tuple(
                f"@{f.graph} {report.label(f)}: error {f.error:.1e}, at most {f.tolerance:.0e} "
                f"({_against(report, f)})"
                for f in wrong
            )
            numbers = WrongNumbers((step,), seed, **ways)
            return _Found(number, step, module, arrays, numbers, details)
        module, arrays = report.after, report.arrays
    return None


def _against(report: Any, finding: Any) -> str:
    """What a finding is by: the law, or another way to compute the same."""
    if any(finding is f for f in report.jax or ()):
        return "JAX's own against this"
    return "XLA against NumPy" if any(finding is f for f in report.xla or ()) else report.step.law


def _first_by_predicate(
    steps: Sequence[Pass], module: Module, arrays: Sequence[Any], command: str
) -> _Found | None:
    """The first pass after which the user's command exits with 0."""
    from .checking import run_step
    from .symptoms import Predicate

    if Predicate(command).accepts(module):
        raise UsageError(
            "the predicate holds for the program as it is, before any pass",
            hint="covector reduce makes such a program smaller",
        )
    for number, step in enumerate(steps, 1):
        say(f"pass {step}", number - 1, len(steps))
        after = run_step(step, module)
        if Predicate(command).accepts(after):
            symptom = Predicate(command, (step,))
            return _Found(number, step, module, arrays, symptom, (symptom.describe(),))
        module = after
    return None


def _report_nan(
    steps: Sequence[Pass], module: Module, arrays: Sequence[Any], seed: int, as_json: bool
) -> int:
    """Print where a NaN is first made, in the first program of the pipeline that makes one."""
    from .checking import further_inputs, run_step
    from .nonfinite import nan_source

    source, before = nan_source(module.main, arrays), "before any pass"
    for step in steps:
        if source is not None:
            break
        old = module
        module = run_step(step, module)
        before = f"after pass {step}"
        if module.main.input_types != old.main.input_types:
            arrays = further_inputs(module.main, arrays, seed)
        source = nan_source(module.main, arrays)
    if as_json:
        data = None if source is None else {"program": before, **source.as_json()}
        write(json.dumps(data, indent=1), None)
    elif source is None:
        write("no equation makes NaN of operands without", None)
    else:
        write(f"{before}:\n{source.describe()}", None)
    return BAD_PROGRAM if source is not None else 0
