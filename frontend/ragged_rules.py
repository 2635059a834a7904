"""Products of groups, whose axes JAX keeps in one object."""

from __future__ import annotations

import functools
from typing import Any

import jax
from jax import lax

from ..ir.errors import UsageError
from .export_rules import converts as exports
from .export_rules import precision_to_jax
from .importer import Params, plain
from .importer import converts as imports


@imports("ragged_dot_general")
def _import_ragged(params: Params) -> dict[str, Any]:
    if params["group_offset"] is not None:
        raise UsageError("ragged_dot_general with a group_offset is not supported")
    axes = params["ragged_dot_dimension_numbers"]
    return {
        "dimension_numbers": plain(axes.dot_dimension_numbers),
        "lhs_ragged_dimensions": plain(axes.lhs_ragged_dimensions),
        "rhs_group_dimensions": plain(axes.rhs_group_dimensions),
        "precision": plain(params["precision"]),
        "preferred_element_type": plain(params["preferred_element_type"]),
    }


@functools.cache
def _has_sharding() -> bool:
    """Whether the products of this version of JAX can be asked for a sharding."""
    x, n = jax.ShapeDtypeStruct((2, 2), "float32"), jax.ShapeDtypeStruct((1,), "int32")
    made = jax.make_jaxpr(lambda x, n: lax.ragged_dot(x, x[None], n))(x, n)
    return any("out_sharding" in eqn.params for eqn in made.eqns)


@exports("ragged_dot_general")
def _export_ragged(params: dict[str, Any]) -> dict[str, Any]:
    late = {"out_sharding": None} if _has_sharding() else {}
    return {
        **late,
        "ragged_dot_dimension_numbers": lax.RaggedDotDimensionNumbers(
            params["dimension_numbers"],
            params["lhs_ragged_dimensions"],
            params["rhs_group_dimensions"],
        ),
        "precision": precision_to_jax(params["precision"]),
        "preferred_element_type": params["preferred_element_type"],
        "group_offset": None,
    }
