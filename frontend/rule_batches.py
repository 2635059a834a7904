"""Rules of functions inside of `jax.vmap`: the function and its rules agree on the batch axes.

JAX batches a function and its rules each by itself, and notes which outputs have a batch axis, and
where. A rule may depend on a mapped argument where the function does not; a recording holds both,
so here all outputs of both get their batch axes, outermost first.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp

from .flat_functions import batch_levels
from .jax_compat_rules import CotangentZero, SymbolicZero


def with_batch_axes(
    flat_function: Any, outputs: Sequence[Any], first: int = 0, repeats: int = 1
) -> list[Any]:
    """What a flat function just returned, each with the batch axes of all maps around it in front.

    The function's notes on its outputs, `first` of them apart, change likewise. Its outputs are
    `repeats` groups (primals and tangents) that share one note an output. Symbolic zeros, which
    are no arrays, stay as they are.
    """
    levels = batch_levels(flat_function)
    if not levels:
        return list(outputs)
    sizes = [size for _, size in levels]
    notes = [store.val for store, _ in levels]
    moved = []
    for i, x in enumerate(outputs):
        place = first + i % (len(outputs) // repeats)
        moved.append(_in_front(x, [note[place] for note in notes], sizes))
    for store, _ in levels:
        note = [*store.val[:first], *(0 for _ in store.val[first:])]
        store.reset()
        store.store(note)
    return moved


def _in_front(x: Any, axes: Sequence[int | None], sizes: Sequence[int]) -> Any:
    """`x` with the batch axes of these sizes in front; `axes[i]` says where the i-th is, without
    those before it."""
    if isinstance(x, SymbolicZero | CotangentZero) or all(axis == 0 for axis in axes):
        return x
    x = jnp.asarray(x)
    rank = x.ndim - sum(axis is not None for axis in axes)
    order: list[tuple[str, int]] = [("own", i) for i in range(rank)]
    for level in reversed(range(len(axes))):
        axis = axes[level]
        if axis is not None:
            order.insert(axis, ("batch", level))
    present = [level for level, axis in enumerate(axes) if axis is not None]
    wanted = [("batch", level) for level in present] + [("own", i) for i in range(rank)]
    x = jnp.transpose(x, [order.index(label) for label in wanted])
    absent = [level for level, axis in enumerate(axes) if axis is None]
    shape = (*sizes, *x.shape[len(present) :])
    return jnp.broadcast_to(jnp.expand_dims(x, absent), shape)
