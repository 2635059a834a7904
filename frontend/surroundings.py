"""What functions read that is not passed to them: their closures and globals, followed through what
they call.

Two calls of a function on operands of the same types do the same if that is the same for both. A
function that reads something that can change within (a list, a dictionary, an object with
attributes, a context variable) has to be run for each call.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache, partial
from types import BuiltinFunctionType, CodeType, FunctionType, ModuleType
from typing import Any, Final

import jax
import numpy as np

from .captures import is_filled
from .jax_compat import Tracer

_LIBRARIES: Final = frozenset(
    ("_operator", "builtins", "collections", "covector", "functools", "itertools", "jax", "jaxlib",
     "math", "ml_dtypes", "numpy", "operator", "scipy", "types", "typing")
)  # fmt: skip
"""Packages whose functions do the same each time, but for those of `_RANDOM`."""

_RANDOM: Final = np.random

_REACHING: Final = frozenset(
    ("__import__", "eval", "exec", "getattr", "globals", "input", "open", "print", "vars")
)
"""Functions of Python's by which one reaches what no name tells, or is seen to run."""

_FIXED: Final = (
    bool, int, float, complex, str, bytes, type(None), type(...), range, np.dtype, np.generic,
    np.ndarray, np.ufunc, jax.Array,
)  # fmt: skip
"""Types of what is the same as long as it is the same object. Nobody is expected to write to a
NumPy array between two calls in a function that is traced."""

_TRACERS: Final = frozenset(("covector", "jax", "jaxlib"))
"""Packages whose objects that can be called do the same each time: compiled functions, functions
with rules. Others may hold state: a bound method its object, a cached function what it returned."""

_RULES: Final = ("fun", "fwd", "bwd", "jvp", "func", "vmap_rule", "__wrapped__")
"""Where those keep what a user gave them."""

_MOST: Final = 200
"""How many objects are looked at before a function is taken for one that has to be run."""


class Same:
    """An object as part of a key: equal to itself alone, and alive as long as the key is."""

    __slots__ = ("held",)

    def __init__(self, held: Any) -> None:
        self.held = held

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Same) and other.held is self.held

    def __hash__(self) -> int:
        return id(self.held)


def what_is_read(functions: Iterable[Any]) -> tuple[Same, ...] | None:
    """The objects that functions read, as parts of a key; None if one of them can change within."""
    seen: dict[int, Any] = {}
    stack = list(functions)
    while stack:
        x = stack.pop()
        if id(x) in seen:
            continue
        parts = _parts_of(x)
        if parts is None or len(seen) >= _MOST:
            return None
        seen[id(x)] = x
        stack += parts
    return tuple(map(Same, seen.values()))


def _parts_of(x: Any) -> Iterable[Any] | None:
    """What an object reads in turn; None if it can change within."""
    if isinstance(x, Tracer):
        return None
    if isinstance(x, _FIXED):
        return ()
    if isinstance(x, FunctionType):
        return _read_by_function(x)
    if isinstance(x, tuple | frozenset):
        return x
    if isinstance(x, partial):
        return (x.func, *x.args, *x.keywords.values())
    if isinstance(x, BuiltinFunctionType):  # or the method of an object, which is of no module
        return () if _is_library(x.__module__) else None
    if isinstance(x, type):
        return (
            () if _is_library(x.__module__) else (*_functions_among(vars(x).values()), *x.__bases__)
        )
    if isinstance(x, ModuleType):  # what is read of it is found where its name is
        return None if x is _RANDOM else ()
    if callable(x) and _package(type(x).__module__) in _TRACERS:
        return [part for name in _RULES if (part := getattr(x, name, None)) is not None]
    return None


def _read_by_function(f: FunctionType) -> Iterator[Any]:
    cells = [cell.cell_contents for cell in f.__closure__ or () if is_filled(cell)]
    if _is_library(f.__module__):  # of what it closes over, only the user's functions matter
        yield from _functions_among(cells)
        return
    yield from cells
    yield from vars(f).values()
    yield from f.__defaults__ or ()
    yield from (f.__kwdefaults__ or {}).values()
    names = _names_in(f.__code__)
    if not _REACHING.isdisjoint(names):
        yield sys.modules  # a dictionary: it can change
        return
    package = f"{f.__globals__.get('__package__')}."
    imported = [sys.modules.get(x) or sys.modules.get(package + x) for x in names]
    holders = [*_of_names(f.__globals__, names), *filter(None, imported)]
    yield from holders
    yield from _of_holders([*holders, *cells], names)


def _of_holders(holders: list[Any], names: Iterable[str]) -> Iterator[Any]:
    """What these names are in modules and classes, and in those found there."""
    seen: set[int] = set()
    while holders:
        holder = holders.pop()
        if id(holder) in seen:
            continue
        seen.add(id(holder))
        if holder is np and "random" in names:
            yield _RANDOM
        spaces = holder.__mro__ if isinstance(holder, type) else (holder,)
        for space in spaces:
            if isinstance(space, ModuleType | type) and not _is_library(_name_of(space)):
                found = _of_names(vars(space), names)
                yield from found
                holders += found


def _of_names(variables: Mapping[str, Any], names: Iterable[str]) -> list[Any]:
    return [variables[name] for name in names if name in variables]


def _functions_among(objects: Iterable[Any]) -> list[Any]:
    return [x for x in objects if isinstance(x, FunctionType)]


@lru_cache(maxsize=4096)
def _names_in(code: CodeType) -> tuple[str, ...]:
    """The names of globals and attributes that a function reads, or one that it defines."""
    names = dict.fromkeys(code.co_names)
    for x in code.co_consts:
        if isinstance(x, CodeType):
            names.update(dict.fromkeys(_names_in(x)))
    return tuple(names)


def _name_of(holder: ModuleType | type) -> str:
    return holder.__name__ if isinstance(holder, ModuleType) else holder.__module__


def _is_library(module: str | None) -> bool:
    return _package(module) in _LIBRARIES


def _package(module: str | None) -> str:
    return (module or "").partition(".")[0]
