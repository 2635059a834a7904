"""Values inside of a `jax.shard_map` that JAX traces: along which of its axes they differ between
devices.

JAX notes that in types, with check_vma=True, its default; programs do not. Operands of an operation
must differ along the same axes: as JAX's functions do, values are declared to differ along more.
That is where JAX's derivatives sum cotangents over devices, and ours cannot know it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..ir.errors import UsageError
from .jax_compat_rules import declare_varying, notes_axes, varying_axes


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


def check_pulled(name: str, operands: Sequence[Any], is_active: Sequence[bool]) -> None:
    """Raise UsageError where a value to differentiate by is the same on devices on which others
    differ: JAX sums its cotangent over these devices."""
    if not notes_axes():
        return
    axes = frozenset().union(*map(varying_axes, operands))
    for x, active in zip(operands, is_active, strict=True):
        missing = axes - varying_axes(x)
        if active and missing:
            raise UsageError(
                f"{name} is differentiated inside of a shard_map by a value that is the same along "
                f"{', '.join(sorted(map(str, missing)))}, where others differ: covector does not "
                "know where its cotangents are to be summed",
                hint="differentiate the whole shard_map, use jax.grad inside of it, or "
                "check_vma=False",
            )
