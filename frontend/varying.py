"""Values inside of a `jax.shard_map` that JAX traces: along which of its axes they differ between
devices.

JAX notes that in types, with check_vma=True, its default; programs do not. Operands of an operation
must differ along the same axes: as JAX's functions do, values are declared to differ along more.
That is where JAX's derivatives sum cotangents over devices, and ours cannot know it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

import jax

from ..ir.errors import MissingRule, UsageError
from ..ir.graph import Graph
from ..ir.ops.collective import psum
from ..ir.ops.shard_map import psum_invariant, pvary, shard_map
from ..ir.primitive import Primitive
from .jax_compat_rules import declare_varying, notes_axes, varying_axes

HINT = "differentiate the whole shard_map, use jax.grad inside of it, or check_vma=False"


def together(values: Sequence[Any]) -> Sequence[Any]:
    """The operands of one operation, all differing along the axes along which one of them does."""
    if not notes_axes():
        return values
    axes = frozenset().union(*map(varying_axes, values))
    return [declare_varying(x, axes) for x in values]


def varying_as(values: Sequence[Any], others: Sequence[Any]) -> Sequence[Any]:
    """Values that differ along all axes that their counterparts do."""
    if not notes_axes():
        return values
    return [
        declare_varying(x, varying_axes(x) | varying_axes(other))
        for x, other in zip(values, others, strict=True)
    ]


def carried_alike(step: Callable[..., Sequence[Any]], carry: Sequence[Any]) -> tuple[Any, ...]:
    """What a loop carries, differing along all axes that what its step makes of it does.

    step: what is carried -> the same, one step on
    """
    while notes_axes():
        made = jax.eval_shape(step, *carry)
        if all(varying_axes(y) <= varying_axes(x) for x, y in zip(carry, made, strict=True)):
            break
        carry = varying_as(carry, made)
    return tuple(carry)


def returned_alike(
    branches: Sequence[Callable[..., tuple[Any, ...]]], operands: Sequence[Any]
) -> Sequence[Callable[..., tuple[Any, ...]]]:
    """Branches that return values which differ along the same axes, whichever is chosen."""
    if not notes_axes():
        return branches
    results = [map(varying_axes, jax.eval_shape(branch, *operands)) for branch in branches]
    axes = [frozenset[Any]().union(*each) for each in zip(*results, strict=True)]

    def aligned(branch: Callable[..., tuple[Any, ...]]) -> Callable[..., tuple[Any, ...]]:
        return lambda *arrays: tuple(map(declare_varying, branch(*arrays), axes))

    return list(map(aligned, branches))


def check_pulled(name: str, operands: Sequence[Any], is_active: Sequence[bool]) -> None:
    """Raise UsageError where a value to differentiate by is the same on devices on which others
    differ: JAX sums its cotangent over these devices."""
    if not notes_axes():
        return
    axes = frozenset().union(*map(varying_axes, operands))
    for x, active in zip(operands, is_active, strict=True):
        if active:
            _check(name, axes - varying_axes(x))


LINEAR_SUMS: Final = (psum_invariant, psum)
"""Sums over devices that are to be transposed: of values, and of tangents of a maximum."""
TRANSPOSED_SUMS: Final = (pvary, psum)
"""What they leave, once they are: outside of a shard_map nothing else leaves that."""


def check_sums(name: str, graph: Graph, sums: Sequence[Primitive] = LINEAR_SUMS) -> None:
    """Raise MissingRule where a sum over devices is transposed: JAX sums cotangents where what is
    the same on all devices meets what differs, and ours does not know where that is."""
    if not notes_axes():
        return
    todo, seen = [graph], {graph}
    while todo:
        for eqn in todo.pop().equations:
            if eqn.primitive in sums:
                raise MissingRule(
                    f"{name} sums over devices, and is differentiated inside of a shard_map, where "
                    "covector does not know which values differ between them",
                    eqn,
                    hint=HINT,
                )
            if eqn.primitive is not shard_map:  # what is inside says it
                new = [region for region in eqn.running() if region not in seen]
                seen.update(new)
                todo += new


def axes_of(values: Sequence[Any]) -> frozenset[Any] | None:
    """The axes along which some of these values differ, where that is noted."""
    return frozenset().union(*map(varying_axes, values)) if notes_axes() else None


def check_cotangents(name: str, cts: Sequence[Any], axes: frozenset[Any] | None) -> None:
    """The same for cotangents, of a function of values that differ along these axes."""
    if axes is not None and notes_axes():
        _check(name, frozenset().union(*map(varying_axes, cts)) - axes)


def _check(name: str, missing: frozenset[Any]) -> None:
    if missing:
        raise UsageError(
            f"{name} is differentiated inside of a shard_map by a value that is the same along "
            f"{', '.join(sorted(map(str, missing)))}, where others differ: covector does not "
            "know where its cotangents are to be summed",
            hint=HINT,
        )
