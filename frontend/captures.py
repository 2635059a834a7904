"""Concrete values that a recorded function reads: literals, constants, and the names they had."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from functools import cache, lru_cache, partial
from inspect import CO_OPTIMIZED
from types import FrameType, FunctionType, MethodType, ModuleType
from typing import Any, Final, overload

import jax
import numpy as np

from ..ir.builder import Builder
from ..ir.errors import ArgumentError
from ..ir.graph import Atom, Constant, Literal
from ..ir.ops.call import constant
from ..ir.ops.random import KEY_SHAPES, key_tag, random_wrap
from ..ir.types import ExtendedDtype, TensorType
from .avals import key_words, to_type
from .jax_compat import BatchTracer, FlatFunction, Tracer, typeof
from .no_numbers import is_float0


def constant_atom(b: Builder, x: Any, aval: Any = None) -> Atom:
    """An atom for a concrete value: a literal for a scalar, else a constant's equation."""
    if isinstance(x, jax.ShapeDtypeStruct):
        raise ArgumentError(
            f"A ShapeDtypeStruct does not have a value, and is no constant of a function: {x}"
        )
    type = to_type(typeof(x) if aval is None else aval)
    if is_float0(x):
        x = np.zeros(type.shape, bool)
    if not type.shape and not isinstance(type.dtype, ExtendedDtype):
        if isinstance(x, int | float) and x != 0:  # 0.0 and -0.0 are equal, yet not the same
            return _literal(x, type)
        return Literal(np.asarray(x), type)
    tag = key_tag(type.dtype)
    if tag in KEY_SHAPES:  # text and files hold words, not keys
        words = key_words(x)
        held = b.emit(constant, value=Constant(words, to_type(typeof(words))))[0]
        key: Atom = b.emit(random_wrap, held, impl=tag)[0]
        return key
    atom: Atom = b.emit(constant, value=Constant(x, type))[0]
    return atom


def constant_behind(b: Builder, atom: Atom) -> Constant | None:
    """The constant that `constant_atom` made an equation for, to be given its name."""
    eqn = b.definition(atom)
    if eqn is not None and eqn.primitive is random_wrap:
        eqn = b.definition(eqn.inputs[0])
    return eqn.params["value"] if eqn is not None and eqn.primitive is constant else None


@lru_cache(maxsize=4096)
def _literal(value: float, type: TensorType) -> Literal:
    return Literal(value, type)


def identity_of(x: Any) -> tuple[int, Any]:
    """What makes two captures one constant, and the object that must live as long as that holds.

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
    """What the user's function calls an object: a variable, or part of one (`self.w`)."""
    if frame is None:
        return default
    variables = _local_variables(frame)
    variables += [(n, frame.f_globals.get(n)) for n in frame.f_code.co_names]
    for name, value in variables:
        if value is x:
            return name
    parts = [(f"{name}.{part}", y) for name, held in variables for part, y in _parts(held)]
    for name, value in parts:
        if value is x:
            return name
    if isinstance(x, np.ndarray):
        for name, value in (*variables, *parts):
            if _was_narrowed(value, x):
                return name
    return default


def _local_variables(frame: FrameType) -> list[tuple[str, Any]]:
    """The variables of a function that runs.

    Before Python 3.13 the frame keeps the dictionary that it gives, and with it the values of this
    moment, until the function returns. It is emptied, unless somebody else may look at it.
    """
    held = frame.f_locals
    variables = list(held.items())
    if (
        sys.version_info < (3, 13)
        and frame.f_code.co_flags & CO_OPTIMIZED
        and sys.gettrace() is None
        and sys.getrefcount(held) == _OF_FRAME
    ):
        held.clear()
    return variables


_OF_FRAME: Final = 3
"""References to a frame's dictionary: the frame's, a variable here, an argument of the count."""


def _was_narrowed(original: Any, x: np.ndarray[Any, Any]) -> bool:
    """Whether x is what a 64-bit NumPy array became as an operand."""
    return (
        isinstance(original, np.ndarray)
        and original.shape == x.shape
        and original.dtype != x.dtype
        and x.size <= _COMPARED
        and np.array_equal(original.astype(x.dtype), x)
    )


_COMPARED: Final = 100_000


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


def closure_tracers(
    *functions: Any, inside: Any = None, maps: list[Any] | None = None
) -> list[Any]:
    """The tracers that functions hold in closures, defaults, arguments and bound objects.

    Those of JAX's transformations that run inside a recording, if it is told, are none of its
    operands: what a mapped value is part of is one, and the others are dead before a rule is asked
    for. `maps` takes the traces of the mapped values.
    """
    found: dict[int, Any] = {}
    seen: set[int] = set()
    stack = [(f, 0) for f in reversed(functions)]
    while stack:
        x, depth = stack.pop()
        if isinstance(x, Tracer):
            if inside is None or not _runs_inside(x._trace, inside):
                found.setdefault(id(x), x)
            elif x.__class__ is BatchTracer:
                stack.append((x.val, depth))
                if maps is not None:
                    maps.append(x._trace)
        elif id(x) not in seen and depth < _DEPTH:
            seen.add(id(x))
            depth += 1
            stack += [(part, depth) for part in _held(x) if not _holds_nothing(part.__class__)]
    return list(found.values())


_DEPTH: Final = 12


_HOLDERS: Final = (Tracer, list, tuple, dict, FunctionType, MethodType, partial, FlatFunction)


@cache
def _holds_nothing(kind: type) -> bool:
    """Whether objects of a type are plain data, or modules, and can hide no tracers."""
    if issubclass(kind, _HOLDERS):
        return False
    if issubclass(kind, type | ModuleType) or kind.__module__ in ("builtins", "numpy"):
        return True
    return kind.__dictoffset__ == 0 and not hasattr(kind, "__slots__")


def _runs_inside(trace: Any, recording: Any) -> bool:
    """Whether a trace is one of JAX's that hands what it does on to a recording, or did to one that
    is over: a rule of that is being recorded now."""
    while trace is not None:
        trace = getattr(trace, "parent_trace", None)
        if trace is recording or getattr(trace, "finished", False):
            return True
    return False


def _held(x: Any) -> Sequence[Any]:
    """What an object that may hide tracers refers to."""
    if isinstance(x, list | tuple):
        return x
    if isinstance(x, dict):
        return list(x.values())
    if isinstance(x, FunctionType):
        cells = [c.cell_contents for c in x.__closure__ or () if is_filled(c)]
        return [*cells, *(x.__defaults__ or ()), *(x.__kwdefaults__ or {}).values()]
    if isinstance(x, MethodType):
        return [x.__self__, x.__func__]
    if isinstance(x, partial):
        return [x.func, x.args, x.keywords]
    if isinstance(x, FlatFunction):
        return [x.f, *(arguments for _, arguments in x.transforms)]
    if getattr(type(x), "__slots__", None) == ["val"]:  # JAX's wrapper of arguments by position
        return [x.val]
    return list(getattr(x, "__dict__", {}).values())


def is_filled(cell: Any) -> bool:
    """Whether a cell of a closure holds something."""
    try:
        return cell.cell_contents is not None
    except ValueError:
        return False
