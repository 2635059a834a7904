"""How much memory an order of steps needs at each place.

A buffer is live from the step that writes it to the last that reads it. A step may write into a
buffer of its own size that it is the last to read element by element, and a loop carries on what it
is the last to read. Loops and branches need, while they run, what their bodies need.

The figures model `memory_analysis().temp_size_in_bytes`; tests hold them against it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .steps import Steps


@dataclass(frozen=True)
class Usage:
    """Bytes live at each step of an order, and what the order costs."""

    live: tuple[int, ...]
    cost: float

    @property
    def peak(self) -> int:
        return max(self.live, default=0)


def usage(program: Steps, order: Sequence[int]) -> Usage:
    """The memory of an order of steps, in which a step may stand several times.

    A reader takes what the latest run before it wrote; a buffer is free after its last reader
    before the next run.
    """
    steps, sizes = program.steps, program.sizes
    last_use = last_uses(program, order)
    live, at, cost = 0, [], 0.0
    for k, index in enumerate(order):
        step = steps[index]
        dying = [b for b in step.reads if last_use[k].get(b)]
        need = sum([sizes[b] for b in step.writes])
        if step.in_place and step.writes:
            size = sizes[step.writes[0]]
            if size and any([b in step.in_place and sizes[b] == size for b in dying]):
                need -= size
        for before, after in step.carried:
            if last_use[k].get(before) and sizes[before] == sizes[after]:
                need -= sizes[after]
        at.append(live + need + step.scratch)
        live += sum([sizes[b] for b in step.writes]) - sum([sizes[b] for b in dying])
        live -= sum([sizes[b] for b in step.writes if last_use[k].get(b)])
        cost += step.cost
    return Usage(tuple(at), cost)


def held_at(program: Steps, order: Sequence[int], place: int | None = None) -> list[int]:
    """The buffers live while a place of an order runs; at its peak, if no place is given."""
    if place is None:
        live = usage(program, order).live
        place = max(range(len(live)), key=live.__getitem__, default=0)
    ends = last_uses(program, order)
    held: dict[int, None] = {}
    for k, index in enumerate(order[: place + 1]):
        held.update(dict.fromkeys(program.steps[index].writes))
        if k < place:
            for b in ends[k]:
                held.pop(b, None)
    return list(held)


def last_uses(program: Steps, order: Sequence[int]) -> list[dict[int, bool]]:
    """For each place of an order, the buffers read or written there that nobody reads later."""
    ends: list[dict[int, bool]] = [{} for _ in order]
    wanted: set[int] = set()
    for k in range(len(order) - 1, -1, -1):
        step = program.steps[order[k]]
        for b in step.writes:
            if b in wanted:
                wanted.discard(b)
            else:
                ends[k][b] = True
        for b in step.reads:
            if b not in wanted:
                wanted.add(b)
                ends[k][b] = True
    return ends
