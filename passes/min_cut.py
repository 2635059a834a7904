"""Which values to save so that others can be had from them, at the least cost: a minimum cut.

Each value is a node of a capacity (what saving it costs) between the source of all that cannot be
computed and the sink of all that is wanted; a value's operands lead to it without a limit. The
maximum flow is found along shortest augmenting paths (Dinitz 1970); of the minimum cuts that one is
returned which lies nearest to what is wanted: the least is computed again.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from typing import Final

UNLIMITED: Final = 1 << 62


def cheapest_cut(
    costs: Sequence[int], operands: Sequence[Sequence[int] | None], wanted: Iterable[int]
) -> list[int]:
    """The values to save, of those numbered from 0.

    costs[v]: of saving v. operands[v]: what v can be computed from, None if it can't.
    """
    n = len(costs)
    network = _Network(2 * n + 2)
    source, sink = 2 * n, 2 * n + 1
    for v in range(n):
        network.add(2 * v, 2 * v + 1, costs[v])
        reads = operands[v]
        if reads is None:
            network.add(source, 2 * v, UNLIMITED)
        for x in reads or ():
            network.add(2 * x + 1, 2 * v, UNLIMITED)
    for v in wanted:
        network.add(2 * v + 1, sink, UNLIMITED)
    network.saturate(source, sink)
    beyond = network.reaching(sink)
    return [v for v in range(n) if beyond[2 * v + 1] and not beyond[2 * v]]


class _Network:
    """Edges in pairs: edge e and its reverse e ^ 1; `room[e]` is what may still flow."""

    def __init__(self, n: int) -> None:
        self.edges: list[list[int]] = [[] for _ in range(n)]
        self.target: list[int] = []
        self.room: list[int] = []

    def add(self, a: int, b: int, capacity: int) -> None:
        for start, end, room in ((a, b, capacity), (b, a, 0)):
            self.edges[start].append(len(self.target))
            self.target.append(end)
            self.room.append(room)

    def saturate(self, source: int, sink: int) -> None:
        while True:
            level = self._levels(source)
            if level[sink] < 0:
                return
            place = [0] * len(self.edges)
            while self._augment(source, sink, level, place):
                pass

    def _levels(self, source: int) -> list[int]:
        level = [-1] * len(self.edges)
        level[source] = 0
        queue = deque([source])
        while queue:
            a = queue.popleft()
            for e in self.edges[a]:
                b = self.target[e]
                if self.room[e] and level[b] < 0:
                    level[b] = level[a] + 1
                    queue.append(b)
        return level

    def _augment(self, source: int, sink: int, level: list[int], place: list[int]) -> bool:
        """Push one path's worth of flow along growing levels."""
        path: list[int] = []
        a = source
        while a != sink:
            edges = self.edges[a]
            while place[a] < len(edges):
                e = edges[place[a]]
                if self.room[e] and level[self.target[e]] == level[a] + 1:
                    break
                place[a] += 1
            else:
                if not path:
                    return False
                a = self.target[path.pop() ^ 1]
                place[a] += 1
                continue
            path.append(e)
            a = self.target[e]
        flow = min(self.room[e] for e in path)
        for e in path:
            self.room[e] -= flow
            self.room[e ^ 1] += flow
        return True

    def reaching(self, sink: int) -> list[bool]:
        """Which nodes more could flow from to the sink."""
        found = [False] * len(self.edges)
        found[sink] = True
        stack = [sink]
        while stack:
            b = stack.pop()
            for e in self.edges[b]:
                a = self.target[e]
                if self.room[e ^ 1] and not found[a]:
                    found[a] = True
                    stack.append(a)
        return found
