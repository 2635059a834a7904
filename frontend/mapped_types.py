"""Types that say themselves how `vmap` maps over them: jax.experimental.sparse has such.

Who registers a type with JAX gives functions that make an element of a whole, and a whole of an
element, of JAX's own tracers in a batch. So JAX's `vmap` does these calls, and covector sees what
it records.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Hashable
from typing import Any

import jax

from .jax_compat import is_mapped_type, mapped_types, specification_types


class MappedTypeFound(Exception):
    """A function returns a value of such a type."""


def holds_mapped_types(tree: Any) -> bool:
    """Whether there is a value of such a type in a tree."""
    if not mapped_types:
        return False
    return any(map(is_mapped_type, jax.tree.leaves(tree, is_leaf=is_mapped_type)))


def has_specifications(axes: Any) -> bool:
    """Whether there is a value among axes that only such types understand."""
    kinds = specification_types - {int}
    return any(type(x) in kinds for x in jax.tree.leaves(axes))


def without_mapped_types(fun: Callable[..., Any]) -> Callable[..., Any]:
    """fun, raising MappedTypeFound where it returns such a value."""
    if not mapped_types:
        return fun

    @functools.wraps(fun, updated=())
    def checked(*args: Any, **kwargs: Any) -> Any:
        out = fun(*args, **kwargs)
        if holds_mapped_types(out):
            raise MappedTypeFound
        return out

    return checked


def mapped_by_its_types(
    fun: Callable[..., Any],
    in_axes: Any,
    out_axes: Any,
    axis_name: Hashable | None,
    axis_size: int | None,
    spmd_axis_name: Hashable | None,
    sum_match: bool,
) -> Callable[..., Any]:
    """JAX's vmap of fun."""
    more = {"sum_match": True} if sum_match else {}
    mapped: Callable[..., Any] = jax.vmap(
        fun, in_axes, out_axes, axis_name, axis_size, spmd_axis_name, **more
    )
    return mapped
