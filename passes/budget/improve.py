"""Improve an order of steps: keep, where there is room, what would be computed again."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ...ir.liveness import usage
from ...ir.steps import Steps

ROUNDS = 3


def improved(program: Steps, order: Sequence[int], budget: int) -> list[int]:
    """The order without the second computations that the budget has room to do without.

    The dearest go first. Each that goes keeps its buffers from their last reader on; what only it
    read need not be computed again either.
    """
    best = without_unread(program, order)
    for _ in range(ROUNDS):
        changed = _drop(program, best, budget)
        if len(changed) == len(best):
            break
        best = changed
    return best


def _drop(program: Steps, order: list[int], budget: int) -> list[int]:
    """One round: drop what fits, by the memory of the order as it was."""
    steps, sizes = program.steps, program.sizes
    live = np.array(usage(program, order).live)
    last_touched: dict[int, int] = {}
    candidates: list[tuple[float, int, int]] = []
    ran: set[int] = set()
    for k, index in enumerate(order):
        step = steps[index]
        if index in ran:
            since = max((last_touched[b] for b in step.writes), default=k)
            candidates.append((-step.cost, k, since))
        ran.add(index)
        for b in (*step.reads, *step.writes):
            last_touched[b] = k
    dropped: set[int] = set()
    for _, k, since in sorted(candidates):
        size = sum([sizes[b] for b in steps[order[k]].writes])
        gap = live[since + 1 : k + 1]
        if len(gap) == 0 or gap.max() + size <= budget:
            gap += size
            dropped.add(k)
    kept = [index for k, index in enumerate(order) if k not in dropped]
    kept = without_unread(program, kept)
    return kept if usage(program, kept).peak <= budget else order


def without_unread(program: Steps, order: Sequence[int]) -> list[int]:
    """The order without computations whose results nobody reads before the next of the same."""
    wanted: set[int] = set()
    later: set[int] = set()
    first: dict[int, int] = {}
    for k, index in enumerate(order):
        first.setdefault(index, k)
    kept = []
    for k in range(len(order) - 1, -1, -1):
        index = order[k]
        step = program.steps[index]
        is_other = first[index] != k or index in later
        if is_other and wanted.isdisjoint(step.writes):
            continue
        wanted.difference_update(step.writes)
        wanted.update(step.reads)
        later.add(index)
        kept.append(index)
    kept.reverse()
    return kept
