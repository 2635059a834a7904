"""Running graphs through XLA: 64-bit types as they are, random keys as JAX has them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np

from ..ir.graph import Graph, walk_graphs
from ..ir.ops.random import key_tag
from ..ir.types import TensorType, dtype_name
from .progress import say

_PUBLIC_NAMES: Final = {
    "fry": "threefry2x32", "fry4": "threefry4x32", "rbg": "rbg", "urbg": "unsafe_rbg",
    "phx2": "philox2x32", "phx4": "philox4x32",
}  # fmt: skip
"""JAX's name of each generator of random numbers, by the tag in the types of its keys."""


def run_xla(graph: Graph, arrays: Sequence[Any]) -> list[Any]:
    """The outputs of a graph, compiled for JAX's default device, as NumPy arrays."""
    import jax

    from ..frontend.execute import execute

    say("compiling and running with XLA")
    with jax.enable_x64(bool(jax.enable_x64.value) or uses_64_bits(graph)):
        arguments = [_to_jax(x, t) for x, t in zip(arrays, graph.input_types, strict=True)]
        outputs = execute(graph, arguments)
        return [_to_numpy(x, t) for x, t in zip(outputs, graph.output_types, strict=True)]


def uses_64_bits(graph: Graph) -> bool:
    """Whether a graph, or one that it holds, has values that JAX makes only in 64-bit mode."""
    types = {v.type for g in walk_graphs(graph) for v in g.inputs}
    types |= {v.type for g in walk_graphs(graph) for eqn in g.equations for v in eqn.outputs}
    return any(dtype_name(t.dtype) in ("f64", "i64", "u64", "c128") for t in types)


def _to_jax(x: Any, type: TensorType) -> Any:
    tag = key_tag(type.dtype)
    if tag is None:
        return x
    import jax

    from ..ir.interpret.keys import as_keys, unwrap

    words = jax.numpy.asarray(unwrap(as_keys(x, type)))
    return jax.random.wrap_key_data(words, impl=_PUBLIC_NAMES[tag])


def _to_numpy(x: Any, type: TensorType) -> Any:
    if key_tag(type.dtype) is None:
        return np.asarray(x)
    from ..ir.interpret.keys import as_keys

    return as_keys(x, type)
