"""Callbacks: JAX's own lowerings, with their functions numbered among those of the program."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ...ir.errors import CovectorError
from ...ir.graph import Equation, HostFunction, Opaque
from ...ir.ops import effect as ops
from ...ir.types import TensorType
from ..context import Context, MlirValue
from ..host import ordered_effects
from ..jax_compat import private_primitives, to_aval
from ..ordered import borrow_with_host
from ..tables import lower

Operands = Sequence[MlirValue]


def jax_params(eqn: Equation) -> tuple[Any, dict[str, Any]]:
    """The JAX primitive and parameters of a callback. Refuses one read from text."""
    callback: Opaque = eqn.params["callback"]
    if isinstance(callback, HostFunction):
        params: dict[str, Any] = {"callback": callback, "sharding": None, "vmap_method": None}
        primitive = private_primitives()["pure_callback"]
    else:
        if callback.held is None:
            callback()  # which says so
        primitive, held = callback.held
        params = dict(held)
    if "out_types" in eqn.params:
        types = [TensorType(shape, dtype) for shape, dtype in eqn.params["out_types"]]
        params["result_avals"] = tuple(map(to_aval, types))
    return primitive, params


@lower.rule(ops.debug_callback, ops.debug_print, ops.pure_callback, ops.io_callback)
def lower_callback(ctx: Context, eqn: Equation, operands: Operands) -> Operands:
    primitive, params = jax_params(eqn)
    types = tuple(x.type.strong for x in eqn.inputs), [v.type for v in eqn.outputs]
    key = (eqn.params["callback"], eqn.params.get("out_types"), *types[0])
    ordered = ordered_effects(eqn.effects)
    try:
        return borrow_with_host(ctx, primitive, *types, operands, params, key, ordered)
    except (NotImplementedError, RuntimeError, ValueError) as error:
        raise CovectorError(
            f"{eqn.primitive.name} is not available on {' and '.join(ctx.platforms)}",
            eqn,
            stage="lowering",
            hint=str(error),
        ) from None
