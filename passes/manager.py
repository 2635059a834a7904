"""Runs the passes of a pipeline: selects, verifies, reports, explains failures."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Final, NoReturn

from ..ir.errors import (
    ArgumentError,
    ClosedOverError,
    CovectorError,
    ForwardModeError,
    PassError,
    ReverseModeError,
    UsageError,
    VerifyError,
)
from ..ir.memory import collector_paused
from ..ir.module import Module
from ..ir.reproducer import explain, keep
from .base import Pass
from .families import all_loaded, load_all
from .observers import FileWriter, Observer, Printer
from .settings import Settings
from .statistics import StepStatistics, statistics_report
from .timing import Timer

KEEPS_MEANING: Final = "equal outputs"
"""The law of passes that may be left out without changing what the program computes."""


class Manager:
    """One run of a pipeline. With a timer of the caller's, the caller reports the times. `run`
    applies a pass to a module."""

    def __init__(
        self,
        passes: Sequence[Pass],
        settings: Settings,
        observers: Sequence[Observer] = (),
        timer: Timer | None = None,
        run: Callable[[Pass, Module], Module] = lambda step, module: step.run(module),
    ) -> None:
        self.passes = tuple(passes)
        self.settings = settings
        self.observers = (*_observers(settings), *observers)
        self.apply = run
        self.own_timer = timer is None
        self.timer = timer or Timer()
        self.statistics: list[StepStatistics] = []

    def run(self, module: Module) -> Module:
        """The module after the passes that are not left out."""
        for observer in self.observers:
            observer.start(module)
        if (self.settings.timing or self.settings.timing_trace) and not all_loaded():
            with self.timer.span("load rules"):  # else they count as time of the pass that is first
                load_all()
        try:
            for i, step in self._selected():
                module = self._step(i, step, module)
        finally:
            self._report()
        return module

    # -- which passes run --------------------------------------------------------------------------

    def _selected(self) -> Iterator[tuple[int, Pass]]:
        """The passes to run, with their positions; observers hear of the others."""
        limit = self.settings.bisect_limit
        optional = 0
        for i, step in enumerate(self.passes):
            if self.settings.stop_after is not None and i >= self.settings.stop_after:
                return
            runs = step.name not in self.settings.disable
            if runs and limit is not None and step.law == KEEPS_MEANING:
                optional += 1
                runs = limit < 0 or optional <= limit
                verb = "running" if runs else "NOT running"
                print(f"BISECT: {verb} pass ({optional}) {step}", file=sys.stderr)
            if runs:
                yield i, step
            else:
                for observer in self.observers:
                    observer.skipped(step)

    # -- one step ----------------------------------------------------------------------------------

    def _step(self, i: int, step: Pass, before: Module) -> Module:
        for observer in self.observers:
            observer.before(step, before)
        after: Module | None = None
        try:
            with self.timer.span(str(step)), collector_paused():
                after = self.apply(step, before)
                self._check(after)
        except Exception as error:
            made = after if isinstance(after, Module) else None
            for observer in self.observers:
                observer.failed(step, before, made, error)
            self._fail(i, step, before, after, error)
        if self.settings.stats:
            self.statistics.append(StepStatistics.of(step, before, after))
        for observer in self.observers:
            observer.after(step, before, after)
        return after

    def _check(self, module: Module) -> None:
        if not isinstance(module, Module):
            raise PassError(f"a pass returns a Module, this one returned {module!r:.60}")
        if self.settings.verify_each:
            with self.timer.span("verify"):
                module.verify()
        if self.settings.verify_roundtrip:
            with self.timer.span("round trip"):
                check_roundtrip(module)

    def _fail(
        self, i: int, step: Pass, before: Module, after: Module | None, error: Exception
    ) -> NoReturn:
        """Raise the error with the pass's name, and that of a file that repeats it."""
        shown = explain(step.name, error)
        place = f"{'pass' if after is None else 'after pass'} {step}"
        shown.stage = f"{shown.stage}, {place}" if shown.stage else place
        if self.settings.reproducer is not None or not is_refusal(error):
            self._keep(shown, before, self.passes[i:])
        if shown is error:
            raise error
        raise shown from error

    def _keep(self, error: CovectorError, module: Module, rest: Sequence[Pass]) -> None:
        modules = [sys.modules.get(type(step).__module__) for step in rest]
        own = __name__.partition(".")[0]
        files = [m.__file__ for m in modules if m and m.__name__.partition(".")[0] != own]
        keep(
            error,
            module,
            passes=",".join(map(str, rest)),
            settings=self._kept(),
            path=self.settings.reproducer,
            files=dict.fromkeys(filter(None, files)),
        )

    def _kept(self) -> dict[str, str]:
        """The settings that a reproducer records: those that decide what fails."""
        default, names = Settings(), ("verify_each", "verify_roundtrip")
        values = {name: getattr(self.settings, name) for name in names}
        return {k: str(v).lower() for k, v in values.items() if v != getattr(default, k)}

    # -- reports -----------------------------------------------------------------------------------

    def _report(self) -> None:
        if self.settings.stats:
            print(statistics_report(self.statistics, self.settings.stats), file=sys.stderr)
        if self.own_timer:
            report_times(self.timer, self.settings)


_REFUSALS: Final = (
    UsageError, ArgumentError, ForwardModeError, ReverseModeError, ClosedOverError
)  # fmt: skip


def is_refusal(error: Exception) -> bool:
    """Whether a pass was asked for what it does not do, whatever the equations are."""
    is_pass_error = isinstance(error, PassError) and error.equation is None
    return is_pass_error or isinstance(error, _REFUSALS)


def report_times(timer: Timer, settings: Settings) -> None:
    """Print and write the times as the settings say."""
    if settings.timing:
        print(timer.report(settings.timing), file=sys.stderr)
    if settings.timing_trace:
        Path(settings.timing_trace).write_text(timer.chrome_trace(), encoding="utf-8")


def _observers(settings: Settings) -> list[Observer]:
    found: list[Observer] = []
    switches = ("before", "after", "before_all", "after_all", "after_change", "after_failure")
    if any(getattr(settings, f"print_{name}") for name in switches):
        found.append(Printer(settings))
    if settings.print_to is not None:
        found.append(FileWriter(settings.print_to, settings))
    return found


def check_roundtrip(module: Module) -> None:
    """Raise VerifyError unless the module's text reads back as an equal module."""
    from ..ir.parser import parse
    from ..ir.printer import print_module

    text = print_module(module)
    try:
        back = parse(text, verify=False, file="<printed>")
    except CovectorError as error:
        raise VerifyError(f"the text does not read back: {error.claim}") from error
    if print_module(back) != text:  # the text has every bit of the constants that have contents
        raise VerifyError("the text reads back as another program")
