"""From an equation of a derivative program back to the primal one, and how its cotangent came."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from ..ir.graph import Equation, Graph, Location, Value, walk_graphs
from ..ir.origins import BACKWARD, primal_of, role_of
from ..ir.printer import atom_texts, equation_line
from .nonfinite import Frame, extent, value_of


class PrimalTexts:
    """The equations of a program as text, with the names that they have there."""

    def __init__(self, graphs: Iterable[Graph]) -> None:
        self.texts: dict[Equation, str] = {}
        self.readers: dict[Any, list[Equation]] = {}
        for graph in walk_graphs(*graphs):
            names = atom_texts(graph)
            for eqn in graph.equations:
                self.texts[eqn] = equation_line(eqn, names)
                for x in eqn.inputs:
                    self.readers.setdefault(x, []).append(eqn)

    def __getitem__(self, eqn: Equation) -> str:
        return self.texts.get(eqn) or repr(eqn)


@dataclass(frozen=True)
class Step:
    """A primal equation that a cotangent passed through, and the cotangent of its output there."""

    equation: Equation
    cotangent: str

    @property
    def location(self) -> Location | None:
        return self.equation.location


@dataclass(frozen=True)
class Path:
    """The way of a cotangent from the result to an equation, and what arrived there."""

    steps: tuple[Step, ...] = ()
    arrived: Any = None


NO_PATH: Final = Path()


def cotangent_path(frames: Sequence[Frame], n_primals: int) -> Path:
    """The way of the cotangent to the last frame's equation.

    The outermost graph takes `n_primals` primal inputs, then cotangents.
    """
    found: list[Step] = []
    arrived = None
    given = set(frames[0].graph.inputs[n_primals:])
    for i, frame in enumerate(frames):
        steps, arrived = _within(frame, given)
        found += steps
        if i + 1 < len(frames):
            given = _given_inside(frame, frames[i + 1].graph, given)
    return Path(tuple(_merged(found)), arrived)


def _within(frame: Frame, given: set[Value]) -> tuple[list[Step], Any]:
    """The steps in one graph, and the cotangent that the frame's equation reads."""
    made = {v: eqn for eqn in frame.graph.equations for v in eqn.outputs}
    steps: list[Step] = []
    arrived: Any = None
    eqn: Equation | None = frame.equation
    while eqn is not None and role_of(eqn) == BACKWARD:
        ct = _cotangent(eqn, made, given)
        array = value_of(frame.values, ct) if ct is not None else None
        if not steps:
            arrived = array
        steps.append(Step(primal_of(eqn), extent(array) if array is not None else ""))
        eqn = made.get(ct) if ct is not None else None
    return steps[::-1], arrived


def _cotangent(eqn: Equation, made: dict[Any, Equation], given: set[Value]) -> Any:
    """The operand that is a cotangent, the first if there are several."""
    for x in eqn.inputs:
        if x in given or (x in made and role_of(made[x]) == BACKWARD):
            return x
    return None


def _given_inside(outer: Frame, region: Graph, given: set[Value]) -> set[Value]:
    """The inputs of a region that are cotangents: those given such, and the carry of a loop."""
    eqn = outer.equation
    made = {v: e for e in outer.graph.equations for v in e.outputs}
    skipped = len(eqn.inputs) - len(region.inputs)
    found = set()
    for x, v in zip(eqn.inputs[skipped:], region.inputs, strict=False):
        if x in given or (x in made and role_of(made[x]) == BACKWARD):
            found.add(v)
    if eqn.primitive.name == "scan" and role_of(eqn) == BACKWARD:
        first = eqn.params["num_consts"]
        found.update(region.inputs[first : first + eqn.params["num_carry"]])
    return found


def _merged(steps: Sequence[Step]) -> list[Step]:
    """One step for each equation that several cotangent equations in a row come from."""
    kept: list[Step] = []
    for step in steps:
        if not kept or kept[-1].equation is not step.equation:
            kept.append(step)
    return kept
