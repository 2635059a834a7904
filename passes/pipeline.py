"""Pipelines: lists of passes, written `linearize{wrt=0},transpose,cse,dce`, and their manager."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from ..ir.errors import CovectorError, UsageError
from ..ir.memory import collector_paused
from ..ir.module import Module
from .base import Pass, make_pass

_STEP = re.compile(r"\s*([A-Za-z_][\w-]*)\s*(?:\{([^{}]*)\})?\s*")

Observer = Callable[[int, Pass, Module, Module], None]
"""Called after each step with its number, the pass, and the module before and after."""


def parse_pipeline(text: str) -> tuple[Pass, ...]:
    """The passes of a pipeline string. Raises UsageError at the place that is not one.

    A pass is its name, then options in braces, separated by spaces: `batch{in_axes=0,None}`.
    """
    passes: list[Pass] = []
    position = 0
    while position < len(text) or not passes:
        match = _STEP.match(text, position)
        if match is None:
            if not text.strip():
                return ()
            raise UsageError(f"a pass name is missing in the pipeline {text!r} at {position}")
        name, options = match.groups()
        passes.append(make_pass(name, _parse_options(name, options or "")))
        position = match.end()
        if position < len(text):
            if text[position] != ",":
                raise UsageError(
                    f"unexpected {text[position:]!r} after {name} in the pipeline {text!r}",
                    hint="passes are separated by commas, options by spaces in braces",
                )
            position += 1
            if position == len(text):
                raise UsageError(f"the pipeline {text!r} ends with a comma")
    return tuple(passes)


def _parse_options(name: str, text: str) -> dict[str, str | bool]:
    options: dict[str, str | bool] = {}
    for part in text.split():
        key, equals, value = part.partition("=")
        if not key or (equals and not value):
            raise UsageError(f"option {part!r} of pass {name} is not of the form name=value")
        options[key] = value if equals else True
    return options


@dataclass(frozen=True)
class Pipeline:
    """Passes in order, verified after each.

    `verify` checks the module after every pass; `observers` see every step.
    """

    passes: tuple[Pass, ...]
    verify: bool = True
    observers: tuple[Observer, ...] = field(default=(), compare=False)

    @classmethod
    def of(cls, passes: str | Iterable[Pass | str], **fields: object) -> Pipeline:
        """A pipeline from its string, or from passes and strings."""
        if isinstance(passes, str):
            return cls(parse_pipeline(passes), **fields)  # type: ignore[arg-type]
        steps: list[Pass] = []
        for step in passes:
            steps.extend(parse_pipeline(step) if isinstance(step, str) else [step])
        return cls(tuple(steps), **fields)  # type: ignore[arg-type]

    def run(self, module: Module) -> Module:
        """The module after all passes. Errors name the pass in which they arose."""
        for number, step in enumerate(self.passes):
            before = module
            try:
                with collector_paused():
                    module = step.run(before)
                    if self.verify:
                        module.verify()
            except CovectorError as error:
                if error.stage is None:
                    error.stage = f"pass {step}"
                raise
            for observer in self.observers:
                observer(number, step, before, module)
        return module

    def __str__(self) -> str:
        return ",".join(map(str, self.passes))


def run_passes(
    module: Module, passes: str | Sequence[Pass | str], *, verify: bool = True
) -> Module:
    """Run a pipeline over a module: `run_passes(m, "linearize{wrt=0},transpose,cse,dce")`."""
    if not isinstance(module, Module):
        raise UsageError(
            f"run_passes takes a covector Module, got {type(module).__name__}",
            hint="make one with covector.make_ir(f)(*args), covector.parse or covector.load",
        )
    return Pipeline.of(passes, verify=verify).run(module)
