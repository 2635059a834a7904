"""What devices do together, inside of a shard_map; over an axis that nothing maps, an error."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxlib.mlir import ir

from ...ir.errors import UnboundAxisError
from ...ir.graph import Equation
from ...ir.ops import collective as ops
from ...ir.ops.shard_map import Mesh, groups_of, psum_invariant, pvary
from ...ir.types import INT32, TensorType
from ..context import Context, MlirValue
from ..manual import device_index
from ..monoids import compare, extremum
from ..tables import lower

Operands = Sequence[MlirValue]


def _mesh(ctx: Context, eqn: Equation) -> Mesh:
    """The mesh around an equation. Raises UnboundAxisError if it does not have the axes."""
    mesh, axes = ctx.mesh, ops.axes_of(eqn.params)
    if any(axis not in dict(mesh) for axis in axes):
        listed = ", ".join(map(str, axes))
        raise UnboundAxisError(
            f"{eqn.primitive.name} over the axis {listed} is left in the program",
            eqn,
            stage="lowering",
            hint=ops.NO_AXIS,
        )
    return mesh


def _groups(ctx: Context, eqn: Equation) -> dict[str, Any]:
    """Which devices do it together, as attributes of one channel of its own."""
    p = eqn.params
    groups = groups_of(_mesh(ctx, eqn), ops.axes_of(p), p.get("axis_index_groups"))
    return {"replica_groups": _matrix(groups), **_channel(ctx)}


def _matrix(rows: Sequence[Sequence[int]]) -> ir.Attribute:
    array: Any = np.asarray(rows, np.int64).reshape(len(rows), -1)
    made: ir.Attribute = ir.DenseElementsAttr.get(array)
    return made


def _channel(ctx: Context) -> dict[str, Any]:
    ctx.channels += 1
    text = f"#stablehlo.channel_handle<handle = {ctx.channels}, type = 1>"
    return {"channel_handle": ctx.attributes.parse(text)}


def _i64(n: int) -> ir.Attribute:
    return ir.IntegerAttr.get(ir.IntegerType.get_signless(64), n)


# -- reductions ----------------------------------------------------------------------------------


def _combine(ctx: Context, eqn: Equation, type: TensorType) -> Any:
    def body(pair: Operands) -> Operands:
        if eqn.primitive in (ops.pmax, ops.pmin):
            direction = "GT" if eqn.primitive is ops.pmax else "LT"
            return [extremum(ctx, direction, pair[0], pair[1], type)]
        return [ctx.op("stablehlo.add", type, *pair)]

    return [((type, type), body)]


@lower.rule(ops.psum, ops.pmax, ops.pmin, psum_invariant)
def lower_all_reduce(ctx: Context, eqn: Equation, operands: Operands) -> Operands:
    type = eqn.inputs[0].type
    groups = {**_groups(ctx, eqn), "use_global_device_ids": ir.UnitAttr.get()}
    regions = _combine(ctx, eqn, type.strong.with_shape(()))
    return ctx.ops("stablehlo.all_reduce", [type], operands, regions, **groups)


@lower.rule(ops.reduce_scatter)
def lower_reduce_scatter(ctx: Context, eqn: Equation, operands: Operands) -> Operands:
    """Tiled; otherwise the axis of one that is left goes."""
    p, type, out = eqn.params, eqn.inputs[0].type, eqn.outputs[0].type
    axis, shape = p["scatter_dimension"], list(type.shape)
    shape[axis] //= p["axis_size"]
    groups = {**_groups(ctx, eqn), "use_global_device_ids": ir.UnitAttr.get()}
    (part,) = ctx.ops(
        "stablehlo.reduce_scatter",
        [type.with_shape(tuple(shape))],
        operands,
        _combine(ctx, eqn, type.strong.with_shape(())),
        scatter_dimension=_i64(axis),
        **groups,
    )
    return [part if p["tiled"] else ctx.op("stablehlo.reshape", out, part)]


# -- exchanges -----------------------------------------------------------------------------------


@lower.rule(ops.all_gather)
def lower_all_gather(ctx: Context, eqn: Equation, operands: Operands) -> Operands:
    """Tiled; otherwise along a new axis."""
    p, type = eqn.params, eqn.inputs[0].type
    axis, (x,) = p["all_gather_dimension"], operands
    if not p["tiled"]:
        row = type.with_shape((*type.shape[:axis], 1, *type.shape[axis:]))
        x = ctx.op("stablehlo.reshape", row, x)
    groups = {**_groups(ctx, eqn), "use_global_device_ids": ir.UnitAttr.get()}
    out = [eqn.outputs[0].type]
    return ctx.ops("stablehlo.all_gather", out, [x], all_gather_dim=_i64(axis), **groups)


@lower.rule(ops.all_to_all)
def lower_all_to_all(ctx: Context, eqn: Equation, operands: Operands) -> Operands:
    p = eqn.params
    return ctx.ops(
        "stablehlo.all_to_all",
        [eqn.outputs[0].type],
        operands,
        split_dimension=_i64(p["split_axis"]),
        concat_dimension=_i64(p["concat_axis"]),
        split_count=_i64(p["axis_size"]),
        **_groups(ctx, eqn),
    )


@lower.rule(ops.ppermute)
def lower_ppermute(ctx: Context, eqn: Equation, operands: Operands) -> Operands:
    p = eqn.params
    groups = groups_of(_mesh(ctx, eqn), ops.axes_of(p))
    pairs = [(g[source], g[target]) for g in groups for source, target in p["perm"]]
    return ctx.ops(
        "stablehlo.collective_permute",
        [eqn.outputs[0].type],
        operands,
        source_target_pairs=_matrix(pairs),
        **_channel(ctx),
    )


@lower.rule(ops.pbroadcast)
def lower_pbroadcast(ctx: Context, eqn: Equation, operands: Operands) -> Operands:
    """The sum of what only the source has."""
    type, p = eqn.inputs[0].type, eqn.params
    i32 = TensorType((), INT32)
    index = device_index(ctx, _mesh(ctx, eqn), ops.axes_of(p))
    is_source = compare(ctx, "EQ", index, ctx.full(p["source"], i32), i32)
    own = ctx.op("stablehlo.select", type, is_source, operands[0], ctx.full(0, type))
    groups = {**_groups(ctx, eqn), "use_global_device_ids": ir.UnitAttr.get()}
    regions = _combine(ctx, eqn, type.strong.with_shape(()))
    return ctx.ops("stablehlo.all_reduce", [type], [own], regions, **groups)


# -- who is where --------------------------------------------------------------------------------


@lower.rule(ops.axis_index)
def lower_axis_index(ctx: Context, eqn: Equation, operands: Operands) -> Operands:
    return [device_index(ctx, _mesh(ctx, eqn), ops.axes_of(eqn.params))]


@lower.rule(pvary)
def lower_pvary(ctx: Context, eqn: Equation, operands: Operands) -> Operands:
    return operands
