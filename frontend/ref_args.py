"""Mutable arrays that a traced function was given or closes over: read before, written after.

A traced function takes what they hold as values and returns what it leaves in them after its other
outputs. Whoever runs its program reads them first and writes them then. Where something is being
traced around the call, reading and writing are recorded there, so nesting needs nothing more.
"""

from __future__ import annotations

from collections.abc import Container, Sequence
from dataclasses import dataclass
from typing import Any, Final

import jax

from ..ir.errors import UsageError
from .carried import Carried
from .cells import is_ref
from .jax_compat_refs import buffer_of, give_buffer


def read_refs(operands: Sequence[Any]) -> tuple[Any, ...]:
    """The operands, of mutable arrays what they hold now."""
    return tuple([x[...] if is_ref(x) else _plain(x) for x in operands])


def _plain(x: Any) -> Any:
    return x.value() if x.__class__ is Carried else x


def write_refs(refs: Sequence[Any], values: Sequence[Any]) -> None:
    """Let mutable arrays hold these values."""
    for ref, value in zip(refs, values, strict=True):
        if ref.__class__ is not Carried:
            ref[...] = value


NO_DERIVATIVE: Final = "no_grad_no_remat"
"""The kind of mutable arrays for which nobody expects one."""


def is_ref_like(x: Any) -> bool:
    """Whether a leaf of the arguments is a mutable array, or a stand-in of such a type."""
    return is_ref(x) or (isinstance(x, jax.ShapeDtypeStruct) and getattr(x, "is_ref", False))


@dataclass(frozen=True)
class StandIn:
    """Stands for an argument at a position that is to be a mutable array, when types are given."""

    position: int


@dataclass(frozen=True)
class RefUse:
    """What a compiled function does around each call with mutable arrays.

    captured: those that it closes over, whose contents are the first operands of its program.
    written: positions, among captured ones and arguments, of those that hold its last outputs then.
    out_tree: how its other outputs nest. names: of the arguments.
    """

    caller: str
    captured: tuple[Any, ...]
    written: tuple[int, ...]
    out_tree: Any
    names: tuple[str, ...]

    def before(self, leaves: Sequence[Any]) -> tuple[Any, ...]:
        """The operands of the program."""
        check_no_aliases(self.caller, leaves, self.names, self.captured)
        return tuple([buffer_of(x) if is_ref(x) else x for x in (*self.captured, *leaves)])

    def after(self, leaves: Sequence[Any], outputs: Sequence[Any]) -> Any:
        """What the call returns, when mutable arrays hold what it leaves there."""
        operands = (*self.captured, *leaves)
        n = len(outputs) - len(self.written)
        for i, array in zip(self.written, outputs[n:], strict=True):
            give_buffer(operands[i], array)
        return jax.tree.unflatten(self.out_tree, outputs[:n])


def place_among(ref: Any, operands: Sequence[Any], n_captured: int) -> int:
    """The position of a mutable array among what a program is called with."""
    if isinstance(ref, StandIn):
        return n_captured + ref.position
    return next(i for i, x in enumerate(operands) if x is ref)


def check_no_aliases(
    caller: str, leaves: Sequence[Any], names: Sequence[str], closed_over: Sequence[Any]
) -> None:
    """Raise UsageError (a ValueError) where one mutable array has two names in a function."""
    seen: dict[int, str] = {}
    outside = {id(x) for x in closed_over}
    for x, name in zip(leaves, names, strict=True):
        if not is_ref(x):
            continue
        before = seen.setdefault(id(x), name)
        if before is not name or id(x) in outside:
            both = "closed over and passed as the argument " + name
            if before is not name:
                both = f"appeared at both {before} and {name}"
            raise UsageError(
                "only one reference to a mutable array may be passed as an argument to a function, "
                f"but in a call of {caller} the mutable array of type {x.aval.str_short()} {both}",
                hint="pass it once",
            )


def check_no_tangents(
    name: str, refs: Sequence[Any], moves: Sequence[bool], with_tangents: Container[int] = ()
) -> None:
    """Raise UsageError where a derivative would be lost in a mutable array: what is differentiated
    is written to one that lives outside of the function. (Not to those of these identities.)"""
    for ref, is_moved in zip(refs, moves, strict=True):
        if (
            id(ref) not in with_tangents
            and is_moved
            and ref.__class__ is not Carried
            and ref.aval.kind != NO_DERIVATIVE
        ):
            raise UsageError(
                f"{name} writes a value that depends on what it is differentiated by to a mutable "
                f"array of type {ref.aval.str_short()} that lives outside of it, where the "
                "derivative is lost",
                hint="Move the array reference into the function, or write "
                "jax.lax.stop_gradient(value)",
            )


def tangents_of_refs(primals: Sequence[Any], tangents: Sequence[Any]) -> dict[int, Any]:
    """By the identities of the mutable arrays among the primals, those that hold their tangents.

    Raises UsageError where only one of a primal and its tangent is a mutable array.
    """
    found = {}
    for x, dx in zip(primals, tangents, strict=True):
        if is_ref(x) != is_ref(dx):
            raise UsageError(
                "the tangent of a mutable array is one, too, and the tangent of a value is a value",
                hint="make one for the tangent: jax.new_ref(tangent)",
            )
        if is_ref(x):
            found[id(x)] = dx
    return found


def check_not_mapped(name: str, refs: Sequence[Any], axes: Sequence[int | None]) -> None:
    """Raise UsageError where all examples of a batch would write to one array, as JAX does."""
    for ref, axis in zip(refs, axes, strict=True):
        if axis is None:
            raise UsageError(
                f"{name}, which is vmapped, writes to an unbatched array reference of type "
                f"{ref.aval.str_short()}: each example would have to write there",
                hint="pass the array to the vmapped function, mapped over an axis of it",
            )
