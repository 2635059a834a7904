"""Things of Python's that a program refers to by name, one object for equal things."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any, Final
from weakref import WeakValueDictionary

import jax
import numpy as np

from ..ir.graph import Opaque, Thunk
from .jax_compat import eval_context, library_closure
from .labels import plain_name

_KNOWN: Final[WeakValueDictionary[Hashable, Opaque]] = WeakValueDictionary()
_NAMES: Final[Counter[str]] = Counter()


def opaque(name: str, key: Hashable, make: Callable[[str], Opaque]) -> Opaque:
    """The object known by this key, or a new one, with a name that no other has."""
    try:
        found = _KNOWN.get(key)
    except TypeError:  # something in the key has no hash: then it equals nothing
        return make(_fresh(name))
    if found is None:
        found = _KNOWN[key] = make(_fresh(name))
    return found


def _fresh(name: str) -> str:
    _NAMES[name] += 1
    return name if _NAMES[name] == 1 else f"{name}.{_NAMES[name]}"


def bound(
    name: str,
    primitive: Any,
    params: Mapping[str, Any],
    rules: dict[str, Thunk] | None = None,
    types: Hashable = None,
) -> Opaque:
    """A JAX primitive with its parameters, which lowering and export bind again.

    `rules` are those for operands of these types.
    """
    held = dict(params)

    def evaluate(*arrays: Any) -> list[Any]:
        if "callback" in held and "result_avals" in held:  # whose types change with a batch
            return call_back(held["callback"], arrays)
        return run(primitive, held, arrays)

    def make(fresh: str) -> Opaque:
        return Opaque(fresh, evaluate, (primitive, held), rules)

    return opaque(plain_name(name) or "f", (primitive, params_key(held), types), make)


def call_back(callback: Callable[..., Any], arrays: Sequence[Any]) -> list[Any]:
    """What a flat callback returns."""
    with eval_context():
        return [np.asarray(y) for y in callback(*map(jax.numpy.asarray, arrays))]


def run(primitive: Any, params: Mapping[str, Any], arrays: Any) -> list[Any]:
    """The outputs of a primitive of JAX's on arrays, now."""
    with eval_context():
        operands = [jax.numpy.asarray(x) for x in arrays]
        try:
            outputs = primitive.bind(*operands, **params)
        except NotImplementedError:  # it has no evaluation of its own, only a lowering
            outputs = jax.jit(lambda *xs: primitive.bind(*xs, **params))(*operands)
    return list(outputs) if primitive.multiple_results else [outputs]


def params_key(params: Mapping[str, Any]) -> Hashable:
    """What makes parameters the same. JAX wraps a callback in a new function at each call."""
    items = []
    for name, value in params.items():
        closure = library_closure(value)
        items.append((name, type(value), _distinct(value) if closure is None else closure))
    return tuple(items)


def _distinct(value: Any) -> Any:
    """A parameter with its types: True, 1 and 1.0 are equal, and not the same to the callee."""
    if isinstance(value, tuple):
        return tuple(map(_distinct, value))
    if isinstance(value, Mapping):
        return tuple([(key, _distinct(x)) for key, x in sorted(value.items())])
    return type(value), value


def callable_name(f: Any) -> str:
    """What to call a callback: the name of the user's function."""
    for part in ("callback_func", "func", "__wrapped__"):
        if hasattr(f, part):
            return callable_name(getattr(f, part))
    closure = library_closure(f)
    if closure is not None:
        inner = [x for x in closure[1:] if callable(x)]
        if inner:
            return callable_name(inner[0])
    return str(getattr(f, "__name__", type(f).__name__))
