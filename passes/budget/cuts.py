"""Which buffers of a program are cheapest not to hold at its peak: closures at prices of memory.

At the peak of a program some buffers are held that later steps read. Each is kept, or computed
again from others that are kept. At a price for a kept byte, the least of

    sum of the costs of the steps that run again + price * bytes that are kept

subject to "a step that runs again needs its operands" is a closure of least weight, and so a
minimum cut (J.-C. Picard, Maximal closure of a graph, 1976). Elementwise functions and
normalisations go first, products later, as the price grows; what is given up at one price stays so
at higher ones.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from ...ir.graph import memoised
from ...ir.liveness import held_at, usage
from ...ir.steps import Steps

PRICES: Final = tuple(float(p) for p in np.geomspace(0.01, 32, 15))
"""Prices of all bytes of the peak, in units of the cost of all steps before it."""

LARGE: Final = 20_000
"""Programs of more steps are cut at every third price."""

MOST: Final = 2**30
"""Of the sum of all capacities, which scipy counts in 32 bits."""

EXACT: Final = 1 - 1e-6
"""Capacities are rounded; so much of a bound is certain."""

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Preference:
    """place: the step of the peak. level: by buffer, the number of the lowest price at which it is
    not kept there. at_once: up to this level buffers are let go as soon as nothing before the peak
    reads them."""

    place: int
    level: Array
    at_once: int

    def first(self, free: Array, next_read: Array) -> Array:
        """Those of some buffers that go before the others."""
        level = np.where(next_read[free] > self.place, self.level[free], len(PRICES))
        chosen: Array = free[level == level.min()]
        return chosen


@dataclass(frozen=True)
class Cuts:
    """The cuts of a program. kept, again: by price, the bytes kept at the peak, and the cost of the
    steps that run again."""

    place: int
    prices: Array
    level: Array
    kept: Array
    again: Array

    def preference(self, budget: int) -> Preference:
        """What goes first, and what cannot be kept in any case goes at once."""
        level = int(np.count_nonzero(self.kept >= budget)) - 1
        return Preference(self.place, self.level, level)

    def least_again(self, budget: int) -> float:
        """What runs again costs at least so much, in any order that fits: the dual of the cut."""
        dual = self.again + self.prices * (self.kept - budget)
        return max(float(dual.max()) * EXACT, 0.0)


def cuts_of(program: Steps, kept: frozenset[int]) -> Cuts:
    """The cuts of a program at its peak, found once. kept: buffers that are not to be let go."""
    found: Cuts = memoised(program.graph, ("cuts", kept), lambda: _cuts(program, kept))
    return found


def _cuts(program: Steps, kept: frozenset[int]) -> Cuts:
    order = range(len(program.steps))
    live = usage(program, order).live
    closures = _Closures(program, kept, max(order, key=live.__getitem__, default=0))
    prices = PRICES if len(order) <= LARGE else PRICES[::3]
    level = np.full(len(program.sizes), len(PRICES))
    found = []
    for number, price in reversed([*enumerate(prices)]):
        closure = closures.at(price)
        level[closure.given_up] = number
        found.append((closure.price, closure.kept, closure.again))
    columns = np.array(found[::-1]).T
    return Cuts(closures.place, columns[0], level, columns[1], columns[2])


@dataclass(frozen=True)
class _Closure:
    """price: of a byte. given_up: the buffers wanted after the peak that are not kept there."""

    price: float
    given_up: list[int]
    kept: float
    again: float


class _Closures:
    """The network of a program. Nodes: source, sink, "b is there" for each buffer, "s runs again"
    for each step up to the place. What is on the source's side of a cut is chosen."""

    def __init__(self, program: Steps, kept: frozenset[int], place: int) -> None:
        self.program, self.place = program, place
        steps, n = program.steps, len(program.sizes)
        fixed = kept | {b for b in range(n) if steps[program.maker[b]].once}
        held = held_at(program, range(len(steps)), place)
        later = {b for step in steps[place + 1 :] for b in step.reads}
        self.wanted = [b for b in held if b in later and program.sizes[b]]
        self.again = [
            i
            for i, step in enumerate(steps[: place + 1])
            if step.writes and fixed.isdisjoint(step.writes)
        ]
        self.node = {i: 2 + n + k for k, i in enumerate(self.again)}
        self.count = 2 + n + len(self.again)
        self.scale = float(sum(step.cost for step in steps[: place + 1])) or 1.0
        self.peak = float(sum(program.sizes[b] for b in held)) or 1.0
        self.size = np.array(program.sizes, dtype=float)
        self.cost = np.array([steps[i].cost for i in self.again])
        self.made = np.array([sum(program.sizes[b] for b in steps[i].writes) for i in self.again])
        self._needs()

    def _needs(self) -> None:
        """The edges from each choice to those that it forces."""
        edges: list[tuple[int, int]] = [(0, 2 + b) for b in self.wanted]
        for i in self.again:
            step = self.program.steps[i]
            edges += [(self.node[i], 2 + b) for b in dict.fromkeys((*step.reads, *step.writes))]
        self.edges = np.array(edges, dtype=np.int64).reshape(-1, 2)

    def at(self, price: float) -> _Closure:
        """The cheapest choice at a price."""
        of_byte = price * self.scale / self.peak
        n = len(self.size)
        gain = np.zeros(self.count)
        gain[2 : 2 + n] = -of_byte * self.size
        gain[2 + n :] = of_byte * self.made - self.cost
        chosen = self._closed(gain)
        is_there, runs = chosen[2 : 2 + n], chosen[2 + n :]
        made_again = np.zeros(n, dtype=bool)
        for i, is_chosen in zip(self.again, runs, strict=True):
            if is_chosen:
                made_again[list(self.program.steps[i].writes)] = True
        kept = float(self.size[is_there & ~made_again].sum())
        given_up = [b for b in self.wanted if made_again[b]]
        return _Closure(of_byte, given_up, kept, float(self.cost[runs].sum()))

    def _closed(self, gain: Array) -> Array:
        """The nodes of the closure of the greatest gain."""
        from scipy import sparse
        from scipy.sparse.csgraph import breadth_first_order, maximum_flow

        units = MOST / (4 * max(float(np.abs(gain).sum()), 1e-300))
        whole = (gain * units).astype(np.int32)
        plus, minus = np.flatnonzero(whole > 0), np.flatnonzero(whole < 0)
        start = np.concatenate([self.edges[:, 0], np.zeros_like(plus), minus])
        end = np.concatenate([self.edges[:, 1], plus, np.ones_like(minus)])
        without_limit = np.full(len(self.edges), MOST, dtype=np.int32)
        room = np.concatenate([without_limit, whole[plus], -whole[minus]])
        shape = (self.count, self.count)
        network = sparse.csr_matrix((room, (start, end)), shape=shape, dtype=np.int32)
        left = network - maximum_flow(network, 0, 1).flow
        left.data = np.maximum(left.data, 0)
        left.eliminate_zeros()
        chosen = np.zeros(self.count, dtype=bool)
        chosen[breadth_first_order(left, 0, return_predecessors=False)] = True
        return chosen
