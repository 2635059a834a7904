"""Why results or derivatives are not finite: where that begins, of what, and what to do."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path as FilePath
from typing import Any, Final

import numpy as np

from ..ir.graph import Equation, Graph, Location, Value
from ..ir.origins import BACKWARD, DERIVATIVE, FORWARD, primal_of, role_of
from ..ir.printer import atom_texts
from ..ir.types import has_tangent
from ..passes.inline import inline_graph
from ..passes.reverse import vjp_graph
from .cases import Advice, Case
from .derivations import NO_PATH, Path, PrimalTexts, cotangent_path
from .nonfinite import INFINITY, NAN, Source, extent, find_source, record
from .progress import say
from .remedies import advise

_SAID: Final = {
    FORWARD: "the program itself",
    DERIVATIVE: "a factor of the derivative of",
    BACKWARD: "the backward of",
}


@dataclass(frozen=True)
class Finding:
    """Numbers that are not finite in some results of a direction, `forward` or `backward`.

    source is None where an input has them already.
    """

    direction: str
    what: str
    results: tuple[str, ...]
    source: Source | None
    texts: PrimalTexts
    path: Path = NO_PATH
    advice: Advice | None = None

    def as_json(self) -> dict[str, Any]:
        made = None
        if self.source is not None:
            made = _source_as_json(self.source, self.texts)
        return {
            "direction": self.direction,
            "what": self.what,
            "results": list(self.results),
            "source": made,
            "path": [
                {
                    "equation": self.texts[step.equation],
                    "location": _place(step.location),
                    "cotangent": step.cotangent,
                }
                for step in self.path.steps
            ],
            "advice": vars(self.advice) if self.advice else None,
        }


@dataclass(frozen=True)
class Diagnosis:
    """What is not finite in a program on some inputs, and in its derivative; nothing if all is."""

    name: str
    inputs: tuple[str, ...]
    findings: tuple[Finding, ...]
    directions: tuple[str, ...]

    def as_json(self) -> dict[str, Any]:
        return {
            "program": self.name,
            "inputs": list(self.inputs),
            "findings": [finding.as_json() for finding in self.findings],
        }

    def describe(self) -> str:
        """The diagnosis as text."""
        lines = [f"@{self.name} at", *(f"  {text}" for text in self.inputs)]
        said: set[Advice | None] = {None}
        for direction in self.directions:
            found = [f for f in self.findings if f.direction == direction]
            for finding in found:
                lines += ["", *_finding_lines(finding, finding.advice not in said)]
                said.add(finding.advice)
            if not found:
                lines += ["", f"{direction}: finite"]
        return "\n".join(lines)


# -- finding ---------------------------------------------------------------------------------------


def diagnose_numbers(
    graph: Graph, arrays: Sequence[Any], active: Sequence[bool] | None = None, backward: bool = True
) -> Diagnosis:
    """Evaluate a graph, then its pull-back of cotangents of ones; what is not finite in either.

    `active` says which inputs are differentiated: all that can be, if not given. Calls are inlined.
    Raises InterpretError for a program that has no NumPy meaning, MissingRule for one without a
    derivative.
    """
    say("running forward")
    flat = inline_graph(graph)
    texts = PrimalTexts([flat])
    values = record(flat, arrays)
    names = atom_texts(flat)
    inputs = tuple(f"{names[v]}: {v.type} {extent(values[v])}" for v in flat.inputs)
    findings = _given(flat, values, texts)
    findings += [] if findings else _not_finite(FORWARD, flat, values, flat.outputs, texts)
    directions: tuple[str, ...] = (FORWARD,)
    if backward and not any(f.what == NAN.name for f in findings):
        findings += _backward(flat, arrays, active, texts, unseen=not findings)
        directions += (BACKWARD,)
    return Diagnosis(graph.name, inputs, tuple(findings), directions)


def _given(graph: Graph, values: dict[Any, Any], texts: PrimalTexts) -> list[Finding]:
    names = atom_texts(graph)
    given = tuple(names[v] for v in graph.inputs if NAN.any(values[v]))
    return [Finding(FORWARD, NAN.name, given, None, texts)] if given else []


def _backward(
    graph: Graph,
    arrays: Sequence[Any],
    active: Sequence[bool] | None,
    texts: PrimalTexts,
    unseen: bool,
) -> list[Finding]:
    flags = active if active is not None else [has_tangent(v.type) for v in graph.inputs]
    say("running backward")
    pullback = vjp_graph(graph, flags)
    n = len(arrays)
    ones: list[Any] = [_ones(v) for v in pullback.inputs[n:]]
    values = record(pullback, [*arrays, *ones])
    cts = pullback.outputs[len(graph.outputs) :]
    differentiated = [v for v, flag in zip(graph.inputs, flags, strict=True) if flag]
    labels = {ct: v for ct, v in zip(cts, differentiated, strict=False) if isinstance(ct, Value)}
    return _not_finite(BACKWARD, pullback, values, cts, texts, labels, n, unseen)


def _ones(v: Value) -> Any:
    return np.ones(v.type.shape, v.type.dtype)


def _not_finite(
    direction: str,
    graph: Graph,
    values: dict[Any, Any],
    outputs: Sequence[Any],
    texts: PrimalTexts,
    labels: dict[Any, Value] | None = None,
    n_primals: int = 0,
    unseen: bool = False,
) -> list[Finding]:
    """A finding about NaN among the outputs; without NaN, about infinity."""
    names = atom_texts(graph)
    for kind in (NAN, INFINITY):
        bad = [x for x in outputs if isinstance(x, Value) and kind.any(values[x])]
        if not bad:
            continue
        shown = tuple(_result(x, (labels or {}).get(x), names) for x in dict.fromkeys(bad))
        source = find_source(graph, values, bad, kind)
        if source is None:
            return [] if kind is INFINITY else [Finding(direction, kind.name, shown, None, texts)]
        path = NO_PATH
        if role_of(source.equation) == BACKWARD:
            path = cotangent_path(source.frames, n_primals)
        advice = advise(Case(source, texts, path, unseen))
        return [Finding(direction, kind.name, shown, source, texts, path, advice)]
    return []


def _result(x: Value, of: Value | None, names: dict[Any, str]) -> str:
    text = f"{names[x]}: {x.type}"
    return f"{text}, the cotangent of {of.name}" if of is not None and of.name else text


# -- words -----------------------------------------------------------------------------------------


def _finding_lines(finding: Finding, advised: bool) -> list[str]:
    results = "; ".join(finding.results)
    if finding.source is None:
        return [f"{finding.direction}: {finding.what} is among the inputs: {results}"]
    lines = [f"{finding.direction}: {finding.what} in {results}"]
    lines += ["", *_source_lines(finding.source, finding.texts)]
    if finding.path.steps:
        lines += ["", "the cotangent came from the result through"]
        rows = [
            (_place(s.location) or "", s.equation.primitive.name, s) for s in finding.path.steps
        ]
        wide, long = (max(len(row[i]) for row in rows) for i in (0, 1))  # type: ignore[arg-type]
        for place, name, step in rows:
            lines.append(f"  {place:{wide}}  {name:{long}}  {step.cotangent}".rstrip())
    if finding.source.cause is not None:
        lines += ["", *_source_lines(finding.source.cause, finding.texts)]
    if finding.advice is not None and advised:
        advice = finding.advice
        lines += ["", f"{advice.pattern}: {advice.claim}", f"remedy: {advice.remedy}"]
    return lines


def _source_lines(source: Source, texts: PrimalTexts) -> list[str]:
    """Where such a number is first made: the line of the source, the primal equation, operands."""
    eqn = source.equation
    place = f" at {eqn.location}" if eqn.location else ""
    lines = [f"{source.what} is first made{place}, in {', '.join(source.path)}"]
    lines += source_excerpt(eqn.location)
    role = role_of(eqn)
    if role != FORWARD:
        lines += [f"  by {_SAID[role]}", f"    {texts[primal_of(eqn)]}", "  which computes"]
    lines += source.lines(located=False)
    if source.others:
        more = "equation makes" if source.others == 1 else "equations make"
        lines.append(f"  ({source.others} more {more} such numbers anew)")
    return lines


def source_excerpt(location: Location | None) -> list[str]:
    """The user's line with a caret below the column, if the file is there to be read."""
    if location is None:
        return []
    try:
        lines = FilePath(location.file).read_text(encoding="utf-8").splitlines()
        line = lines[location.line - 1]
    except (OSError, UnicodeDecodeError, IndexError):
        return []
    head = f"  {location.line} | "
    shown = [f"{head}{line}"]
    if location.column:
        shown.append(" " * (len(head) + location.column - 1) + "^")
    return shown


def _source_as_json(source: Source, texts: PrimalTexts) -> dict[str, Any]:
    eqn: Equation = source.equation
    primal = primal_of(eqn)
    data = source.as_json()
    role = role_of(eqn)
    if source.cause is not None:
        data["cause"] = _source_as_json(source.cause, texts)
    return {
        **data,
        "role": role,
        "primal": texts[primal] if role != FORWARD else None,
        "primal_location": _place(primal.location),
    }


def _place(location: Location | None) -> str | None:
    return str(location) if location is not None else None
