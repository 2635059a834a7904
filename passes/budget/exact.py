"""The cheapest order of the steps of a small program: a search over what is held, A* by cost.

A state is how many steps of the program have run, and which buffers are held. From it a buffer may
be let go; any step that has run may run again, or the next one may run, if what it reads is held
and what it writes fits. Only what runs again costs, so that the search looks at orders without
second computations first. Among orders in which each step runs for the first time where the program
has it, what is found is an optimum: a step may also take over the memory of an operand, as in
`liveness`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from heapq import heappop, heappush
from typing import Final

from ...ir.steps import Step, Steps

MOST_BUFFERS: Final = 16
"""Programs with more buffers are not searched."""

MOST_STATES: Final = 20_000
"""States looked at before the search gives up."""

State = tuple[int, int]


def exact_order(
    program: Steps, budget: int, kept: frozenset[int] = frozenset(), most: int = MOST_STATES
) -> list[int] | None:
    """The cheapest order that fits; None where there is none, or the program is not small."""
    sized = [b for b, size in enumerate(program.sizes) if size]
    if len(sized) > MOST_BUFFERS:
        return None
    return _Exact(program, budget, kept, sized).search(most)


@dataclass(frozen=True)
class _Move:
    """A step that runs again at a cost, or for the first time; None: a buffer is let go."""

    state: State
    cost: float
    step: int | None


class _Exact:
    """bit: of each buffer that has a size; those that have none are held once they are made."""

    def __init__(self, program: Steps, budget: int, kept: frozenset[int], sized: list[int]) -> None:
        self.program, self.budget = program, budget
        self.bit = {b: 1 << k for k, b in enumerate(sized)}
        self.sizes = [program.sizes[b] for b in sized]
        self.reads = [self._mask(step.reads) for step in program.steps]
        self.writes = [self._mask(step.writes) for step in program.steps]
        fixed = {b for b in sized if b in kept or program.steps[program.maker[b]].once}
        self.fixed = self._mask(tuple(fixed))
        self.later = self._read_from()
        self.bytes: dict[int, int] = {0: 0}

    def _mask(self, buffers: tuple[int, ...]) -> int:
        mask = 0
        for b in buffers:
            mask |= self.bit.get(b, 0)
        return mask

    def _read_from(self) -> list[int]:
        """For each place of the program, the buffers that a step from there on reads."""
        found = [0]
        for mask in reversed(self.reads):
            found.append(found[-1] | mask)
        return found[::-1]

    def _size(self, mask: int) -> int:
        found = self.bytes.get(mask)
        if found is None:
            low = mask & -mask
            found = self.bytes[mask] = self._size(mask ^ low) + self.sizes[low.bit_length() - 1]
        return found

    def search(self, most: int) -> list[int] | None:
        start, n = (0, 0), len(self.program.steps)
        came: dict[State, tuple[State, int | None]] = {}
        best: dict[State, float] = {start: 0.0}
        done: set[State] = set()
        heap: list[tuple[float, int, int, State]] = [(0.0, 0, 0, start)]
        count = 0
        while heap:
            cost, _, _, state = heappop(heap)
            if state in done:
                continue
            done.add(state)
            if state[0] == n:
                return _way_to(state, came)
            if len(done) > most:
                return None
            for move in self._moves(state):
                total = cost + move.cost
                if total < best.get(move.state, float("inf")):
                    best[move.state] = total
                    came[move.state] = (state, move.step)
                    count += 1
                    heappush(heap, (total, -move.state[0], count, move.state))
        return None

    def _moves(self, state: State) -> Iterator[_Move]:
        at, held = state
        steps = self.program.steps
        for index in range(at + 1):
            is_first = index == at
            step = steps[index]
            if self.reads[index] & ~held or (not is_first and step.once):
                continue
            if not is_first and not self.writes[index] & ~held:
                continue
            for after in self._after(index, held, step):
                yield _Move((at + is_first, after), 0.0 if is_first else step.cost, index)
        loose = held & ~self.fixed
        if at < len(steps):
            while loose:
                low = loose & -loose
                loose ^= low
                yield _Move((at, held ^ low), 0.0, None)

    def _after(self, index: int, held: int, step: Step) -> Iterator[int]:
        """What may be held once a step has run: all that was, or less what it has taken over."""
        new = self.writes[index] & ~held
        need = self._size(held) + self._size(new) + step.scratch
        if need <= self.budget:
            yield held | new
        taken, saved = 0, 0
        for before, after in self._taken_over(step, new):
            mask = self.bit[before]
            if mask & taken or not mask & held or mask & self.fixed:
                continue
            taken |= mask
            saved += self.program.sizes[after]
        if taken and need - saved <= self.budget:
            yield (held & ~taken) | new

    def _taken_over(self, step: Step, new: int) -> Iterator[tuple[int, int]]:
        sizes = self.program.sizes
        if step.in_place and step.writes and new & self.bit.get(step.writes[0], 0):
            for b in step.in_place:
                if sizes[b] == sizes[step.writes[0]]:
                    yield b, step.writes[0]
                    break
        for before, after in step.carried:
            if sizes[before] and sizes[before] == sizes[after] and new & self.bit[after]:
                yield before, after


def _way_to(state: State, came: dict[State, tuple[State, int | None]]) -> list[int]:
    order: list[int] = []
    while state in came:
        state, step = came[state]
        if step is not None:
            order.append(step)
    order.reverse()
    return order
