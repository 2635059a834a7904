"""Layouts, metadata and composites, which JAX keeps in objects of its own."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

import jax
from jax import lax
from jax.experimental.layout import Layout
from jax.experimental.xla_metadata import set_xla_metadata

from ..ir.builder import Builder
from ..ir.errors import UsageError
from ..ir.graph import Equation
from ..ir.ops.annotation import (
    attribute_value,
    composite,
    layout_constraint,
    plain_attribute,
    xla_metadata_call,
)
from ..ir.ops.placement import DEVICE, HOST
from .compiler_attributes import PROCESSORS, processor_attributes, texts
from .export import closed_jaxpr, eval_graph, jitted
from .export_rules import binds
from .export_rules import converts as exports
from .importer import Params, body_graph, records
from .importer import converts as imports
from .jax_primitives import jax_primitives

Atoms = tuple[Any, ...]


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


@imports("xla_metadata_value")
def _metadata_value(params: Params) -> dict[str, Any]:
    return {"xla_metadata_kvs": texts(params["xla_metadata_kvs"])}


@binds("annotated")
def _bind_annotated(eqn: Equation, arrays: Sequence[Any]) -> Sequence[Any]:
    with set_xla_metadata(**dict(eqn.params["attributes"])):
        return eval_graph(eqn.params["graph"], arrays)


# -- calls -----------------------------------------------------------------------------------------


@records("compute_on")
def _compute_on(b: Builder, inputs: Atoms, params: Params) -> Atoms:
    """A call with the attributes, and its results in the memories that are asked for."""
    attributes = processor_attributes(params["compute_type"])
    options = params["compiler_options_json"]
    if options is not None:
        attributes = (*attributes, ("backend_config", options))
    elif attributes == (("_xla_compute_type", PROCESSORS["device"]),):
        attributes = (*attributes, ("inlineable", "false"))
    graph = body_graph(params)
    outputs = b.emit(xla_metadata_call, *inputs, graph=graph, xla_metadata=attributes)
    spaces = zip(outputs, params["out_memory_spaces"], strict=True)
    return tuple([_in_memory(b, x, space) for x, space in spaces])


def _in_memory(b: Builder, x: Any, space: Any) -> Any:
    if space == jax.memory.Space.Device:
        return x
    if space != jax.memory.Space.Host:
        raise UsageError(f"compute_on with a result in {space} is not supported")
    return b.device_put(x, source=DEVICE, target=HOST)


@imports("xla_metadata_call")
def _metadata_call(params: Params) -> dict[str, Any]:
    """Before JAX 0.12, what the call says is not in one parameter, but in one for each word."""
    ad_metadata = params.get("ad_metadata", "same")
    said = {k: v for k, v in params.items() if k not in ("jaxpr", "ad_metadata")}
    return {
        "graph": body_graph(params),
        "xla_metadata": texts(params.get("xla_metadata", said.items())),
        "ad_metadata": "same" if ad_metadata == "same" else texts(ad_metadata),
    }


@binds("xla_metadata_call")
def _bind_metadata_call(eqn: Equation, arrays: Sequence[Any]) -> Sequence[Any]:
    """Where this JAX has no such call, a call in a context that says the same of it."""
    theirs: Any = jax_primitives().get("xla_metadata_call")
    p = eqn.params
    if theirs is None:
        with set_xla_metadata(**dict(p["xla_metadata"])):
            return list(jitted(p["graph"])(*arrays))
    home = sys.modules.get("jax.experimental.scheduling_groups")
    if theirs is getattr(home, "xla_metadata_call_p", None):  # before JAX 0.12
        rest = dict(p["xla_metadata"])
    else:
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
