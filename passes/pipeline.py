"""Pipelines: lists of passes, written `linearize{wrt=0},transpose,cse,dce`."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..ir.errors import UsageError, did_you_mean
from ..ir.graph import Graph
from ..ir.memory import collector_paused
from ..ir.module import Module
from .base import PASSES, Pass, make_pass
from .cse import Cse, cse_graph
from .dce import Dce, remove_dead
from .manager import Manager
from .masks import LARGE, Masks, with_stored_masks
from .observers import Observer
from .settings import Settings
from .stacks import WORTH, Stacks, with_fewer_stacks
from .timing import Timer

_STEP = re.compile(r"\s*([A-Za-z_][\w-]*)\s*(?:\{([^{}]*)\})?\s*")


@dataclass(frozen=True)
class NamedPipeline:
    """A pipeline with a name: its passes as text, and why they are these. Options that are given
    to the name go to the first pass."""

    passes: str
    reason: str


PIPELINES: dict[str, NamedPipeline] = {
    "clean": NamedPipeline(
        "fold,cse,dce",
        "exact identities, then repeated, then unread equations: each makes work for the next",
    ),
    "flat": NamedPipeline(
        "inline,fold,cse,dce", "calls become equations, so that cleaning sees across them"
    ),
    "reverse": NamedPipeline(
        "linearize,transpose,fold,cse,dce", "primal and pullback as two programs, cleaned"
    ),
    "gradient": NamedPipeline(
        "grad,fold,cse,dce", "the gradient as one program, without the primal parts nobody reads"
    ),
}
"""Pipelines that can stand in a pipeline by name; add to it to have your own."""


def parse_pipeline(text: str) -> tuple[Pass, ...]:
    """The passes of a pipeline string. Raises UsageError at the place that is not one.

    A pass is its name, then options in braces, separated by spaces: `batch{in_axes=0,None}`.
    The name of a named pipeline stands for its passes.
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
        passes.extend(_make_steps(name, _parse_options(name, options or "")))
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


def _make_steps(name: str, options: dict[str, Any]) -> tuple[Pass, ...]:
    if name in PASSES:
        return (make_pass(name, options),)
    if name in PIPELINES:
        first, *rest = parse_pipeline(PIPELINES[name].passes)
        return (make_pass(first.name, options) if options else first, *rest)
    known = [*PASSES, *PIPELINES]
    raise UsageError(
        f"there is no pass {name!r}",
        hint=did_you_mean(name, known) or f"passes and pipelines: {', '.join(sorted(known))}",
    )


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
    """Passes in order. `observers` see every step; `settings` say what else happens."""

    passes: tuple[Pass, ...]
    settings: Settings | None = None
    observers: tuple[Observer, ...] = field(default=(), compare=False)

    @classmethod
    def of(
        cls,
        passes: str | Iterable[Pass | str],
        observers: Sequence[Observer] = (),
        **switches: Any,
    ) -> Pipeline:
        """A pipeline from its string, or from passes and strings; switches as in `Settings`."""
        steps: list[Pass] = []
        for step in [passes] if isinstance(passes, str) else passes:
            steps.extend(parse_pipeline(step) if isinstance(step, str) else [step])
        settings = Settings.of(switches) if switches else None
        return cls(tuple(steps), settings, tuple(observers))

    def run(self, module: Module, timer: Timer | None = None) -> Module:
        """The module after all passes. Errors name the pass in which they arose."""
        settings = self.settings if self.settings is not None else Settings.of({})
        return Manager(self.passes, settings, self.observers, timer).run(module)

    def describe(self) -> str:
        """The pipeline string with all options of all passes."""
        return ",".join(step.describe() for step in self.passes)

    def __str__(self) -> str:
        return ",".join(map(str, self.passes))


def run_passes(module: Module, passes: str | Sequence[Pass | str], **switches: Any) -> Module:
    """Run a pipeline over a module: `run_passes(m, "linearize{wrt=0},transpose,cse,dce")`.

    Keyword arguments are the switches of `Settings`: `run_passes(m, p, print_after_all=True)`.
    """
    if not isinstance(module, Module):
        raise UsageError(
            f"run_passes takes a covector Module, got {type(module).__name__}",
            hint="make one with covector.make_ir(f)(*args), covector.parse or covector.load",
        )
    return Pipeline.of(passes, **switches).run(module)


def tidied(graph: Graph) -> Graph:
    """A graph as it is compiled: without repeated, then without unread equations, with the least
    stacked from loop to loop, and with masks stored in place of what they are made from.

    It runs as a pipeline, which the environment's switches let one watch, where any is set.
    """
    settings = Settings.of({})
    if settings == Settings():
        with collector_paused():
            return with_stored_masks(with_fewer_stacks(cleaned(graph), WORTH), LARGE)
    passes = Cse(), Dce(), Stacks(WORTH), Masks(LARGE)
    return Pipeline(passes, settings).run(Module({graph.name: graph})).main


def cleaned(graph: Graph) -> Graph:
    """A graph without repeated, then without unread equations."""
    settings = Settings.of({})
    if settings == Settings():
        return remove_dead(cse_graph(graph))
    return Pipeline((Cse(), Dce()), settings).run(Module({graph.name: graph})).main
