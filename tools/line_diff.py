"""Differences of two listings in near linear time: lines that are unique in both are anchors.

Patience diff: the longest run of unique lines that stand in both in one order is kept, and what is
between two of them is compared in the same way; equal heads and tails are taken off first.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Hashable, Iterator, Sequence
from itertools import pairwise

Edit = tuple[str, int]
"""`=`, `-` or `+`, and for how many lines."""


def line_edits(old: Sequence[Hashable], new: Sequence[Hashable]) -> list[Edit]:
    """Edits that make `new` of `old`; neighbours are of different kinds."""
    edits: list[Edit] = []
    for kind, count in _edits(old, new):
        if count and edits and edits[-1][0] == kind:
            edits[-1] = (kind, edits[-1][1] + count)
        elif count:
            edits.append((kind, count))
    return edits


def _edits(old: Sequence[Hashable], new: Sequence[Hashable]) -> Iterator[Edit]:
    """Regions still to compare wait on a stack, so that long listings need no recursion."""
    stack = [(0, len(old), 0, len(new))]
    while stack:
        a, a_end, b, b_end = stack.pop()
        start = a
        while a < a_end and b < b_end and old[a] == new[b]:
            a, b = a + 1, b + 1
        yield "=", a - start
        if a == a_end or b == b_end:
            yield "-", a_end - a
            yield "+", b_end - b
            continue
        tail = 0
        while a < a_end and b < b_end and old[a_end - 1] == new[b_end - 1]:
            a_end, b_end, tail = a_end - 1, b_end - 1, tail + 1
        anchors = _anchors(old[a:a_end], new[b:b_end])
        if tail:
            stack.append((a_end, a_end + tail, b_end, b_end + tail))
        if not anchors:
            yield "-", a_end - a
            yield "+", b_end - b
            continue
        corners = [(a, b), *((a + i, b + j) for i, j in anchors), (a_end, b_end)]
        for (i, j), (k, m) in reversed(list(pairwise(corners))):
            stack.append((i, k, j, m))


def _anchors(old: Sequence[Hashable], new: Sequence[Hashable]) -> list[tuple[int, int]]:
    """The longest increasing sequence of pairs of equal lines that occur once on either side."""
    once = {line for line, n in Counter(old).items() if n == 1}
    places = {line: j for line, j in _unique_places(new) if line in once}
    pairs = [(i, places[line]) for i, line in enumerate(old) if line in places]
    tails: list[int] = []
    ends: list[int] = []
    before: list[int] = []
    for k, (_, j) in enumerate(pairs):
        at = bisect_left(tails, j)
        before.append(ends[at - 1] if at else -1)
        tails[at : at + 1] = [j]
        ends[at : at + 1] = [k]
    found, k = [], ends[-1] if ends else -1
    while k >= 0:
        found.append(pairs[k])
        k = before[k]
    return found[::-1]


def _unique_places(lines: Sequence[Hashable]) -> Iterator[tuple[Hashable, int]]:
    counts = Counter(lines)
    return ((line, j) for j, line in enumerate(lines) if counts[line] == 1)
