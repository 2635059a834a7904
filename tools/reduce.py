"""`covector reduce`: the smallest program found that still goes wrong."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, field, replace
from typing import Any

import click

from ..ir.errors import CovectorError, UsageError
from ..ir.module import Module
from ..passes.base import Pass
from ..passes.pipeline import parse_pipeline
from .bisect import PREDICATE
from .options import ARGS, AT, JSON, LOAD, OUTPUT, PASSES, SEED, TARGET
from .output import write
from .progress import say
from .reductions import STEPS
from .symptoms import (
    Failure,
    NotANumber,
    Predicate,
    Symptom,
    WrongNumbers,
    diagnose,
    failure,
)
from .targets import load_files, read_program, read_target


@click.command()
@TARGET
@ARGS
@PASSES
@SEED
@AT
@PREDICATE
@click.option(
    "--symptom",
    "kind",
    type=click.Choice(["auto", "error", "numbers", "nan"]),
    default="auto",
    show_default=True,
    help="What goes wrong: an error, numbers that covector check finds wrong, or NaN.",
)
@click.option("--xla/--no-xla", default=False, help="Compare XLA with NumPy too (no).")
@click.option("--max-tests", default=2000, show_default=True, help="Programs to try at most.")
@click.option("--timeout", default=300.0, show_default=True, help="Seconds to take at most.")
@LOAD
@JSON
@OUTPUT
def reduce(
    target: str,
    args: str | None,
    passes: str,
    seed: int,
    at: str | None,
    predicate: str | None,
    kind: str,
    xla: bool,
    max_tests: int,
    timeout: float,
    load: tuple[str, ...],
    as_json: bool,
    output: str | None,
) -> None:
    """Make a program smaller for as long as it goes wrong, and print what remains.

    Example: covector reduce loss.cvir --passes "linearize,transpose" -o small.cvir
    """
    load_files(load)
    steps = parse_pipeline(passes)
    is_python = target.rpartition(":")[0].endswith(".py")
    module = read_target(target, args) if is_python else read_program(target, verify=False)
    symptom = _symptom(kind, steps, module, seed, predicate, xla, at)
    click.echo(f"reducing a program with: {symptom.describe()}", err=True)
    reducer = Reducer(symptom, max_tests, time.monotonic() + timeout)
    small, symptom = reducer.run(module)
    remaining = ",".join(map(str, symptom.passes))
    click.echo(
        f"{_size(module)} equations -> {_size(small)}, {reducer.tests} programs tried; it shows "
        f"under --passes {remaining!r}",
        err=True,
    )
    if as_json:
        data = {
            "symptom": symptom.describe(), "passes": remaining, "tests": reducer.tests,
            "equations": [_size(module), _size(small)], "program": str(small),
        }  # fmt: skip
        write(json.dumps(data, indent=1), output)
    else:
        write(str(small), output, highlight=True)


def _symptom(
    kind: str,
    steps: tuple[Pass, ...],
    module: Module,
    seed: int,
    predicate: str | None,
    xla: bool,
    at: str | None,
) -> Symptom:
    """What is wrong with the program. Raises UsageError if it is not."""
    runner: Any = None
    if xla:
        from .xla import run_xla as runner
    symptom: Symptom | None
    if predicate is not None:
        symptom = Predicate(predicate, steps)
    elif kind == "error":
        error = failure(steps, module)
        symptom = Failure.of(steps, error) if error is not None else None
    elif kind == "numbers":
        symptom = WrongNumbers(steps, seed, runner, None, at)
    elif kind == "nan":
        symptom = NotANumber(steps, seed, at)
    else:
        symptom = diagnose(steps, module, seed=seed, xla=runner, at=at)
    if symptom is None or not symptom.shows(module):
        what = symptom.describe() if symptom is not None else "an error, wrong numbers or NaN"
        raise UsageError(f"the program does not show {what}; there is nothing to reduce for")
    return symptom


def _size(module: Module) -> int:
    return sum(len(graph) for graph in module.all_graphs())


@dataclass
class Reducer:
    """Tries smaller programs until none shows the symptom, or time is up."""

    symptom: Symptom
    max_tests: int
    deadline: float
    tests: int = 0
    seen: set[str] = field(default_factory=set)

    def run(self, module: Module) -> tuple[Module, Symptom]:
        """The smallest program found, and the symptom with the passes still needed."""
        module = self._fewer_passes(module)
        while not self._is_over():
            smaller = self._round(module)
            if smaller is module:
                break
            module = smaller
        return module, self.symptom

    def _round(self, module: Module) -> Module:
        """One go through all ways to make the program smaller, each for as long as it helps."""
        for step in STEPS:
            progress = True
            while progress and not self._is_over():
                progress = False
                for candidate in step(module):
                    if self._is_over():
                        break
                    if self._shows(candidate):
                        module, progress = candidate, True
                        break
        return module

    def _shows(self, module: Module) -> bool:
        """Whether a program shows the symptom; one that was tried before does not count."""
        try:
            text = str(module)
        except CovectorError:
            return False
        if text in self.seen:
            return False
        self.seen.add(text)
        self.tests += 1
        say(f"reducing: {_size(module)} equations", self.tests, self.max_tests)
        return self.symptom.shows(module)

    def _is_over(self) -> bool:
        return self.tests >= self.max_tests or time.monotonic() > self.deadline

    def _fewer_passes(self, module: Module) -> Module:
        """Take away passes from the end, then from the front (their result is the program then)."""
        passes = self.symptom.passes
        for n in range(len(passes)):
            shorter: Symptom = replace(self.symptom, passes=passes[:n])  # type: ignore[type-var]
            if shorter.shows(module):
                self.symptom = shorter
                break
        while len(self.symptom.passes) > 1:
            first, *rest = self.symptom.passes
            try:
                after = first.run(module).verify()
            except Exception:
                break
            later: Symptom = replace(self.symptom, passes=tuple(rest))  # type: ignore[type-var]
            if not later.shows(after):
                break
            module, self.symptom = after, later
        return module
