"""The private names of JAX behind mutable arrays (see jax_compat)."""

from __future__ import annotations

from typing import Any

# discharge: what an index or a view of a mutable array means for the array that it holds.
# types: the type of mutable arrays, the effects of what reads or writes them, and the error for
# views of them, which have no type.
from jax._src.state import discharge, types

AbstractRef: Any = types.AbstractRef
RefEffect: Any = types.RefEffect
RefViewError: Any = types.TransformedRefAvalError


def read_ref(operands: Any, tree: Any) -> list[Any]:
    """(what is held, indices) -> what is read there."""
    held, *index = operands
    return [discharge._get_discharge(held, index, tree)]


def write_ref(operands: Any, tree: Any) -> list[Any]:
    """(what is held, value, indices) -> what was there, what is held then."""
    held, value, *index = operands
    return list(discharge._swap_discharge(held, value, index, tree))


def add_to_ref(operands: Any, tree: Any) -> list[Any]:
    """(what is held, value, indices) -> what is held then."""
    held, value, *index = operands
    return [discharge._addupdate_discharge(held, value, index, tree)]


def buffer_of(ref: Any) -> Any:
    """The array that a mutable array holds, not a copy of it: for a program that reads it now."""
    held = getattr(getattr(ref, "_refs", None), "_buf", None)
    return ref[...] if held is None else held


def give_buffer(ref: Any, array: Any) -> None:
    """Let a mutable array hold an array that nobody else has."""
    held = getattr(getattr(ref, "_refs", None), "_buf", None)
    if held is None or held.sharding != array.sharding:
        ref[...] = array
    else:
        ref._refs._buf = array
