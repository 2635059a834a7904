"""XLA's own random bit generators, for `rng_bit_generator`.

The state is two 64-bit integers: a key, which stays, and a counter, which moves on by the number of
blocks made.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from .hashes import philox4x32, threefry2x32

Array = np.ndarray[Any, Any]
Shape = tuple[int, ...]


def generate(key: Array, shape: Shape, dtype: Any, algorithm: str) -> tuple[Array, Array]:
    """The next state, of the dtype of the state given, and random integers."""
    state = np.ascontiguousarray(key).view(np.uint64)
    wide = dtype.itemsize == 8
    block = threefry_blocks if algorithm == "RNG_THREE_FRY" else philox_blocks
    words, n_blocks = block(state, shape, wide)
    after = np.array([state[0], state[1] + np.uint64(n_blocks)], np.uint64)
    return after.view(key.dtype), words.astype(dtype).reshape(shape)


def words_of(x: Array) -> tuple[Array, Array]:
    """The low and the high word of 64-bit integers."""
    return x.astype(np.uint32), (x >> np.uint64(32)).astype(np.uint32)


def join(low: Array, high: Array) -> Array:
    return (high.astype(np.uint64) << np.uint64(32)) | low


def philox_blocks(state: Array, shape: Shape, wide: bool) -> tuple[Array, int]:
    """Four words a block, in order. The counter has 128 bits: the state's, and the key above it."""
    size = math.prod(shape)
    n_blocks = -(-size * (2 if wide else 1) // 4)
    counter = state[1] + np.arange(n_blocks, dtype=np.uint64)
    above = state[0] + (counter < state[1])
    made = np.stack(philox4x32(*words_of(state[0]), *words_of(counter), *words_of(above)), -1)
    words = join(made[:, 0::2], made[:, 1::2]) if wide else made
    return words.reshape(-1)[:size], n_blocks


def threefry_blocks(state: Array, shape: Shape, wide: bool) -> tuple[Array, int]:
    """Two words a block: one element of 64 bits, or two that lie side by side along one axis.

    That axis is the first of even length, or else the longest.
    """
    shape = shape or (1,)
    even = [i for i, n in enumerate(shape) if n % 2 == 0]
    axis = even[0] if even else int(np.argmax(shape))
    half = (*shape[:axis], -(-shape[axis] // 2), *shape[axis + 1 :])
    blocks = shape if wide else half
    numbers = np.arange(math.prod(blocks), dtype=np.uint64).reshape(blocks)
    first, second = threefry2x32(*words_of(state[0]), *words_of(state[1] + numbers))
    if wide:
        return join(first, second), numbers.size
    pairs = np.stack([first, second], axis + 1)
    pairs = pairs.reshape(*shape[:axis], 2 * half[axis], *shape[axis + 1 :])
    return np.take(pairs, np.arange(shape[axis]), axis), numbers.size
