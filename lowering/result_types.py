"""Types of results as JAX has them: with the mesh that the arguments are on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from ..ir.graph import Graph
from .jax_compat import TypeLike, to_aval


def types_on_mesh(
    graph: Graph, types: Sequence[TypeLike], in_shardings: Sequence[Any]
) -> list[TypeLike]:
    """The types of the outputs of a graph, whose last arguments have these shardings.

    JAX gives an output the sharding of the first argument that is on a mesh, in the same words, if
    it is parted alike and its type is of the same mesh: if it depends on an argument that is.
    """
    mine = in_shardings[len(in_shardings) - len(graph.inputs) :]
    meshes = list(map(_mesh_of, mine))
    mesh = next((m for m in meshes if m is not None), None)
    if mesh is None:  # which is usual
        return list(types)
    on_it = {v for v, m in zip(graph.inputs, meshes, strict=True) if m == mesh}
    for eqn in graph.equations:
        if not on_it.isdisjoint(eqn.inputs):
            on_it.update(eqn.outputs)
    return [_on(mesh, t) if v in on_it else t for v, t in zip(graph.outputs, types, strict=True)]


def _mesh_of(sharding: Any) -> Any:
    """The mesh of a NamedSharding, without its devices, if the compiler places values along it."""
    if not isinstance(sharding, NamedSharding):
        return None
    is_automatic = all(kind == AxisType.Auto for kind in sharding.mesh.axis_types)
    return sharding.mesh.abstract_mesh if is_automatic else None


def _on(mesh: Any, type_: TypeLike) -> jax.core.ShapedArray:
    aval = to_aval(type_)
    spec = PartitionSpec(*[None] * aval.ndim)
    placed: jax.core.ShapedArray = aval.update(sharding=NamedSharding(mesh, spec))
    return placed
