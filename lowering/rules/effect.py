"""Callbacks: JAX's own lowerings, with their functions numbered among those of the program."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ...ir.errors import CovectorError, MissingRule
from ...ir.graph import Equation, HostFunction, Opaque
from ...ir.ops import effect as ops
from ...ir.types import INT32, TensorType
from ..context import Context, MlirValue
from ..host import ordered_effects
from ..jax_compat import private_primitives, to_aval
from ..manual import automatic_axes, device_index, manual_computation
from ..monoids import compare
from ..ordered import borrow_with_host
from ..tables import lower

Operands = Sequence[MlirValue]
I32 = TensorType((), INT32)


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


@lower.rule(ops.pure_callback)
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


@lower.rule(ops.io_callback)
def lower_io_callback(ctx: Context, eqn: Equation, operands: Operands) -> Operands:
    if automatic_axes(ctx):
        raise MissingRule(
            "io_callback has no lowering in a shard_map that is manual along some axes only",
            eqn,
            stage="lowering",
            hint="make every axis of the mesh manual (leave out axis_names)",
        )
    return lower_callback(ctx, eqn, operands)


@lower.rule(ops.debug_callback, ops.debug_print)
def lower_debug(ctx: Context, eqn: Equation, operands: Operands) -> Operands:
    """Along the axes where the compiler places values, the first device does it, for all."""
    others = automatic_axes(ctx)
    if not others:
        return lower_callback(ctx, eqn, operands)

    def for_all(values: Operands) -> Operands:
        index = device_index(ctx, ctx.mesh, others)
        is_first = compare(ctx, "EQ", index, ctx.full(0, I32), I32)
        chosen = ctx.op("stablehlo.convert", I32, is_first)
        do = lambda _: lower_callback(ctx, eqn, values)
        return ctx.ops("stablehlo.case", [], (chosen,), [((), lambda _: ()), ((), do)])

    outer, ctx.manual = ctx.manual, {axes.union(others) for axes in ctx.manual}
    try:
        types = [ctx.types[x.type] for x in eqn.inputs]
        whole = [((),) * len(x.type.shape) for x in eqn.inputs]
        return manual_computation(
            ctx, ctx.mesh, others, (operands, types, whole), ((), ()), for_all
        )
    finally:
        ctx.manual = outer
