"""From an order of steps back to a program: what runs again is written again, behind a barrier.

A run of steps that are computed again reads everything through one optimization barrier, which also
holds what was computed since the last one and is still needed. So no compiler can merge the second
computation with the first, start it early, or leave for later what should be done by then. A second
barrier behind the run holds what it made, and what waits to be used with it: nothing that is to
follow can start before.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from itertools import accumulate
from typing import Any, Final

from ...ir.graph import Atom, Equation, Graph, Literal, Value
from ...ir.liveness import last_uses
from ...ir.ops.shape import optimization_barrier
from ...ir.steps import Step, Steps


def rewritten(program: Steps, order: Sequence[int], fenced: Collection[int] = ()) -> Graph:
    """The program that runs the steps in this order.

    fenced: the places of the order that nothing may be moved across, up or down.
    """
    return _Writer(program, order, fenced).write()


_EARLY: Final = frozenset({"random_bits", "scan", "while"})
"""Loops, which XLA's CPU backend runs as soon as their operands are there."""


def _latest(order: Sequence[int]) -> list[int]:
    """Of each place of an order, the latest step of the program that ran before: a step that does
    not follow it is computed again, or was put off."""
    return list(accumulate(order, max, initial=-1))


class _Writer:
    """Writes the steps one after another.

    env: the value that now stands for one of the program. passed: by a value behind a barrier of
    the program's own, what was in front of it. stored: what stands alone in front of one.
    """

    def __init__(self, program: Steps, order: Sequence[int], fenced: Collection[int]) -> None:
        self.program, self.order, self.fenced = program, order, fenced
        self.ends = last_uses(program, order)
        self.equations: list[Equation] = []
        self.env: dict[Any, Any] = {}
        self.made: dict[Equation, dict[Any, tuple[Value, ...]]] = {}
        self.kept: set[Equation] = set()
        self.graph_outputs = set(program.graph.outputs)
        self.makers: dict[Atom, Equation] = {
            v: e for e in program.graph.equations for v in e.outputs
        }
        self.passed: dict[Any, tuple[Atom, Any]] = {}
        self.stored = {
            x
            for e in program.graph.equations
            if e.primitive is optimization_barrier and len(e.inputs) == 1
            for x in e.inputs
        }
        self.fresh: dict[Value, None] = {}
        self.live: set[int] = set()
        self.latest: Value | None = None
        self.large = max(program.sizes, default=0) // 64

    def write(self) -> Graph:
        k = 0
        latest = _latest(self.order)
        while k < len(self.order):
            again = k
            while again < len(self.order) and self.order[again] < latest[again]:
                again += 1
            if again > k:
                self._write_again(k, again)
                k = again
            else:
                self._write_step(k)
                k += 1
        graph = self.program.graph
        for x in graph.outputs:
            self._write_views(x)
        outputs = [self._atom(x) for x in graph.outputs]
        return Graph(graph.inputs, self.equations, outputs, graph.name, graph.linear_from)

    def _write_views(self, x: Atom) -> None:
        """Write an output that no step reads: a view of what a step stores or was captured."""
        unwritten: list[Equation] = []
        maker = self.makers.get(x)
        while maker is not None and maker not in self.made:
            unwritten.append(maker)
            maker = self.makers.get(maker.inputs[0]) if maker.inputs else None
        for eqn in reversed(unwritten):
            self._place(eqn)

    def _write_step(self, k: int) -> None:
        index = self.order[k]
        step = self.program.steps[index]
        if k in self.fenced:
            self._fence(step)
        tied = self._tie(step)
        for eqn in step.equations:
            self._place(eqn)
        self.env.update(tied)
        self._note(step)
        for v in step.main.outputs:
            if v in self.graph_outputs:
                self.fresh.setdefault(v)
        if step.main.primitive is optimization_barrier:
            for x, y in zip(step.main.inputs, step.main.outputs, strict=True):
                self.passed[y] = (x, self._atom(x))
        for b in step.writes:
            self.live.add(b)
            self.fresh.setdefault(self.program.values[b])
        self._close(k)

    def _fence(self, step: Step) -> None:
        """A barrier between all that ran and a step, which reads through it."""
        read = [v for v in self._read_from_outside([step]) if not self._is_given(v)]
        values = list(dict.fromkeys((*self.fresh, *read)))
        if self.fresh and read:
            self._barrier(values, [self._atom(v) for v in values], step.main)
            self.fresh.clear()

    def _note(self, step: Step) -> None:
        for b in step.writes:
            if self.program.values[b].type.nbytes >= self.large:
                self.latest = self.program.values[b]

    def _tie(self, step: Step) -> dict[Any, Any]:
        """Let a step that compilers run as early as they can wait for the one before it.

        What stood for the operands, to be restored once the step is written.
        """
        latest = self.latest
        if latest is None or step.main.primitive.name not in _EARLY:
            return {}
        read = self._read_from_outside([step])
        if latest in read:
            return {}
        tied = (next(iter(read)), latest) if read else ()
        before = {v: self._atom(v) for v in tied}
        if tied:
            self._barrier(tied, list(before.values()), step.main)
        return before

    def _close(self, k: int) -> None:
        for b in self.ends[k]:
            self.live.discard(b)
            value = self.program.values[b]
            if value not in self.graph_outputs:
                self.fresh.pop(value, None)

    # -- runs of steps that are computed again -----------------------------------------------------

    def _write_again(self, start: int, end: int) -> None:
        steps = [self.program.steps[i] for i in self.order[start:end]]
        read = self._read_from_outside(steps)
        held = [v for v in self.fresh if v not in read]
        kept_env = {v: self.env.get(v) for v in read if self._is_given(v)}
        operands = [self._atom(v) for v in (*read, *held)]
        self._barrier((*read, *held), operands, steps[0].main)
        self.fresh.clear()
        self.fresh.update(dict.fromkeys(v for v in held if v not in self.graph_outputs))
        for k in range(start, end):
            step = self.program.steps[self.order[k]]
            self.made.pop(step.main, None)
            tied = self._tie(step) if k > start else {}
            for eqn in step.equations:
                self._place(eqn, again=eqn is step.main)
            self.env.update(tied)
            self._store(step)
            self._note(step)
            for b in step.writes:
                self.live.add(b)
                self.fresh.setdefault(self.program.values[b])
            self._close(k)
        waiting = [v for v in self.fresh if v in self.env]
        self._barrier(waiting, [self._atom(v) for v in waiting], steps[-1].main)
        self.fresh.clear()
        for v, old in kept_env.items():  # inputs of the program need no barrier outside the run
            if old is None:
                del self.env[v]
            else:
                self.env[v] = old

    def _store(self, step: Step) -> None:
        """What the program stores by a barrier of its own is stored again."""
        values = [v for v in step.main.outputs if v in self.stored]
        self._barrier(values, [self._atom(v) for v in values], step.main)

    def _is_given(self, v: Value) -> bool:
        return v not in self.makers

    def _read_from_outside(self, steps: Sequence[Any]) -> dict[Any, None]:
        """The values that a run of steps reads and does not make."""
        made: set[Any] = set()
        read: dict[Any, None] = {}
        for step in steps:
            for eqn in step.equations:
                for x in eqn.inputs:
                    source = self.passed[x][0] if x in self.passed else x
                    if x not in made and source not in made and not isinstance(x, Literal):
                        read.setdefault(x)
                made.update(eqn.outputs)
        return read

    def _barrier(self, values: Sequence[Any], operands: Sequence[Any], like: Equation) -> None:
        unique = list(dict.fromkeys(x for x in operands if not isinstance(x, Literal)))
        if not unique:
            return
        behind = [Value(x.type, x.name) for x in unique]
        self.equations.append(
            Equation(optimization_barrier, tuple(unique), tuple(behind), {}, like.location)
        )
        new = dict(zip(unique, behind, strict=True))
        for v, x in zip(values, operands, strict=True):
            if v in self.passed:
                self.passed[v] = (self.passed[v][0], self._atom(self.passed[v][0]))
            self.env[v] = new.get(x, x)

    # -- equations --------------------------------------------------------------------------------

    def _place(self, eqn: Equation, again: bool = False) -> None:
        """Write an equation as its operands now are; or let an equal earlier one stand for it."""
        inputs = tuple([self._atom(x) for x in eqn.inputs])
        made = self.made.setdefault(eqn, {})
        outputs = made.get(inputs)
        if outputs is None:
            if not again and inputs == eqn.inputs and eqn not in self.kept:
                self.equations.append(eqn)
                outputs = eqn.outputs
                self.kept.add(eqn)
            else:
                outputs = tuple([Value(v.type, v.name) for v in eqn.outputs])
                self.equations.append(eqn.replace(inputs=inputs, outputs=outputs))
            made[inputs] = outputs
        for old, new in zip(eqn.outputs, outputs, strict=True):
            self.env[old] = new

    def _atom(self, x: Any) -> Any:
        if x in self.passed:  # behind a barrier of the program's own, unless computed again since
            source, then = self.passed[x]
            now = self._atom(source)
            return self.env.get(x, x) if now is then else now
        return self.env.get(x, x)
