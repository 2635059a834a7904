"""Which results of a program a compiler stores, and which it computes where they are read.

Decided from the last equation to the first, since it depends on the readers. What several equations
read is computed in each of them only if that is cheap, and either reads no more memory than the
result would take or can be done in all of them, along all paths: XLA's instruction fusion refuses
to fuse x into z = x + f(x) where f(x) is stored.
"""

from __future__ import annotations

from typing import Final

from . import fusion
from .graph import Atom, Equation, Graph, Literal, Value

_FAR: Final = 400
"""Equations looked at to find out whether one depends on another; beyond, it is taken to."""


def stored_equations(graph: Graph) -> set[Equation]:
    """The equations whose outputs are stored; those that pass their operands on among them."""
    return _Storage(graph).decide()


class _Storage:
    """readers: the equations that read a value, directly or through views. needed: values that must
    be there as arrays. repeated: values of which an element is read many times."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.is_output = {x for x in graph.outputs if not isinstance(x, Literal)}
        self.needed: set[Atom] = set(self.is_output)
        self.readers: dict[Atom, list[Equation]] = {}
        self.repeated: set[Atom] = set()
        self.stored: set[Equation] = set()
        self.makers: dict[Atom, Equation] = {v: e for e in graph.equations for v in e.outputs}
        self.position = {e: i for i, e in enumerate(graph.equations)}

    def decide(self) -> set[Equation]:
        for eqn in reversed(self.graph.equations):
            if fusion.passes_on(eqn):
                self.stored.add(eqn)
                self.needed.update(eqn.inputs)
            elif fusion.is_view(eqn):
                self._pass_demand(eqn)
            else:
                if self._must_store(eqn):
                    self.stored.add(eqn)
                    if not fusion.fuses_operands(eqn):
                        self.needed.update(eqn.inputs)
                self._count(eqn)
        return self.stored

    def _pass_demand(self, eqn: Equation) -> None:
        x, y = eqn.inputs[0], eqn.outputs[0]
        self.readers.setdefault(x, []).extend(self.readers.get(y, ()))
        if y in self.needed:
            self.needed.add(x)
        if y in self.repeated:
            self.repeated.add(x)

    def _count(self, eqn: Equation) -> None:
        for x in dict.fromkeys(eqn.inputs):
            self.readers.setdefault(x, []).append(eqn)
        if fusion.repeats_operand(eqn):
            self.repeated.update(eqn.inputs)

    def _must_store(self, eqn: Equation) -> bool:
        if not fusion.is_fusible(eqn):
            return True
        if not eqn.inputs or all(isinstance(x, Literal) for x in eqn.inputs):
            return any(v in self.is_output for v in eqn.outputs)
        if not self.needed.isdisjoint(eqn.outputs):
            return True
        several = any(len(self.readers.get(v, ())) > 1 for v in eqn.outputs)
        if fusion.is_expensive(eqn):
            return several or any(v in self.repeated for v in eqn.outputs)
        return several and fusion.gathers(eqn) and self._is_read_across(eqn)

    # -- paths -------------------------------------------------------------------------------------

    def _is_read_across(self, eqn: Equation) -> bool:
        """Whether a reader also reads something stored that was made from the result."""
        first = self.position[eqn]
        for v in eqn.outputs:
            for reader in self.readers[v]:
                if any(self._depends(s, v, first) for s in self._stored_below(reader, first)):
                    return True
        return False

    def _stored_below(self, reader: Equation, first: int) -> list[Equation]:
        """What is stored of the later operands of an equation and of what is fused into it."""
        found: list[Equation] = []
        seen: set[Atom] = set()
        stack = list(reader.inputs)
        while stack and len(seen) < _FAR:
            x = stack.pop()
            maker = self.makers.get(x)
            if maker is None or x in seen or self.position[maker] <= first:
                continue
            seen.add(x)
            if maker in self.stored:
                found.append(maker)
            else:
                stack.extend(maker.inputs)
        return found

    def _depends(self, eqn: Equation, v: Value, first: int) -> bool:
        """Whether an equation was made from a value."""
        seen: set[Equation] = set()
        stack = [eqn]
        while stack:
            made = stack.pop()
            for x in made.inputs:
                if x is v:
                    return True
                maker = self.makers.get(x)
                if maker is not None and maker not in seen and self.position[maker] > first:
                    seen.add(maker)
                    stack.append(maker)
            if len(seen) > _FAR:
                return True
        return False
