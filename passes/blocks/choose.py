"""Which repeated stretches of a program become functions, and where each begins.

Greedy: the repeat that saves most equations first; then the rest without those. A stretch that
repeats with its own period may begin anywhere in it: it begins where the fewest bytes cross.
"""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import Any

import numpy as np

from ...ir.graph import Graph
from .fingerprint import Numbers, fingerprints, wiring
from .repeats import apart, intervals, suffix_array


@dataclass(frozen=True)
class Block:
    """Equal stretches: `length` equations from each of `starts` on."""

    length: int
    starts: tuple[int, ...]

    @property
    def saved(self) -> int:
        return max(len(self.starts) - 1, 0) * self.length


def choose_blocks(graph: Graph, shortest: int) -> list[Block]:
    """Blocks that do not overlap, by their first starts."""
    numbers = fingerprints(graph)
    if len(numbers) < 2 * shortest:
        return []
    return sorted(_Chooser(graph, numbers, shortest).run(), key=lambda block: block.starts)


class _Chooser:
    """The state of the search: which equations are taken."""

    def __init__(self, graph: Graph, numbers: Numbers, shortest: int) -> None:
        self.graph, self.equations = graph, graph.equations
        self.numbers, self.shortest = numbers, shortest
        self.order, self.rank = suffix_array(numbers)
        self.starts: list[int] = self.order.tolist()
        self.taken = np.zeros(len(numbers), bool)
        self._note_taken()

    def run(self) -> list[Block]:
        n = len(self.numbers)
        heap: list[tuple[int, int, int, int]] = []
        for length, first, last in intervals(self.numbers, self.order, self.rank, self.shortest):
            copies = last - first + 1
            bound = (copies - 1) * min(length, n // copies + 1)
            heap.append((-bound, length, first, last))
        heapq.heapify(heap)
        chosen: list[Block] = []
        while heap:
            _, length, first, last = heapq.heappop(heap)
            block = None
            for find in (self._free, self._alike):  # the second looks at every operand
                block = find(length, first, last)
                if block is None or block.saved < self.shortest:
                    break
                if heap and block.saved < -heap[0][0]:
                    heapq.heappush(heap, (-block.saved, length, first, last))
                    break
            else:
                assert block is not None
                chosen.append(self._take(self._moved(block)))
        return chosen

    def _take(self, block: Block) -> Block:
        for start in block.starts:
            self.taken[start : start + block.length] = True
        self._note_taken()
        return block

    def _note_taken(self) -> None:
        """Count what is taken before each equation, and the starts of free stretches of the
        shortest length before each rank."""
        taken = np.r_[0, np.cumsum(self.taken)]
        ends = np.minimum(self.order + self.shortest, len(self.numbers))
        is_free = taken[ends] == taken[self.order]
        self.taken_before: list[int] = taken.tolist()
        self.free_before: list[int] = np.r_[0, np.cumsum(is_free)].tolist()

    def _free(self, length: int, first: int, last: int) -> Block | None:
        """The copies of an interval that are free and do not overlap: all of its length or, where
        these would overlap, of the distance between most of them."""
        if self.free_before[last + 1] - self.free_before[first] < 2:
            return None
        starts = sorted(self.starts[first : last + 1])
        gaps = Counter([b - a for a, b in pairwise(starts)])
        lengths = {length}
        if min(gaps) < length:
            lengths.add(min(length, min(gaps, key=lambda gap: (-gaps[gap], gap))))
        best, before = None, self.taken_before
        for n in lengths:
            free = [s for s in starts if before[s + n] == before[s]]
            block = Block(n, tuple(apart(free, n)))
            if n >= self.shortest and (best is None or block.saved > best.saved):
                best = block
        return best

    def _alike(self, length: int, first: int, last: int) -> Block | None:
        """Those among them that are wired as most are."""
        block = self._free(length, first, last)
        if block is None or not block.starts:
            return None
        n = block.length
        kinds = [wiring(self.equations[s : s + n])[0] for s in block.starts]
        kind, _ = Counter(kinds).most_common(1)[0]
        alike = [s for s, k in zip(block.starts, kinds, strict=True) if k == kind]
        return Block(n, tuple(alike))

    # -- borders ---------------------------------------------------------------------------------

    def _moved(self, block: Block) -> Block:
        """The block begun elsewhere in its period, if fewer bytes go from copy to copy there; at
        most one copy is given up for it, of five or more."""
        crossing = short_lived_bytes(self.graph, 2 * block.length)
        middle = block.starts[len(block.starts) // 2]
        best, cost = block, crossing[middle]
        choices = [block.starts]
        if len(block.starts) > 4:
            choices += [block.starts[:-1], block.starts[1:]]
        for starts in choices:
            for shift in self._shifts(starts, block.length):
                moved = tuple([s + shift for s in starts])
                here = crossing[middle + shift]
                if here < cost and self._is_alike(moved, block.length):
                    best, cost = Block(block.length, moved), here
        return best

    def _shifts(self, starts: Sequence[int], length: int) -> range:
        """How far all copies may be moved together and stay equal and free."""
        back = self._extent(starts, length, -1, -1)
        ahead = self._extent(starts, length, length, 1)
        return range(-back, ahead + 1)

    def _extent(self, starts: Sequence[int], length: int, at: int, step: int) -> int:
        n = len(self.numbers)
        for found in range(length):
            places = [s + at + step * found for s in starts]
            if min(places) < 0 or max(places) >= n or any(self.taken[p] for p in places):
                return found
            if len({int(self.numbers[p]) for p in places}) > 1:
                return found
        return length

    def _is_alike(self, starts: Sequence[int], length: int) -> bool:
        return len({wiring(self.equations[s : s + length])[0] for s in starts}) == 1


def short_lived_bytes(graph: Graph, reach: int) -> list[int]:
    """For each place between equations, the bytes made before it and read after it by equations
    within reach of the one that made them. (What is kept for a backward pass goes out of a block
    wherever it begins.)"""
    made: dict[Any, int] = {}
    last: dict[Any, int] = {}
    for i, eqn in enumerate(graph.equations):
        for x in eqn.inputs:
            if i - made.get(x, -reach) < reach:
                last[x] = i
        for v in eqn.outputs:
            made[v] = i
    change = [0] * (len(graph.equations) + 2)
    for v, i in last.items():
        change[made[v] + 1] += v.type.nbytes
        change[i + 1] -= v.type.nbytes
    return list(accumulate(change))
