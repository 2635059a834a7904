"""Plan by eviction: follow the program, and where memory runs out let go of what is cheapest.

The program is walked in its own order with the buffers that are held at each point. Where a step
would not fit, buffers are let go, the one first that is cheap to compute again, large, and not read
for long; a step that reads one that is gone computes it again first, with whatever that takes. The
heuristic is that of dynamic tensor rematerialization (Kirisame et al., ICLR 2021), with the future,
which is known here, in the place of the past. What it cannot see, which buffers of the whole
program are cheapest not to hold at its peak, a cut says (`cuts`): its preferences come before the
heuristic.
"""

from __future__ import annotations

import math
from heapq import heappop, heappush
from typing import Final

import numpy as np

from ...ir.steps import Steps
from .cuts import Preference

NEVER: Final = math.inf

LIMIT: Final = 4.0
"""Orders that cost so many times the program are given up."""


class Evicting:
    """One walk through a program with a budget.

    far: the power to which the distance of the next reader counts. reach: among how many of the
    buffers made from one that is gone its cost is spread; the more, the better a long chain is
    priced, and the more often a shared operand is counted twice. preference: which buffers go
    first, and at once.
    """

    def __init__(
        self,
        program: Steps,
        budget: int,
        kept: frozenset[int] = frozenset(),
        far: float = 1.0,
        reach: int = 12,
        preference: Preference | None = None,
    ) -> None:
        self.preference = preference
        self.program, self.budget, self.far, self.reach = program, budget, far, reach
        n = len(program.sizes)
        self.sizes = program.sizes
        self.weight = np.array(program.sizes, dtype=float)
        self.held = np.zeros(n, dtype=bool)
        self.fixed = np.zeros(n, dtype=int)
        for b in range(n):
            step = program.steps[program.maker[b]]
            self.fixed[b] = step.once or b in kept or not program.sizes[b]
        self.next_read = np.full(n, NEVER)
        self.next_again = np.full(n, NEVER)
        self.waiting: list[list[tuple[float, int]]] = [[] for _ in range(n)]
        self.price = np.array([program.steps[i].cost + 1.0 for i in program.maker])
        self.added = np.zeros(n)
        self.live = 0
        self.order: list[int] = []
        self.now = 0
        self.dearest = program.cost + 1.0  # nothing costs more than the whole program
        self.left = LIMIT * self.dearest
        self._index_readers()

    def _index_readers(self) -> None:
        steps = self.program.steps
        self.readers: list[list[int]] = [[] for _ in self.sizes]
        for i, step in enumerate(steps):
            for b in step.reads:
                self.readers[b].append(i)
        self.position = [0] * len(self.sizes)

    def plan(self) -> list[int] | None:
        """The order of steps, or None where the budget does not suffice for this heuristic."""
        for i in range(len(self.program.steps)):
            self.now = i
            if not self._run_with_operands(i):
                return None
        return self.order

    # -- running ---------------------------------------------------------------------------------

    def _run_with_operands(self, index: int) -> bool:
        """Run a step of the program, after those that make again what it reads and is gone."""
        steps, stack = self.program.steps, [index]
        self._lock(index, 1)
        while stack:
            step = steps[stack[-1]]
            gone = next((b for b in step.reads if not self.held[b]), None)
            if gone is not None:
                maker = self.program.maker[gone]
                self._lock(maker, 1)
                stack.append(maker)
                if len(stack) > len(steps):
                    return False
                continue
            top = stack.pop()
            if not self._run(top, again=bool(stack)):
                return False
            wanted = set(steps[stack[-1]].reads) if stack else set()
            self._lock(top, -1)
            self._let_go(top, wanted)
        return True

    def _lock(self, index: int, change: int) -> None:
        for b in self.program.steps[index].reads:
            self.fixed[b] += change

    def _run(self, index: int, again: bool) -> bool:
        step, sizes = self.program.steps[index], self.sizes
        self.left -= step.cost
        if self.left < 0:
            return False
        new = [b for b in step.writes if not self.held[b]]
        need = sum([sizes[b] for b in new])
        reused = 0
        if step.in_place and new and new[0] == step.writes[0]:
            size = sizes[new[0]]
            fits = [b for b in step.in_place if sizes[b] == size and self._ends(b, index)]
            reused = size if fits else 0
        for before, after in step.carried:
            if after in new and sizes[before] == sizes[after] and self._ends(before, index):
                reused += sizes[after]
        while self.live + need - reused + step.scratch > self.budget:
            if not self._evict():
                return False
        self.order.append(index)
        for b in new:
            self._hold(b)
        if not again:
            for b in (*step.reads, *step.writes):
                self._advance(b, index)
        return True

    def _ends(self, b: int, index: int) -> bool:
        """Whether a step is the last that needs a buffer it reads."""
        is_main = index == self.now
        reads, k = self.readers[b], self.position[b]
        while is_main and k < len(reads) and reads[k] <= index:
            k += 1
        step = self.program.steps[self.program.maker[b]]
        locks = self.fixed[b] - (1 if step.once or not self.sizes[b] else 0)
        return k == len(reads) and self.next_again[b] == NEVER and locks <= 1

    def _advance(self, b: int, index: int) -> None:
        reads, k = self.readers[b], self.position[b]
        while k < len(reads) and reads[k] <= index:
            k += 1
        self.position[b] = k
        self.next_read[b] = reads[k] if k < len(reads) else NEVER

    def _let_go(self, index: int, wanted: set[int]) -> None:
        """Free what nobody reads any more, of what a step read and wrote."""
        step = self.program.steps[index]
        for b in (*step.reads, *step.writes):
            if not self.held[b] or b in wanted:
                continue
            if self.next_read[b] == NEVER and self.next_again[b] == NEVER and not self._locked(b):
                self._forget(b)
            elif self._goes_at_once(b):
                self._forget(b)
                self._foresee(b)

    def _goes_at_once(self, b: int) -> bool:
        """Whether a preference says not to hold a buffer up to the peak, and nothing holds it."""
        preference = self.preference
        return (
            preference is not None
            and preference.level[b] <= preference.at_once
            and self.now <= preference.place < self.next_read[b]
            and self.next_again[b] > preference.place
            and not self.fixed[b]
        )

    def _locked(self, b: int) -> bool:
        maker = self.program.steps[self.program.maker[b]]
        return bool(self.fixed[b] > (1 if maker.once or not self.sizes[b] else 0))

    # -- holding and letting go ------------------------------------------------------------------

    def _hold(self, b: int) -> None:
        self.held[b] = True
        self.live += self.sizes[b]
        if self.added[b]:
            self._reprice(b, -self.added[b])
            self.added[b] = 0.0
        self._foresee(b)

    def _evict(self) -> bool:
        free = np.flatnonzero(self.held & (self.fixed == 0))
        if not len(free):
            return False
        if self.preference is not None and self.now <= self.preference.place:
            free = self.preference.first(free, self.next_read)
        until = np.minimum(self.next_read[free], self.next_again[free]) - self.now
        until = np.maximum(np.where(np.isfinite(until), until, len(self.program.steps)), 0.5)
        score = np.maximum(self.price[free], 1.0) / (self.weight[free] * until**self.far)
        b = int(free[np.argmin(score)])
        self._forget(b)
        self._foresee(b)
        return True

    def _forget(self, b: int) -> None:
        self.held[b] = False
        self.live -= self.sizes[b]
        self.added[b] = min(max(self.price[b], 1.0), self.dearest)
        self._reprice(b, self.added[b])

    def _reprice(self, b: int, change: float) -> None:
        """What b costs is added to the buffers made from it, and from those that are gone too."""
        stack, seen = [b], {b}
        while stack and len(seen) < self.reach:
            for i in self.readers[stack.pop()]:
                for out in self.program.steps[i].writes:
                    if out in seen:
                        continue
                    seen.add(out)
                    self.price[out] += change
                    passed_on = self.added[out] + change
                    if not self.held[out] and self.added[out] and 0 < passed_on <= self.dearest:
                        self.added[out] = passed_on
                        stack.append(out)

    def _foresee(self, b: int) -> None:
        """Buffers are read again when what was made from them is made again."""
        soon = float(self.next_read[b])
        for r in self.program.steps[self.program.maker[b]].reads:
            waiting = self.waiting[r]
            if not self.held[b] and soon != NEVER:
                heappush(waiting, (soon, b))
            while waiting and (
                self.held[waiting[0][1]] or self.next_read[waiting[0][1]] != waiting[0][0]
            ):
                heappop(waiting)
            self.next_again[r] = waiting[0][0] if waiting else NEVER
