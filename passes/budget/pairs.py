"""Loops of which one runs forwards and stacks what another needs, which runs backwards.

    h, hs = scan { consts, h, x -> h', s }          forward: s is stacked
    ...
    ct = scan[reverse] { consts, ct, s -> ct' }     backward: reads the stack, slice by slice

Such a pair is what reverse mode makes of a loop. In place of the stacks a few of the states can be
kept, from which the others are found again while the second loop runs (`ir.revolve`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ...ir.graph import Equation, Graph, Literal, Value
from ...ir.ops.control import scan, scan_sizes, split_sizes
from ...ir.places import moves
from .flat import flat_graph


@dataclass(frozen=True)
class Pair:
    """private: the stacks of `forward` that nothing but `backward` reads, by their output."""

    forward: Equation
    backward: Equation
    private: frozenset[Value]

    @property
    def length(self) -> int:
        n: int = self.forward.params["length"]
        return n

    @property
    def stacked_bytes(self) -> int:
        return sum(v.type.nbytes for v in self.private)

    @property
    def state_bytes(self) -> int:
        """Of what the first loop carries."""
        _, carry, _ = split_sizes(self.forward.inputs, scan_sizes(self.forward))
        return sum(x.type.nbytes for x in carry)


def pairs_of(graph: Graph) -> list[Pair]:
    """The pairs of a graph without calls, each loop in one of them at most."""
    readers: dict[Any, list[Equation]] = {}
    for eqn in graph.equations:
        for x in dict.fromkeys(eqn.inputs):
            readers.setdefault(x, []).append(eqn)
    outputs = set(graph.outputs)
    taken: set[Equation] = set()
    found = []
    for eqn in graph.equations:
        if eqn.primitive is not scan or eqn in taken or not _may_run_again(eqn):
            continue
        by_reader: dict[Equation, set[Value]] = {}
        for v in _free_stacks(eqn):
            reader = readers.get(v, [])
            if v not in outputs and len(reader) == 1 and _reads_slices(reader[0], v, eqn):
                by_reader.setdefault(reader[0], set()).add(v)
        pairs = [Pair(eqn, r, frozenset(vs)) for r, vs in by_reader.items() if r not in taken]
        if pairs:
            best = max(pairs, key=lambda pair: pair.stacked_bytes)
            taken.update((best.forward, best.backward))
            found.append(best)
    return found


def _may_run_again(eqn: Equation) -> bool:
    return eqn.params["length"] > 2 and not eqn.effects and not moves(eqn.params["graph"])


def _free_stacks(eqn: Equation) -> list[Value]:
    """The stacks but for those of values that a policy of the user's saves."""
    body = flat_graph(eqn.params["graph"])
    n_carry = scan_sizes(eqn)[1]
    pairs = zip(body.graph.outputs[n_carry:], eqn.outputs[n_carry:], strict=True)
    return [y for x, y in pairs if isinstance(x, Literal) or x not in body.kept]


def _reads_slices(reader: Equation, stack: Value, loop: Equation) -> bool:
    """Whether a loop over as many slices, from the last to the first, reads a stack so."""
    if reader.primitive is not scan or reader.params["length"] != loop.params["length"]:
        return False
    if reader.params["reverse"] is loop.params["reverse"]:
        return False
    consts, carry, _ = split_sizes(reader.inputs, scan_sizes(reader))
    return stack not in consts and stack not in carry
