"""Collectives over axes that have a name, in and out of JAX. Positions become plain reductions."""

from __future__ import annotations

import math
from contextvars import ContextVar
from typing import Any, Final

from ..ir.builder import Builder
from ..ir.errors import UsageError
from ..ir.ops import collective as c
from ..ir.ops.reduction import reduce_max, reduce_min, reduce_sum
from ..ir.primitive import Primitive
from .export_rules import converts as exports
from .importer import Params, Record, plain, records
from .importer import converts as imports
from .jax_compat import axis_sizes

Atoms = tuple[Any, ...]

MESH: Final[ContextVar[dict[str, int] | None]] = ContextVar("the mesh", default=None)
"""The axes of the mesh, and their sizes, while the body of a shard_map is read."""


def axis_names(names: Any) -> tuple[str, ...]:
    """The names as a tuple of strings. Raises UsageError for others."""
    listed = tuple(names) if isinstance(names, (tuple, list)) else (names,)
    for name in listed:
        if not isinstance(name, str):
            raise UsageError(f"the axis name {name!r} is not a string")
    return listed


def _reduction(named: Primitive, positional: Primitive) -> Record:
    def record(b: Builder, inputs: Atoms, params: Params) -> Atoms:
        axes, groups = params["axes"], params.get("axis_index_groups")
        positions = tuple(axis for axis in axes if isinstance(axis, int))
        names = axis_names([axis for axis in axes if not isinstance(axis, int)])
        outputs = []
        for x in inputs:
            if positions:
                (x,) = b.emit(positional, x, axes=positions)
                x = b.convert(x, x.type.dtype)  # a collective's result is strongly typed
            if names:
                (x,) = b.emit(named, x, axes=names, axis_index_groups=plain(groups))
            outputs.append(x)
        return tuple(outputs)

    return record


for _name, _named, _positional in (
    ("psum", c.psum, reduce_sum), ("pmax", c.pmax, reduce_max), ("pmin", c.pmin, reduce_min),
):  # fmt: skip
    records(_name)(_reduction(_named, _positional))


@imports("ppermute", "pbroadcast", "all_gather", "reduce_scatter")
def _with_names(params: Params) -> dict[str, Any]:
    converted = {name: plain(value) for name, value in params.items() if name != "axis_name"}
    return {**converted, "axis_name": axis_names(params["axis_name"])}


@imports("all_to_all")
def _all_to_all(params: Params) -> dict[str, Any]:
    converted = _with_names(params)
    groups, sizes = params["axis_index_groups"], MESH.get() or axis_sizes()
    size = math.prod(sizes[name] for name in converted["axis_name"])
    return {**converted, "axis_size": len(groups[0]) if groups else size}


@exports("all_to_all")
def _without_size(params: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in params.items() if name != "axis_size"}
