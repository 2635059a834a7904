"""Mutable arrays (jax.Ref) while a program is made: it holds values only.

A `Cell` stands for each mutable array that is recorded or read in: what it holds now is an atom.
Reading gives that atom or a part of it, writing makes another one (refs), and a region that writes
returns what it leaves there (ref_regions). So derivatives, batches and loops see values only.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax

from ..ir.builder import Builder
from ..ir.errors import UsageError
from ..ir.graph import Atom, Value
from ..ir.types import TensorType
from .avals import to_aval, to_type
from .jax_compat import Tracer, typeof
from .jax_compat_refs import AbstractRef, RefEffect


class Cell:
    """A mutable array while a program is made.

    type: of what it holds, which all that is written there is converted to.
    atom: what it holds now, `initial` what it held at first. aval: JAX's type for it.
    origin: where it comes from, for errors. is_free: whether jax.free_ref ended it.
    carried: the cell of its second value, which `carry` makes where there is to be one (carried).
    is_argument, is_closed_over: how the function that is recorded has it; maybe in both ways.
    """

    __slots__ = (
        "atom", "aval", "carried", "carry", "initial", "is_argument", "is_closed_over", "is_free",
        "origin", "type",
    )  # fmt: skip

    def __init__(self, atom: Atom, aval: Any, type: TensorType | None = None) -> None:
        self.atom = self.initial = atom
        self.aval = aval
        self.type = atom.type if type is None else type
        self.carried: Cell | None = None
        self.carry: Callable[[Cell], Cell] | None = None
        self.origin = "was closed over"
        self.is_free = self.is_argument = self.is_closed_over = False

    @property
    def is_written(self) -> bool:
        return self.atom is not self.initial

    def read(self) -> Atom:
        """What it holds. Raises UsageError where it was freed."""
        if self.is_free:
            raise UsageError(
                f"a mutable array of type {self.type} is used after jax.free_ref",
                hint="free it after its last use",
            )
        return self.atom

    def write(self, b: Builder, value: Atom) -> None:
        """Let it hold another value, of the same shape and dtype."""
        self.read()
        if value.type is not self.type:
            value = b.convert(value, self.type.dtype, self.type.weak)
        self.atom = value


def contents_type(aval: Any) -> TensorType:
    """The type of what a mutable array of JAX's type holds."""
    return to_type(aval.inner_aval)


def ref_aval(type: TensorType, like: Any) -> Any:
    """JAX's type for a mutable array of this type of contents, of the kind of another."""
    aval = getattr(like, "aval", None)
    if aval is None:
        return AbstractRef(to_aval(type))
    return AbstractRef(to_aval(type), aval.memory_space, aval.kind)


def is_ref(x: Any) -> bool:
    """Whether x is a mutable array, or a tracer of one."""
    if x.__class__ is jax.Ref:
        return True
    return isinstance(x, Tracer) and isinstance(x.aval, AbstractRef)


def is_ref_type(aval: Any) -> bool:
    return isinstance(aval, AbstractRef)


def has_ref_effects(jaxpr: Any) -> bool:
    """Whether a jaxpr reads or writes mutable arrays that are not its own."""
    return any(isinstance(effect, RefEffect) for effect in jaxpr.effects)


# -- reading in ------------------------------------------------------------------------------------


def enter_input(
    env: dict[Any, Any],
    var: Any,
    name: str | None = None,
    carry: Callable[[Cell], Cell] | None = None,
) -> Value:
    """The input for a variable of a jaxpr; of a mutable array what it holds at first."""
    if not is_ref_type(var.aval):
        env[var] = value = Value(to_type(var.aval), name)
        return value
    value = Value(contents_type(var.aval), name)
    env[var] = cell = Cell(value, var.aval)
    cell.carry = carry
    return value


def cell_of(
    outer: dict[int, tuple[Any, Cell]], ref: Any, carry: Callable[[Cell], Cell] | None = None
) -> Cell:
    """The cell of a mutable array that lives outside of all that is read in."""
    if id(ref) not in outer:
        aval = typeof(ref)
        outer[id(ref)] = ref, Cell(Value(contents_type(aval)), aval)
        outer[id(ref)][1].carry = carry
    return outer[id(ref)][1]


def check_no_cells(outputs: list[Any]) -> None:
    """Raise UsageError where a mutable array is returned."""
    for x in outputs:
        if isinstance(x, Cell):
            raise UsageError(f"a function returned a mutable array, of type {x.type}")
