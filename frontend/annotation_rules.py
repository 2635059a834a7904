"""Layouts and metadata, which JAX keeps in objects of its own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
from jax import lax
from jax.experimental.layout import Layout

from ..ir.builder import Builder
from ..ir.graph import Equation
from ..ir.ops.annotation import (
    attribute_value,
    composite,
    layout_constraint,
    plain_attribute,
)
from .export import closed_jaxpr, eval_graph, jitted
from .export_rules import binds
from .export_rules import converts as exports
from .importer import Params, body_graph, records
from .importer import converts as imports
from .jax_primitives import jax_primitives

Atoms = tuple[Any, ...]
Pairs = tuple[tuple[str, str], ...]


@records("zeros_like")
def _zeros_like(b: Builder, inputs: Atoms, params: Params) -> Atoms:
    return (b.full(inputs[0].type, 0),)


# -- layouts ---------------------------------------------------------------------------------------


def constrained(b: Builder, x: Any, layout: Layout) -> Any:
    """x in a memory layout."""
    sub_byte = layout.sub_byte_element_size_in_bits
    return b.emit(
        layout_constraint,
        x,
        major_to_minor=layout.major_to_minor,
        tiling=layout.tiling,
        sub_byte_element_size_in_bits=sub_byte,
    )[0]


@records("layout_constraint")
def _layout_constraint(b: Builder, inputs: Atoms, params: Params) -> Atoms:
    return (constrained(b, inputs[0], params["layout"]),)


@exports("layout_constraint")
def _export_layout_constraint(params: dict[str, Any]) -> dict[str, Any]:
    return {"layout": Layout(*params.values())}


# -- metadata --------------------------------------------------------------------------------------


def _texts(pairs: Any) -> Pairs:
    """Values as XLA is told them."""
    return tuple((k, str(v).lower() if isinstance(v, bool) else str(v)) for k, v in pairs)


@imports("xla_metadata_value")
def _metadata_value(params: Params) -> dict[str, Any]:
    return {"xla_metadata_kvs": _texts(params["xla_metadata_kvs"])}


@imports("xla_metadata_call")
def _metadata_call(params: Params) -> dict[str, Any]:
    ad_metadata = params["ad_metadata"]
    return {
        "graph": body_graph(params),
        "xla_metadata": _texts(params["xla_metadata"]),
        "ad_metadata": "same" if ad_metadata == "same" else _texts(ad_metadata),
    }


@binds("xla_metadata_call")
def _bind_metadata_call(eqn: Equation, arrays: Sequence[Any]) -> Sequence[Any]:
    """Versions of JAX that have no such call are told nothing."""
    theirs, p = jax_primitives().get("xla_metadata_call"), eqn.params
    if theirs is None:
        return list(jitted(p["graph"])(*arrays))
    rest = {"xla_metadata": p["xla_metadata"], "ad_metadata": p["ad_metadata"]}
    outputs: Sequence[Any] = theirs.bind(*arrays, jaxpr=closed_jaxpr(p["graph"]), **rest)
    return outputs


# -- composites ------------------------------------------------------------------------------------


@records("composite")
def _composite(b: Builder, inputs: Atoms, params: Params) -> Atoms:
    pairs = []
    for key, leaves, tree in params["attributes"]:
        arrays = [getattr(leaf, "val", leaf) for leaf in leaves]  # JAX makes arrays hashable
        pairs.append((key, plain_attribute(jax.tree.unflatten(tree, arrays))))
    rest = {"name": params["name"], "attributes": tuple(pairs), "version": params["version"]}
    return b.emit(composite, *inputs, graph=body_graph(params), **rest)


@binds("composite")
def _bind_composite(eqn: Equation, arrays: Sequence[Any]) -> Sequence[Any]:
    p = eqn.params

    def decomposition(*arrays: Any, **attributes: Any) -> tuple[Any, ...]:
        return tuple(eval_graph(p["graph"], arrays))

    attributes = {key: attribute_value(plain) for key, plain in p["attributes"]}
    outputs: Sequence[Any] = lax.composite(decomposition, p["name"], p["version"])(
        *arrays, **attributes
    )
    return outputs
