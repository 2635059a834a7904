"""JAX's flat functions, the form in which custom rules travel, and what they leave behind.

Their outputs' trees, and the batch axes that `jax.vmap` found, are in stores beside them.
"""

from __future__ import annotations

from functools import lru_cache
from types import FunctionType
from typing import Any, Final

from .jax_compat_rules import Unhashable

_PLAIN: Final = (bool, int, float, complex, str, bytes, type(None))
"""Types of arguments that tell two calls apart by their values."""


class Shared(dict[Any, Any]):
    """What is traced once, by what makes two calls the same: a dictionary that can be referred to
    weakly, since rules traced later may use it but must not keep it."""

    __slots__ = ("__weakref__",)


def reset_stores(flat_fun: Any) -> None:
    """Let a flat function that already ran run again: it leaves the trees of its outputs behind."""
    for store in flat_fun.stores:
        if store is not None:
            store.reset()


def batch_levels(flat_fun: Any) -> list[tuple[Any, int]]:
    """The maps that JAX applied to a flat function, outermost first: for each the store where it
    notes the batch axes of the outputs, and the size of the batch."""
    names = ("batch_subtrace", "batch_custom_jvp_subtrace")
    return [
        (store, arguments[1].size)
        for (made_by, arguments), store in zip(flat_fun.transforms, flat_fun.stores, strict=True)
        if getattr(made_by, "__name__", None) in names
    ]


def stored_values(flat_fun: Any) -> list[Any]:
    """What a flat function has left behind when it ran."""
    return [None if store is None else store.val for store in flat_fun.stores]


def restore(flat_fun: Any, values: list[Any]) -> None:
    """Leave behind what an equal flat function did, instead of running this one."""
    for store, value in zip(flat_fun.stores, values, strict=True):
        if store is not None:
            store.store(value)


def function_key(flat_fun: Any, *rules: Any) -> Any:
    """What makes two flat functions with rules the same: the user's functions, and the flattening.

    How the rules are flattened follows from that of the function. Arguments that are no arrays,
    of `nondiff_argnums`, are told apart by type and value if they are plain; others may be changed
    from call to call, and make a key that can't be hashed.
    """
    flattening = tuple(
        tuple([_plain(x) if isinstance(x, tuple) else x for x in arguments])
        for _, arguments in flat_fun.transforms
    )
    return flat_fun.f, flattening, *(rule.f for rule in rules)


def rule_key(flat_rule: Any) -> Any:
    """What makes two rules that are but flattened the same, without their functions: the user's
    rule, and the flattening, less the function in it that tells the trees of outputs."""
    ((_, arguments),) = flat_rule.transforms
    return flat_rule.f, tuple([x for x in arguments if not isinstance(x, FunctionType)])


def _plain(arguments: tuple[Any, ...]) -> tuple[Any, ...]:
    """Arguments of a flattening, those that JAX wraps as fixed taken out of that if they are plain
    values. Their texts tell 0.0 from -0.0."""
    fixed = [x.val if isinstance(x, Unhashable) else x for x in arguments]
    return tuple(
        [
            (x.__class__, repr(x)) if x.__class__ in _PLAIN else y
            for x, y in zip(fixed, arguments, strict=True)
        ]
    )


def is_hashable(key: Any) -> bool:
    try:
        hash(key)
    except TypeError:
        return False
    return True


def flat_name(flat_function: Any) -> str:
    """The name of a function or rule, fit for the text; many rules are called just `_`."""
    return _fit(str(getattr(flat_function, "__name__", "rule")))


@lru_cache(maxsize=1024)
def _fit(name: str) -> str:
    return "".join(c if c.isalnum() or c == "_" else "_" for c in name).strip("_") or "rule"
