"""Our types, scalars and locations in MLIR's words, made once for each MLIR context.

Everything here is a dictionary that fills itself: making a type or an attribute crosses into C++
and costs as much as making an operation.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence, Sized
from typing import Any, Final

import numpy as np
from jaxlib.mlir import ir

from ..ir.graph import Literal, Location
from ..ir.types import TOKEN, Dtype, ExtendedDtype, TensorType
from . import jax_compat

SYMBOL_CHARACTERS: Final = frozenset(
    "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_"
)


def physical(type: TensorType) -> TensorType:
    """The type as XLA sees it: a typed key is an array of words, with axes behind its own."""
    if type.dtype.__class__ is not ExtendedDtype or type.dtype is TOKEN:
        return type
    shape, dtype = jax_compat.base_shape_dtype(jax_compat.to_aval(type))
    return TensorType(shape, dtype)


def tail(type: TensorType) -> tuple[int, ...]:
    """The axes that the representation of one element adds: (2,) for `key<fry>`, else ()."""
    if type.dtype.__class__ is not ExtendedDtype:
        return ()
    return physical(type).shape[len(type.shape) :]


class MlirTypes(dict[TensorType, Any]):
    """The MLIR type of each of our types: `types[t]`."""

    def __init__(self, context: ir.Context) -> None:
        super().__init__()
        self.context = context
        self.elements: dict[Dtype, Any] = {}

    def __missing__(self, type: TensorType) -> Any:
        if type.dtype is TOKEN:
            made = ir.Type.parse("!stablehlo.token", self.context)
        else:
            seen = physical(type)
            made = ir.RankedTensorType.get(seen.shape, self.element(seen.dtype))
        self[type] = made
        return made

    def element(self, dtype: Dtype) -> Any:
        """The MLIR element type of a dtype. Raises TypeError for one that MLIR has no type for."""
        found = self.elements.get(dtype)
        if found is None:
            found = self.elements[dtype] = jax_compat.element_type(dtype, self.context)
        return found


class Attributes:
    """Attributes by what they say."""

    def __init__(self, context: ir.Context, types: MlirTypes) -> None:
        self.context = context
        self.types = types
        self._parsed: dict[str, ir.Attribute] = {}
        self._integers: dict[tuple[int, int], ir.Attribute] = {}
        self._arrays: dict[tuple[int, ...], ir.Attribute] = {}
        self._flags: dict[tuple[bool, ...], ir.Attribute] = {}
        self._scalars: dict[Literal, ir.Attribute] = {}
        self._others: dict[Any, Any] = {}

    def __len__(self) -> int:
        kept: tuple[Sized, ...] = (self._parsed, self._integers, self._scalars, self._others)
        return sum(map(len, (*kept, self._arrays)))

    def once(self, key: Any, make: Callable[[], Any]) -> Any:
        """`make()`, called once for this key."""
        found = self._others.get(key)
        if found is None:
            found = self._others[key] = make()
        return found

    def parse(self, text: str) -> ir.Attribute:
        """An attribute from its MLIR text."""
        found = self._parsed.get(text)
        if found is None:
            found = self._parsed[text] = ir.Attribute.parse(text, self.context)
        return found

    def integer(self, n: int, bits: int = 64) -> ir.Attribute:
        found = self._integers.get((n, bits))
        if found is None:
            made = ir.IntegerAttr.get(ir.IntegerType.get_signless(bits), n)
            found = self._integers[n, bits] = made
        return found

    def integers(self, numbers: Sequence[int]) -> ir.Attribute:
        """A flat list of i64, as axes and sizes are given: `array<i64: 0, 1>`."""
        key = tuple(numbers)
        found = self._arrays.get(key)
        if found is None:
            found = self._arrays[key] = ir.DenseI64ArrayAttr.get(key)
        return found

    def flags(self, values: Sequence[bool]) -> ir.Attribute:
        key = tuple(values)
        found = self._flags.get(key)
        if found is None:
            found = self._flags[key] = ir.DenseBoolArrayAttr.get(key)
        return found

    def flag(self, value: bool) -> ir.Attribute:
        return self.parse("true" if value else "false")

    def text(self, value: str) -> ir.Attribute:
        return ir.StringAttr.get(value, self.context)

    def scalar(self, literal: Literal) -> ir.Attribute:
        """The value of a scalar constant."""
        found = self._scalars.get(literal)
        if found is None:
            found = self._scalars[literal] = self.dense(literal.value)
        return found

    def dense(self, array: np.ndarray[Any, Any]) -> ir.Attribute:
        """The elements of an array, written out."""
        element: Any = self.types.element(array.dtype)
        contiguous: Any = np.ascontiguousarray(array)
        return ir.DenseElementsAttr.get(contiguous, type=element, shape=array.shape)


class Locations:
    """Where an operation came from: the user's file, line and column, named `value/operation`.

    XLA keeps file and line, and shows the name in profiles and error messages.
    """

    def __init__(self, context: ir.Context) -> None:
        self.unknown = ir.Location.unknown(context)
        self._files: dict[Location | None, ir.Location] = {None: self.unknown}
        self._named: dict[tuple[Location | None, str | None, str, str], ir.Location] = {}

    def __len__(self) -> int:
        return len(self._named)

    def file(self, location: Location | None) -> ir.Location:
        found = self._files.get(location)
        if found is None:
            assert location is not None
            made = ir.Location.file(location.file, location.line, location.column)
            found = self._files[location] = made
        return found

    def named(
        self, location: Location | None, value: str | None, operation: str, scope: str = ""
    ) -> ir.Location:
        key = (location, value, operation, scope)
        found = self._named.get(key)
        if found is None:
            parts = (scope, value, operation)
            name = "/".join([part for part in parts if part])
            made = ir.Location.name(name, childLoc=self.file(location))
            found = self._named[key] = made
        return found


class Symbols:
    """Names of functions, made unique."""

    def __init__(self, reserved: Sequence[str] = ()) -> None:
        self.taken = set(reserved)
        self._numbers: dict[str, int] = {}

    def fresh(self, wanted: str) -> str:
        base = "".join([c if c in SYMBOL_CHARACTERS else "_" for c in wanted]) or "f"
        name, number = base, self._numbers.get(base, 0)
        while name in self.taken:
            number += 1
            name = f"{base}_{number}"
        self._numbers[base] = number
        self.taken.add(name)
        return name


def joined_scope(outer: str, inner: str) -> str:
    """The scope inside of another one; as it is, if it was recorded with the outer one."""
    is_inside = not outer or inner == outer or inner.startswith(f"{outer}/")
    return inner if is_inside else f"{outer}/{inner}"
