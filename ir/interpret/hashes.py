"""Counter-based random number generators, on NumPy arrays of 32-bit words.

Salmon, Moraes, Dror, Shaw: Parallel random numbers: as easy as 1, 2, 3 (SC 2011). Each is a
bijection of counters, chosen by a key; operands broadcast.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np

from ..ops import random as r
from . import means

Words = np.ndarray[Any, np.dtype[np.uint32]]

PARITY: Final = np.uint32(0x1BD11BDA)
"""What the last word of Threefry's key schedule adds to the others' exclusive or."""

ROTATIONS_2: Final = (13, 15, 26, 6, 17, 29, 16, 24)
ROTATIONS_4: Final = ((10, 26), (11, 21), (13, 27), (23, 5), (6, 20), (17, 11), (25, 10), (18, 20))
THREEFRY_ROUNDS: Final = 20

PHILOX_ROUNDS: Final = 10
WEYL: Final = (np.uint32(0x9E3779B9), np.uint32(0xBB67AE85))
"""What is added to the words of a Philox key from round to round."""
MULTIPLIER_2: Final = 0xD256D193
MULTIPLIERS_4: Final = (0xD2511F53, 0xCD9E8D57)


def rotate_left(x: Words, distance: int) -> Words:
    return (x << np.uint32(distance)) | (x >> np.uint32(32 - distance))


def mix(x: Words, y: Words, distance: int) -> tuple[Words, Words]:
    """Threefry's step: x + y, and y rotated, exclusive or that sum."""
    total = x + y
    return total, rotate_left(y, distance) ^ total


def _inject(x: Sequence[Words], schedule: Sequence[Words], number: int) -> list[Words]:
    """Add the key to the state, for the `number`-th time."""
    mixed = [w + schedule[(number + i) % len(schedule)] for i, w in enumerate(x)]
    mixed[-1] = mixed[-1] + np.uint32(number)
    return mixed


def threefry2x32(*words: Words) -> tuple[Words, Words]:
    """Two words of key, two of counter."""
    k0, k1, x0, x1 = words
    schedule = [k0, k1, k0 ^ k1 ^ PARITY]
    x = _inject([x0, x1], schedule, 0)
    for i in range(THREEFRY_ROUNDS):
        x = list(mix(x[0], x[1], ROTATIONS_2[i % 8]))
        if i % 4 == 3:
            x = _inject(x, schedule, i // 4 + 1)
    return x[0], x[1]


def threefry4x32(*words: Words) -> tuple[Words, ...]:
    """Four words of key, four of counter."""
    key, x = words[:4], list(words[4:])
    schedule = [*key, key[0] ^ key[1] ^ key[2] ^ key[3] ^ PARITY]
    x = _inject(x, schedule, 0)
    for i in range(THREEFRY_ROUNDS):
        first, second = ROTATIONS_4[i % 8]
        a, b = (1, 3) if i % 2 == 0 else (3, 1)
        x[0], x[a] = mix(x[0], x[a], first)
        x[2], x[b] = mix(x[2], x[b], second)
        if i % 4 == 3:
            x = _inject(x, schedule, i // 4 + 1)
    return tuple(x)


def multiply(x: Words, multiplier: int) -> tuple[Words, Words]:
    """The high and the low word of a product."""
    product = x.astype(np.uint64) * np.uint64(multiplier)
    return (product >> np.uint64(32)).astype(np.uint32), product.astype(np.uint32)


def philox2x32(*words: Words) -> tuple[Words, Words]:
    """One word of key, two of counter."""
    k, x0, x1 = words
    for _ in range(PHILOX_ROUNDS):
        high, low = multiply(x0, MULTIPLIER_2)
        x0, x1 = high ^ x1 ^ k, low
        k = k + WEYL[0]
    x0, x1 = np.broadcast_arrays(x0, x1)
    return x0, x1


def philox4x32(*words: Words) -> tuple[Words, ...]:
    """Two words of key, four of counter."""
    k0, k1, x0, x1, x2, x3 = words
    for _ in range(PHILOX_ROUNDS):
        high0, low0 = multiply(x0, MULTIPLIERS_4[0])
        high1, low1 = multiply(x2, MULTIPLIERS_4[1])
        x0, x1, x2, x3 = high1 ^ x1 ^ k0, low1, high0 ^ x3 ^ k1, low0
        k0, k1 = k0 + WEYL[0], k1 + WEYL[1]
    return tuple(np.broadcast_arrays(x0, x1, x2, x3))


means(r.threefry2x32)(threefry2x32)
means(r.threefry4x32)(threefry4x32)
means(r.philox2x32)(philox2x32)
means(r.philox4x32)(philox4x32)
