"""Stretches that repeat in a sequence of numbers.

All of them are the intervals of a suffix array whose suffixes share a prefix: M. I. Abouelhoda,
S. Kurtz and E. Ohlebusch, Replacing suffix trees with enhanced suffix arrays, Journal of Discrete
Algorithms 2, 2004.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

Numbers = np.ndarray[Any, np.dtype[np.int64]]


def suffix_array(text: Numbers) -> tuple[Numbers, Numbers]:
    """The suffixes in order, and each one's rank. Prefixes of doubled length, O(n log^2 n)."""
    n = len(text)
    _, rank = np.unique(text, return_inverse=True)
    order = np.argsort(rank, kind="stable")
    width = 1
    while n > 1 and rank.max() < n - 1:
        after = np.full(n, -1, np.int64)
        after[: n - width] = rank[width:]
        order = np.lexsort((after, rank))
        first, second = rank[order], after[order]
        differs = np.r_[False, (first[1:] != first[:-1]) | (second[1:] != second[:-1])]
        rank = np.empty(n, np.int64)
        rank[order] = np.cumsum(differs)
        width *= 2
    return order.astype(np.int64), rank.astype(np.int64)


def shared_prefixes(text: Numbers, order: Numbers, rank: Numbers) -> list[int]:
    """How long a prefix each suffix shares with the one before it in order (Kasai)."""
    n = len(text)
    numbers, positions, ranks = text.tolist(), order.tolist(), rank.tolist()
    shared = [0] * n
    length = 0
    for i in range(n):
        if ranks[i] == 0:
            length = 0
            continue
        j = positions[ranks[i] - 1]
        while i + length < n and j + length < n and numbers[i + length] == numbers[j + length]:
            length += 1
        shared[ranks[i]] = length
        length = max(length - 1, 0)
    return shared


def intervals(
    text: Numbers, order: Numbers, rank: Numbers, shortest: int
) -> Iterator[tuple[int, int, int]]:
    """(length, first, last): the suffixes of these ranks share a prefix of that length and no
    longer, and no others do; lengths from the shortest on."""
    shared = [*shared_prefixes(text, order, rank), 0]
    stack: list[tuple[int, int]] = []  # (length, first rank) of the intervals that are open
    for i in range(1, len(shared)):
        first = i - 1
        while stack and stack[-1][0] > shared[i]:
            length, first = stack.pop()
            if length >= shortest:
                yield length, first, i - 1
        if not stack or stack[-1][0] < shared[i]:
            stack.append((shared[i], first))


def apart(starts: Sequence[int], length: int) -> list[int]:
    """Those starts, from the first on, whose stretches do not overlap."""
    kept: list[int] = []
    end = -1
    for start in starts:
        if start >= end:
            kept.append(start)
            end = start + length
    return kept
