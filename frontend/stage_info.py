"""What the stages of a compiled function say of its arguments and results, as JAX's stages do."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import jax
import numpy as np

from ..ir.types import TensorType
from .avals import to_aval

if TYPE_CHECKING:
    from .stages import Traced


class StageInfo:
    """Arguments and results of a stage, nested as `(args, kwargs)` and as the function's output.

    Static arguments are part of the function: they are left out.
    """

    @property
    def _signature(self) -> Traced:
        raise NotImplementedError(f"{type(self).__name__} does not say what it was traced from")

    @property
    def fun_name(self) -> str:
        """The name of the function."""
        return self._signature.name

    @property
    def in_tree(self) -> Any:
        """How the arguments nest: a tree of `(args, kwargs)`."""
        return self._signature.argument_tree

    @property
    def out_tree(self) -> Any:
        """How the results nest."""
        return self._signature.result_tree

    @property
    def in_avals(self) -> Any:
        """The types of the arguments."""
        return jax.tree.unflatten(self.in_tree, map(to_aval, self._signature.in_types))

    @property
    def out_avals(self) -> Any:
        """The types of the results."""
        return jax.tree.unflatten(self.out_tree, map(to_aval, self._signature.out_types))

    @property
    def args_info(self) -> Any:
        """For each argument its type, and whether it is donated."""
        infos = [
            jax.stages.ArgInfo(to_aval(t), i in self.donate_argnums)
            for i, t in enumerate(self._signature.in_types)
        ]
        return jax.tree.unflatten(self.in_tree, infos)

    @property
    def donate_argnums(self) -> tuple[int, ...]:
        """The flat positions of donated arguments."""
        return self._signature.call.donated

    @property
    def out_info(self) -> Any:
        """For each result a jax.ShapeDtypeStruct."""
        return shapes_of(self.out_tree, self._signature.out_types)


def shapes_of(
    out_tree: Any, types: Sequence[TensorType], formats: Sequence[Any] | None = None
) -> Any:
    """A jax.ShapeDtypeStruct for each result; `formats` say where they are, and how laid out."""
    where = formats or [None] * len(types)
    out = jax.tree.unflatten(
        out_tree, [_shape(to_aval(t), s) for t, s in zip(types, where, strict=True)]
    )
    return jax.tree.map(_shape_of_float0, out)


def _shape(aval: Any, sharding: Any) -> Any:
    make: Any = jax.ShapeDtypeStruct
    return make(aval.shape, aval.dtype, sharding=sharding, weak_type=aval.weak_type)


def _shape_of_float0(x: Any) -> Any:
    return jax.ShapeDtypeStruct(x.shape, x.dtype) if isinstance(x, np.ndarray) else x
