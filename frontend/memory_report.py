"""What a memory plan did, in words: predicted and actual bytes, what is held, what runs again."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from ..ir.graph import Equation
from ..ir.liveness import held_at
from ..ir.sizes import show_size
from ..ir.steps import Steps
from ..passes.budget.plan import MemoryPlan
from ..passes.statistics import as_table

SHOWN: Final = 12

TOLERANCE: Final = 1.05
"""A plan is honoured if the program needs at most so many times the budget."""


@dataclass(frozen=True)
class Held:
    """A value in memory at the peak, or computed again: name, bytes, line, and what makes it."""

    name: str
    type: str
    bytes: int
    line: str
    primitive: str
    times: int = 1


@dataclass(frozen=True)
class KeptStates:
    """A loop of so many steps that keeps this number of its states."""

    line: str
    steps: int
    states: int


@dataclass(frozen=True)
class MemoryReport:
    """A program compiled to a budget, in bytes of temporary memory.

    plan: what was predicted. actual: what XLA says. contractions: in the program without and with
    the plan. compiled_contractions: in what XLA made of the latter.
    """

    budget: int | None
    plan: MemoryPlan
    actual: int
    contractions: tuple[int, int]
    compiled_contractions: int

    @property
    def predicted(self) -> int:
        return self.plan.after.peak

    @property
    def honoured(self) -> bool:
        """Whether the compiled program keeps to the budget, within 5 %."""
        return self.budget is None or self.actual <= TOLERANCE * self.budget

    def held_before(self) -> list[Held]:
        """What is live at the peak of the program without the plan, the largest first."""
        program = self.plan.unplanned
        return _held(program, range(len(program.steps)))

    def held(self) -> list[Held]:
        """What is live at the peak of the program with the plan, the largest first."""
        return _held(self.plan.program, self.plan.order)

    def recomputed(self) -> list[Held]:
        """What is computed again, and how many times."""
        return [
            _describe(eqn, sum(v.type.nbytes for v in eqn.outputs), n)
            for eqn, n in self.plan.again()
        ]

    def loops(self) -> list[KeptStates]:
        """The loops that keep states in place of what their backward loops read."""
        choice = self.plan.loops
        pairs = choice.snapshots.items() if choice else ()
        return [KeptStates(_line(pair.forward), pair.length, n) for pair, n in pairs]

    def __str__(self) -> str:
        return "\n".join(self._lines())

    def _lines(self) -> Iterator[str]:
        plan, (without, with_plan) = self.plan, self.contractions
        if self.budget is None:
            yield f"peak: {show_size(self.predicted)} predicted, {show_size(self.actual)} actual"
        else:
            yield f"budget: {show_size(self.budget)} of temporary memory"
            yield (
                f"peak: {show_size(plan.before.peak)} predicted without a plan, "
                f"{show_size(plan.after.peak)} with it; {show_size(self.actual)} actual"
            )
        error = self.predicted / self.actual - 1 if self.actual else 0.0
        yield f"error of the prediction: {100 * error:+.1f} %"
        if self.budget is not None:
            yield f"cost: {100 * (plan.after.cost / max(plan.before.cost, 1) - 1):.1f} % more"
            yield (
                f"contractions: {without} without a plan, {with_plan} with it; "
                f"{self.compiled_contractions} in the compiled program"
            )
            yield "XLA kept to the budget" if self.honoured else "XLA did NOT keep to the budget"
        for loop in self.loops():
            yield f"{loop.line}: a loop of {loop.steps} steps keeps {loop.states} of its states"
        yield ""
        yield "held at the peak without a plan:"
        yield table(self.held_before())
        if self.recomputed():
            yield ""
            yield "held at the peak with it:"
            yield table(self.held())
            yield ""
            yield "computed again:"
            yield table(sorted(self.recomputed(), key=lambda h: -h.bytes * h.times))


def _held(program: Steps, order: range | tuple[int, ...]) -> list[Held]:
    buffers = held_at(program, order)
    found = [
        _describe(
            program.steps[program.maker[b]].main, program.sizes[b], name=program.values[b].name
        )
        for b in buffers
        if program.sizes[b]
    ]
    return sorted(found, key=lambda h: -h.bytes)


def _describe(eqn: Equation, size: int, times: int = 1, name: str | None = None) -> Held:
    v = eqn.outputs[0]
    return Held(name or v.name or "_", str(v.type), size, _line(eqn), eqn.primitive.name, times)


def _line(eqn: Equation) -> str:
    return str(eqn.location) if eqn.location is not None else "(no line)"


def table(rows: list[Held], shown: int = SHOWN) -> str:
    """Rows of equal lines, types and makers are one, counted."""
    groups: dict[tuple[str, str, str], list[Held]] = {}
    for row in rows:
        groups.setdefault((row.line, row.type, row.primitive), []).append(row)
    lines: list[list[object]] = [["bytes", "values", "type", "made by", "line"]]
    order = sorted(groups.items(), key=lambda g: -sum(r.bytes * r.times for r in g[1]))
    for (line, type_, primitive), members in order[:shown]:
        size = sum(row.bytes * row.times for row in members)
        count = sum(row.times for row in members)
        lines.append([show_size(size), count, type_, primitive, line])
    if len(order) > shown:
        rest = [row for _, members in order[shown:] for row in members]
        size = sum(row.bytes * row.times for row in rest)
        lines.append([show_size(size), sum(row.times for row in rest), "", "", "(others)"])
    return as_table(lines)
