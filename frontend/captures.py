"""Concrete values that a recorded function reads: literals, constants, and the names they had."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import FrameType
from typing import Any, overload

import numpy as np

from ..ir.builder import Builder
from ..ir.graph import Atom, Constant, Literal
from ..ir.ops.call import constant
from ..ir.types import ExtendedDtype
from .avals import to_type
from .jax_compat import typeof


def constant_atom(b: Builder, x: Any, aval: Any = None) -> Atom:
    """An atom for a concrete value: a literal for a scalar, else an equation that reads a constant."""
    type = to_type(typeof(x) if aval is None else aval)
    if not type.shape and not isinstance(type.dtype, ExtendedDtype):
        return Literal(np.asarray(x), type)
    atom: Atom = b.emit(constant, value=Constant(x, type))[0]
    return atom


def identity_of(x: Any) -> tuple[int, Any]:
    """What makes two captures one constant, and the object that must live for as long as that holds.

    JAX wraps a NumPy array anew each time that it becomes an operand; the array inside is the same.
    """
    base = getattr(x, "base", None) if isinstance(x, np.ndarray) else None
    if isinstance(base, np.ndarray) and base.shape == x.shape and base.strides == x.strides:
        return id(base), base
    return id(x), x


@overload
def find_name(x: Any, frame: FrameType | None) -> str: ...
@overload
def find_name(x: Any, frame: FrameType | None, default: str | None) -> str | None: ...
def find_name(x: Any, frame: FrameType | None, default: str | None = "const") -> str | None:
    """What the user's function calls an object: a variable, or a part of one (`params.w`, `self.w`)."""
    if frame is None:
        return default
    scopes = (frame.f_locals, {n: frame.f_globals.get(n) for n in frame.f_code.co_names})
    for scope in scopes:
        for name, value in scope.items():
            if value is x:
                return name
    for scope in scopes:
        for name, value in scope.items():
            for part, inner in _parts(value):
                if inner is x:
                    return f"{name}.{part}"
    return default


def _parts(value: Any) -> Iterator[tuple[str, Any]]:
    """The named members of a small container or of an object's attributes."""
    if isinstance(value, Mapping):
        if len(value) <= 1000:
            yield from ((str(k), v) for k, v in value.items() if str(k).isidentifier())
    elif isinstance(value, list | tuple):
        if len(value) <= 1000:
            yield from ((str(i), v) for i, v in enumerate(value))
    elif type(getattr(value, "__dict__", None)) is dict:
        yield from vars(value).items()
