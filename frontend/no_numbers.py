"""Arrays of float0, the dtype of no numbers, in the outputs of functions: programs do not have it.

In the tree of a traced function's outputs such an array is a node without leaves. When the outputs
are nested as that tree says, the array comes back.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import jax
import numpy as np

from .jax_compat import Tracer

FLOAT0 = jax.dtypes.float0
_ONE_LEAF: Final[Any] = jax.tree.structure(0)


def is_float0(x: Any) -> bool:
    """Whether x is the tangent of integers."""
    return getattr(x, "dtype", None) == FLOAT0


@jax.tree_util.register_pytree_node_class
class NoNumbers:
    """Stands for an array of float0 of this shape."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        self.shape = shape

    def tree_flatten(self) -> tuple[tuple[()], tuple[int, ...]]:
        return (), self.shape

    @classmethod
    def tree_unflatten(cls, shape: tuple[int, ...], _: Any) -> Any:
        return np.zeros(shape, FLOAT0)


def flatten_numbers(out: Any) -> tuple[list[Any], Any]:
    """`jax.tree.flatten` of a function's output, with arrays of float0 as part of the tree."""
    leaves, tree = jax.tree.flatten(out)
    hidden = [is_float0(x) and not isinstance(x, Tracer) for x in leaves]
    if not any(hidden):
        return leaves, tree
    marked = [
        NoNumbers(np.shape(x)) if is_hidden else x
        for x, is_hidden in zip(leaves, hidden, strict=True)
    ]
    return jax.tree.flatten(jax.tree.unflatten(tree, marked))


def shown(tree: Any) -> tuple[Any, list[bool]]:
    """The tree in which arrays of float0 are leaves, and for each leaf whether it has numbers."""
    if tree == _ONE_LEAF:
        return tree, [True]
    leaves, full = jax.tree.flatten(jax.tree.unflatten(tree, [0] * tree.num_leaves))
    return full, [not is_float0(x) for x in leaves]


def nest_mapped(tree: Any, outputs: Sequence[Any], axes: Sequence[int | None], size: int) -> Any:
    """The outputs of a mapped function nested as `tree` says. `axes` are those of all leaves, of
    arrays of float0 as well, which get the mapped axis here."""
    out = jax.tree.unflatten(tree, outputs)
    if len(axes) == len(outputs):
        return out
    leaves, full = jax.tree.flatten(out)
    mapped = [
        x if axis is None or not is_float0(x) else np.repeat(np.expand_dims(x, axis), size, axis)
        for x, axis in zip(leaves, axes, strict=True)
    ]
    return jax.tree.unflatten(full, mapped)


def with_float0(outputs: list[Any], params: Any) -> list[Any]:
    """The outputs of an operation of JAX's, arrays of float0 where its parameters say so."""
    return emptied(outputs, places_of_float0(_output_types(params)))


def places_of_float0(values: Sequence[Any]) -> list[int]:
    """Which of some values, or of their types, are of float0."""
    return [i for i, x in enumerate(values) if is_float0(x)]


def emptied(outputs: list[Any], places: Sequence[int]) -> list[Any]:
    """Outputs, with arrays of float0 in these places."""
    if not places:
        return outputs
    return [np.zeros(np.shape(x), FLOAT0) if i in places else x for i, x in enumerate(outputs)]


def _output_types(params: Any) -> Sequence[Any]:
    """JAX's types of what an operation with a jaxpr, or with an exported program, returns."""
    if "exported" in params:
        found: Sequence[Any] = params["exported"].out_avals
        return found
    jaxpr = params.get("jaxpr") or params.get("body_jaxpr") or params.get("branches", (None,))[0]
    return [v.aval for v in getattr(getattr(jaxpr, "jaxpr", jaxpr), "outvars", ())]
