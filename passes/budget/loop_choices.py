"""How many states the loops of a program keep: a path from all stacks to very few states.

Each pair of loops (`pairs`) has choices that need less memory for more computing: its stacks; the
state before each step; so many states as let no step be taken more than twice, three times, ...
(the corners of Revolve's cost, which is linear between them). Over all pairs these are walked in
the order of what a byte costs, so that the choices on the way are the best for their memory.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from ...ir.costs import graph_cost
from ...ir.graph import Graph
from ...ir.revolve import advances, first_positions, repeats
from .pairs import Pair, pairs_of

MOST_REPEATS: Final = 10
"""A plan takes no step of a loop more often."""


@dataclass(frozen=True)
class Choice:
    """snapshots: the states that pairs keep; those that are not named keep their stacks. fused:
    whether functions of single elements are computed again rather than stacked."""

    snapshots: Mapping[Pair, int] = field(default_factory=dict)
    fused: bool = False

    def keeping(self, pair: Pair, snapshots: int) -> Choice:
        """The same, with this number of states for a pair."""
        return Choice({**self.snapshots, pair: snapshots}, self.fused)


@dataclass(frozen=True)
class _Corner:
    snapshots: int
    bytes: float
    cost: float


def path_of(graph: Graph) -> list[Choice]:
    """Choices from no pair to all pairs at their fewest states."""
    moves: list[tuple[float, int, Pair, int]] = []
    for number, pair in enumerate(pairs_of(graph)):
        here = _Corner(0, float(pair.stacked_bytes), 0.0)
        for corner in _hull(here, _corners(pair)):
            price = (corner.cost - here.cost) / max(here.bytes - corner.bytes, 1.0)
            moves.append((price, number, pair, corner.snapshots))
            here = corner
    path = [Choice()]
    if moves:
        path.append(Choice(fused=True))
    for _, _, pair, snapshots in sorted(moves, key=lambda move: move[:2]):
        path.append(path[-1].keeping(pair, snapshots))
    return path


def _corners(pair: Pair) -> list[_Corner]:
    n, state = pair.length, pair.state_bytes
    cost = graph_cost(pair.forward.params["graph"])
    each = cost.flops / 2 + cost.bytes / 2 + 1.0
    return [
        _Corner(s, float(s * state), each * (n + _again(n, s)))
        for s in (n, *(_fewest(n, r) for r in range(2, MOST_REPEATS + 1)))
    ]


def _again(length: int, snapshots: int) -> int:
    """Steps taken again, beside one in each reversed step."""
    if snapshots >= length:
        return 0
    return advances(length, snapshots) - first_positions(length, snapshots)[-1]


def _fewest(length: int, most: int) -> int:
    """The fewest states with which no step is taken more than `most` times."""
    low, high = 1, length
    while low < high:
        middle = (low + high) // 2
        if repeats(length, middle) <= most:
            high = middle
        else:
            low = middle + 1
    return low


def _hull(start: _Corner, corners: Sequence[_Corner]) -> list[_Corner]:
    """Corners of less and less memory, none dearer than a mixture of its neighbours."""
    kept = [start]
    for corner in corners:
        if corner.bytes >= kept[-1].bytes:
            continue
        while len(kept) > 1 and _price(kept[-2], kept[-1]) >= _price(kept[-1], corner):
            kept.pop()
        kept.append(corner)
    return kept[1:]


def _price(a: _Corner, b: _Corner) -> float:
    return (b.cost - a.cost) / max(a.bytes - b.bytes, 1.0)
