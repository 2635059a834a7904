"""Check the steps of a pipeline on numbers: by the law of each pass, and by XLA against NumPy."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np

from ..ir.errors import InterpretError, MissingRule
from ..ir.graph import Graph
from ..ir.interpret import evaluate
from ..ir.module import Module
from ..ir.printer import atom_texts
from ..ir.types import dtype_category, dtype_name, real_dtype
from ..passes.base import Pass
from ..passes.manager import KEEPS_MEANING
from ..passes.pipeline import Pipeline
from ..passes.settings import Settings
from .data import finite_inputs
from .laws import LAWS, WITHOUT_EFFECTS, lost_effects
from .progress import say
from .trials import Finding, Trial, difference
from .widen import wide_array, widened

Run = Callable[[Graph, Sequence[Any]], Sequence[Any]]
Compare = Callable[[Trial], list[Finding] | None]

OWN_RULES: Final = frozenset(
    {"custom_jvp_call", "custom_vjp_call", "custom_vjp_linear", "stop_gradient"}
)
"""Primitives whose derivative is what the user says, whatever differences of values say."""

ROUNDING: Final = 20
"""How many times NumPy's error of rounding another way to compute the same may err."""

_TOLERANCES: Final = {"f64": 1e-9, "f32": 1e-3, "f16": 3e-2, "bf16": 1e-1}


@dataclass(frozen=True)
class Report:
    """One step, checked: what its law says, what XLA computes, and what JAX's own transformation
    gives; None where that was not tried.

    `notes` say why it was not. `arrays` are inputs of the entry after the step.
    """

    step: Pass
    before: Module
    after: Module
    law: list[Finding] | None
    xla: list[Finding] | None
    own_rules: frozenset[str]
    arrays: Sequence[Any]
    notes: tuple[str, ...] = ()
    jax: list[Finding] | None = None

    @property
    def ok(self) -> bool:
        return next(self.failures(), None) is None

    def label(self, finding: Finding) -> str:
        """What a finding is about: an output by name and type."""
        if finding.index is None:
            return finding.note
        graph = self.after.graphs[finding.graph]
        v = graph.outputs[finding.index]
        return f"{atom_texts(graph)[v]}: {v.type}"

    def failures(self) -> Iterator[Finding]:
        """What is wrong. Derivatives where the user states rules are not held against a pass."""
        if not (self.own_rules and self.step.law != KEEPS_MEANING):
            yield from (f for f in self.law or () if not f.ok)
        yield from (f for f in (*(self.xla or ()), *(self.jax or ())) if not f.ok)


def check_pipeline(
    passes: Sequence[Pass],
    module: Module,
    arrays: Sequence[Any] | None = None,
    *,
    seed: int = 0,
    xla: Run | None = None,
    jax: Compare | None = None,
) -> Iterator[Report]:
    """Run the passes one by one and check each.

    `arrays` are inputs of the entry; random ones are drawn without, and where a pass changes what
    the entry takes. `xla` runs graphs a second way; `jax` compares a step with what
    JAX itself makes of the program.
    """
    given = arrays if arrays is not None else finite_inputs(module.main, seed, evaluate)
    for i, step in enumerate(passes):
        say(f"checking {step}", i, len(passes))
        after = run_step(step, module)
        notes: list[str] = [] if step.law in LAWS else [f"the law is not known here: {step.law}"]
        law = _tried(notes, check_step, step, module, after, given, seed)
        trial = Trial(step, module, module, after, given, evaluate, np.random.default_rng(seed))
        beside = _tried(notes, jax, trial) if jax is not None else None
        if after.main.input_types != module.main.input_types:
            given = further_inputs(after.main, given, seed)
        compared = _tried(notes, compare_runs, after, given, seed, xla) if xla else None
        own = own_rules(module)
        yield Report(step, module, after, law, compared, own, given, tuple(notes), beside)
        module = after


def run_step(step: Pass, module: Module) -> Module:
    """The verified result of one pass. Any error is a CovectorError that names the pass."""
    return Pipeline((step,), Settings(reproducer="off")).run(module)


def _tried(notes: list[str], check: Callable[..., Any], *args: Any) -> list[Finding] | None:
    """The findings of a check; None, and a note, where a program cannot be evaluated."""
    try:
        found: list[Finding] | None = check(*args)
        return found
    except (InterpretError, MissingRule) as error:
        notes.append(error.claim)
        return None


def check_step(
    step: Pass, before: Module, after: Module, arrays: Sequence[Any], seed: int = 0
) -> list[Finding] | None:
    """What the pass's law says of its result, by the NumPy meaning; None for a law of its own.

    Derivatives are compared in double precision where the programs can run so; what should compute
    the same does so in its own types.
    """
    law = LAWS.get(step.law)
    if law is None:
        return None
    random = np.random.default_rng(seed)
    trial = Trial(step, before, before, after, arrays, evaluate, random, exact=1e-5)
    effects = lost_effects(trial) if step.law not in WITHOUT_EFFECTS else []
    if step.law == KEEPS_MEANING:
        return law(trial) + effects
    wide_before, wide_after = widened(before), widened(after)
    if wide_before is None or wide_after is None:
        return law(replace(trial, exact=1e-4, close=3e-2)) + effects
    wide = [wide_array(x) for x in arrays]
    return law(Trial(step, before, wide_before, wide_after, wide, evaluate, random)) + effects


def further_inputs(graph: Graph, arrays: Sequence[Any], seed: int) -> list[Any]:
    """Inputs for a program with other inputs: those of before where they still fit, in front."""
    drawn = finite_inputs(graph, seed, evaluate)
    for i, (x, t) in enumerate(zip(arrays, graph.input_types, strict=False)):
        if np.shape(x) != t.shape:
            break
        drawn[i] = x
    return drawn


def compare_runs(module: Module, arrays: Sequence[Any], seed: int, run: Run) -> list[Finding]:
    """Each public graph run another way, compared with its NumPy meaning."""
    findings = []
    for graph in module.graphs.values():
        inputs = arrays if graph is module.main else finite_inputs(graph, seed, evaluate)
        findings += compare_graph(graph, inputs, run)
    return findings


def compare_graph(graph: Graph, arrays: Sequence[Any], run: Run) -> list[Finding]:
    """Findings about each output of a graph.

    Where the outputs differ by much, they may for as much as NumPy's own rounding explains.
    """
    got, want = run(graph, arrays), evaluate(graph, arrays)
    findings = [
        Finding(graph.name, i, difference(a, b), tolerance(graph.outputs[i].type))
        for i, (a, b) in enumerate(zip(got, want, strict=True))
    ]
    if all(f.ok for f in findings):
        return findings
    wide = widened(Module({graph.name: graph}))
    if wide is None:
        return findings
    exact = evaluate(wide.main, [wide_array(x) for x in arrays])
    rounding = [ROUNDING * difference(a, b) for a, b in zip(want, exact, strict=True)]
    return [
        replace(f, tolerance=max(f.tolerance, r)) if np.isfinite(r) and r < 1 else f
        for f, r in zip(findings, rounding, strict=True)
    ]


def tolerance(type: Any) -> float:
    """How far two ways to compute a value may differ, relative to its largest element."""
    if dtype_category(type.dtype) not in ("float", "complex"):
        return 0.0
    return _TOLERANCES.get(dtype_name(real_dtype(type.dtype)), 0.3)


def own_rules(module: Module) -> frozenset[str]:
    """The primitives in a module that state derivatives of their own."""
    graphs = module.all_graphs()
    return OWN_RULES & {eqn.primitive.name for g in graphs for eqn in g.equations}
