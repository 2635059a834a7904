"""`covector opt`: run passes over a program in text form, and watch them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any, Final

import click

from ..ir.errors import CovectorError, UsageError
from ..passes.manager import report_times
from ..passes.pipeline import Pipeline, parse_pipeline
from ..passes.settings import Settings
from ..passes.timing import Timer
from .emit import EMIT, emit
from .options import JSON, LOAD, LOCATIONS, OUTPUT, PASSES
from .output import BAD_PROGRAM, exit_status, report, write
from .switches import SWITCHES, WithForms, given
from .targets import STANDARD_INPUT, load_files, read_program, read_text

SEPARATOR: Final = "// -----\n"
_SEPARATOR_LINE: Final = re.compile(r"^[ \t]*// -----[ \t]*\n", re.MULTILINE)


@click.command(cls=WithForms)
@click.argument("program", required=False, type=click.Path())
@PASSES
@EMIT
@SWITCHES
@click.option("--verify/--no-verify", default=True, help="Verify the program that is read (yes).")
@click.option("--split-input", is_flag=True, help="Treat parts between // ----- lines one by one.")
@click.option(
    "--verify-diagnostics", is_flag=True,
    help="Check that the errors are those of // expected-error {{...}} comments.",
)  # fmt: skip
@click.option("--dump-pipeline", is_flag=True, help="Print the pipeline with all its options.")
@click.option("--run-reproducer", is_flag=True, help="Repeat the failure that PROGRAM records.")
@LOAD
@LOCATIONS
@JSON
@OUTPUT
def opt(
    program: str | None,
    passes: str,
    form: str,
    verify: bool,
    split_input: bool,
    verify_diagnostics: bool,
    dump_pipeline: bool,
    run_reproducer: bool,
    load: tuple[str, ...],
    locations: bool,
    as_json: bool,
    output: str | None,
    **switches: Any,
) -> int:
    """Run passes over a program in text form.

    Example: covector opt loss.cvir --passes "linearize,transpose,cse,dce" --timing
    """
    load_files(load)
    if as_json:
        form = "json"
        switches |= {name: "json" for name in ("timing", "stats") if switches[name]}
    settings = Settings.of(given(switches))
    pipeline = Pipeline(parse_pipeline(passes), settings)
    if dump_pipeline:
        click.echo(_described(pipeline, as_json), err=program is not None)
        if program is None:
            return 0
    if program is None:
        raise UsageError("missing argument 'PROGRAM'", hint="see covector opt --help")
    if run_reproducer:
        return repeat(program, settings)
    if verify_diagnostics:
        return compare_errors(program, pipeline, verify, split_input)
    style: dict[str, Any] = {"form": form, "locations": locations}
    style["elide_larger"] = settings.elide_larger
    run = _run_parts if split_input else _run_whole
    timer = Timer()
    status = run(program, output, pipeline, verify, timer, style)
    report_times(timer, settings)
    return status


def _described(pipeline: Pipeline, as_json: bool) -> str:
    """The pipeline with all options: as a pipeline string, or as names and options."""
    if not as_json:
        return pipeline.describe()
    steps = [{"pass": step.name, "options": vars(step)} for step in pipeline.passes]
    return json.dumps(steps, indent=1)


def _run_whole(
    program: str,
    output: str | None,
    pipeline: Pipeline,
    verify: bool,
    timer: Timer,
    style: dict[str, Any],
) -> int:
    """Run the pipeline over the whole input."""
    with timer.span("parse"):
        module = read_program(program, verify=verify)
    module = pipeline.run(module, timer)
    with timer.span("print"):
        emit(module, output, **style)
    return 0


def _run_parts(
    program: str,
    output: str | None,
    pipeline: Pipeline,
    verify: bool,
    timer: Timer,
    style: dict[str, Any],
) -> int:
    """Run each part of the input by itself; a part that fails does not keep others from running."""
    from ..ir.parser import parse
    from .emit import emitted

    file = STANDARD_INPUT if program == "-" else program
    texts, status = [], 0
    for part in split(read_text(program)):
        try:
            with timer.span("parse"):
                module = parse(part, verify=verify, file=file)
            texts.append(emitted(pipeline.run(module, timer), **style))
        except CovectorError as error:
            report(error, as_json=style["form"] == "json")
            status = max(status, exit_status(error))
    if style["form"] == "json":
        write(f"[{','.join(texts)}]", output)
    elif texts:
        write(SEPARATOR.join(texts), output, highlight=style["form"] == "text")
    return status


def compare_errors(program: str, pipeline: Pipeline, verify: bool, split_input: bool) -> int:
    """1 if an error is other than the comments of its part foresee, else 0; prints no program."""
    from ..ir.parser import parse
    from .diagnostics import disagreements, expected_errors

    file = STANDARD_INPUT if program == "-" else program
    text, status = read_text(program), 0
    for part in split(text) if split_input else [text]:
        error: CovectorError | None = None
        try:
            pipeline.run(parse(part, verify=verify, file=file))
        except CovectorError as raised:
            error = raised
        for line in disagreements(expected_errors(part), error):
            click.echo(f"{file}: {line}", err=True)
            status = BAD_PROGRAM
    return status


def split(text: str) -> Iterator[str]:
    """The parts between separators, each with line breaks in front so that line numbers hold."""
    start = 0
    for end, after in [*(m.span() for m in _SEPARATOR_LINE.finditer(text)), (len(text), 0)]:
        yield "\n" * text.count("\n", 0, start) + text[start:end]
        start = after


def repeat(file: str, settings: Settings) -> int:
    """Do what a reproducer records. The failure, if it is still there, is raised."""
    from ..ir.reproducer import read_reproducer

    found = read_reproducer(read_text(file), file)
    known = {"reproducer": "off", **found.settings}
    found_settings = Settings.of({**known, **_differences(settings)})
    try:
        passes = parse_pipeline(found.passes)
    except UsageError as error:
        if found.load:
            error.hint = f"its passes are the user's own; beside {file}, give: {found.load}"
        raise
    module = Pipeline(passes, found_settings).run(found.module)
    if found.lower:
        from ..lowering.emit import lower_graph

        lower_graph(module.main, tuple(found.lower.split(",")), module.name)
    click.echo(f"this does not fail any more; it did with {found.error}", err=True)
    return 0


def _differences(settings: Settings) -> dict[str, Any]:
    """What the command line asks for beside the recorded settings."""
    default = Settings()
    return {k: v for k, v in vars(settings).items() if v != getattr(default, k)}
