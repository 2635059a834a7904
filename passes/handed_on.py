"""What a loop stacks for later loops: which values those need, and what they cost.

A value of the loop's body may be had without a stack of its own: where the later loop can read it
itself (constants, slices), where it is cheap to compute from others, and where it is the state
after a step, which is the state before the next one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from ..ir import fusion
from ..ir.graph import Atom, Equation, Graph, Literal, Value
from ..ir.ops.control import scan, scan_sizes, split_sizes
from .budget.flat import flat_graph
from .min_cut import cheapest_cut


@dataclass(frozen=True)
class Neighbour:
    """A value of one iteration that is another value of the next or the last one.

    row: the offset of that iteration's slice. edge: the position that has none, and there the
    value is `at_edge`, a value outside of the loop.
    """

    of: Value
    row: int
    edge: int
    at_edge: Atom


@dataclass
class Handed:
    """The stacks of one loop that later loops alone read, and what to hand on in their place.

    wanted: the value of the body behind each such stack. outside: where a later loop finds a value
    of the body by itself (a const, or a stack that exists). saved: the values to hand on. fused:
    whether functions of an element may be computed again too. kept: what a policy saves.
    """

    loop: Equation
    body: Graph
    wanted: dict[Value, Atom]
    outside: dict[Value, tuple[str, Atom]] = field(default_factory=dict)
    neighbours: dict[Value, Neighbour] = field(default_factory=dict)
    fused: bool = False
    kept: frozenset[Value] = frozenset()

    @staticmethod
    def of(
        loop: Equation, private: Sequence[bool], given: set[Any], fused: bool = False
    ) -> Handed | None:
        """What a loop hands on; `private[k]`: whether only later loops slice its k-th stack."""
        flat = flat_graph(loop.params["graph"])
        body = flat.graph
        n_carry = scan_sizes(loop)[1]
        inner, outer = body.outputs[n_carry:], loop.outputs[n_carry:]
        wanted: dict[Value, Atom] = {
            y: x for x, y, p in zip(inner, outer, private, strict=True)
            if p and not isinstance(x, Literal)
        }  # fmt: skip
        if not wanted or loop.params["length"] < 2:
            return None
        found = Handed(loop, body, wanted, fused=fused, kept=flat.kept)
        found._find_outside(given, list(zip(inner, outer, private, strict=True)))
        found._find_neighbours()
        return found

    def _find_outside(self, given: set[Any], stacks: list[tuple[Atom, Value, bool]]) -> None:
        """Captures and slices of what is there anyway."""
        sizes = scan_sizes(self.loop)
        inner = split_sizes(self.body.inputs, sizes)
        outer = split_sizes(self.loop.inputs, sizes)
        for v, x in zip(inner[0], outer[0], strict=True):
            self.outside[v] = ("const", x)
        for v, x, out in zip(inner[1], outer[1], self.body.outputs, strict=False):
            if v is out and isinstance(v, Value):  # the same in every iteration
                self.outside[v] = ("const", x)
        for v, x in zip(inner[2], outer[2], strict=True):
            if x in given:
                self.outside[v] = ("xs", x)
        for inner_value, y, is_private in stacks:
            if not is_private and y in given and isinstance(inner_value, Value):
                self.outside.setdefault(inner_value, ("xs", y))

    def _find_neighbours(self) -> None:
        n_consts, n_carry = scan_sizes(self.loop)
        length, reverse = self.loop.params["length"], self.loop.params["reverse"]
        step, last = (-1, 0) if reverse else (1, length - 1)
        inputs = set(self.body.inputs)
        before = self.body.inputs[n_consts : n_consts + n_carry]
        for j, (v, out) in enumerate(zip(before, self.body.outputs, strict=False)):
            if not isinstance(out, Value) or out in inputs or v in self.outside:
                continue
            if out in self.outside:
                start = self.loop.inputs[n_consts + j]
                self.neighbours[v] = Neighbour(out, -step, length - 1 - last, start)
            elif out not in self.neighbours:
                self.neighbours[out] = Neighbour(v, step, last, self.loop.outputs[j])

    @cached_property
    def makers(self) -> dict[Atom, Equation]:
        return {v: eqn for eqn in self.body.equations for v in eqn.outputs}

    @cached_property
    def saved(self) -> list[Value]:
        """The values that cost the least and that all that is wanted can be had from."""
        values = [*self.body.inputs, *(v for e in self.body.equations for v in e.outputs)]
        number = {v: k for k, v in enumerate(values)}
        cut = cheapest_cut(
            [self.cost(v) for v in values],
            [None if (r := self.reads(v)) is None else [number[x] for x in r] for v in values],
            [number[v] for v in dict.fromkeys(self.wanted.values())],  # type: ignore[index]
        )
        return [values[k] for k in cut]

    def cost(self, v: Value) -> int:
        """Bytes of an iteration's slice of a stack."""
        return 0 if v in self.outside else v.type.nbytes

    def reads(self, v: Value) -> list[Value] | None:
        """What a value can be computed from cheaply; None for what can't."""
        if v in self.outside:
            return None
        if v in self.neighbours:
            return [self.neighbours[v].of]
        maker = self.makers.get(v)
        if maker is None or not is_cheap(maker, self.fused) or (self.fused and v in self.kept):
            return None
        return [x for x in maker.inputs if isinstance(x, Value)]

    def pays(self, least: int) -> bool:
        """Whether a tenth of the bytes is saved, and at least so many an iteration."""
        now = {x: self.cost(x) for x in self.wanted.values() if isinstance(x, Value)}
        before, after = sum(now.values()), sum(map(self.cost, self.saved))
        return after <= 0.9 * before and before - after >= max(least, 1)


def is_cheap(eqn: Equation, fused: bool = False) -> bool:
    """Whether a compiler computes an equation within its readers, for less than a stack takes; or,
    with `fused`, whether it does so at all."""
    if eqn.primitive.has_regions or eqn.effects:
        return False
    if fusion.is_view(eqn):
        return True
    if not fusion.is_fusible(eqn):
        return False
    return fused or not fusion.is_expensive(eqn) or eqn.primitive.name == "div"


def is_scan(eqn: Equation) -> bool:
    return eqn.primitive is scan
