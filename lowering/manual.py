"""Computations that devices do each for itself, along some axes of a mesh: Shardy's."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from jaxlib.mlir import ir

from ..ir.errors import CovectorError
from ..ir.ops.shard_map import Mesh, Spec
from ..ir.types import INT32, TensorType
from .context import Context, MlirValue, create

Values = Sequence[MlirValue]
UINT32 = np.dtype(np.uint32)


def manual_computation(
    ctx: Context,
    mesh: Mesh,
    axes: Sequence[str],
    operands: tuple[Values, Sequence[ir.Type], Sequence[Spec]],
    results: tuple[Sequence[ir.Type], Sequence[Spec]],
    body: Callable[[Values], Values],
) -> list[MlirValue]:
    """What `body` makes of the part of every operand that is on a device, of these types. It
    reads nothing of what is around it: captured arrays are operands, the same for all."""
    inputs, types, in_specs = operands
    named = ", ".join(f'"{name}"' for name in axes)
    made = create(
        "sdy.manual_computation",
        results[0],
        inputs,
        {
            "in_shardings": _shardings(ctx, mesh, in_specs, types),
            "out_shardings": _shardings(ctx, mesh, results[1], results[0]),
            "manual_axes": ctx.attributes.parse(f"#sdy<manual_axes{{{named}}}>"),
        },
        regions=1,
        loc=ctx.location,
    )
    block = made.regions[0].blocks.append(*types, arg_locs=[ctx.location] * len(types))
    scalars, constants, location = ctx.scalars, ctx.constants, ctx.location
    ctx.scalars = {}
    with ir.InsertionPoint(block):
        outputs = body(list(block.arguments))
        create("sdy.return", [], list(outputs), loc=location)
    ctx.scalars, ctx.constants, ctx.location = scalars, constants, location
    return list(made.results)


def _shardings(
    ctx: Context, mesh: Mesh, specs: Sequence[Spec], types: Sequence[ir.Type]
) -> ir.Attribute:
    """How values of these types are parted; keys have an axis more there, of their words."""
    axes = ", ".join(f'"{name}"={size}' for name, size in mesh)
    listed = []
    for spec, type in zip(specs, types, strict=True):
        whole = ((),) * (ir.RankedTensorType(type).rank - len(spec))
        cuts = (*spec, *whole)
        dims = ", ".join("{" + ", ".join(f'"{a}"' for a in cut) + "}" for cut in cuts)
        listed.append(f"<mesh<[{axes}]>, [{dims}]>")
    parsed: ir.Attribute = ctx.attributes.parse(f"#sdy.sharding_per_value<[{', '.join(listed)}]>")
    return parsed


def automatic_axes(ctx: Context) -> tuple[str, ...]:
    """The axes of more than one device along which the compiler places what is being lowered."""
    axes = [name for name, size in ctx.mesh if size > 1]
    found = {tuple(name for name in axes if name not in manual) for manual in ctx.manual}
    if len(found) > 1:
        raise CovectorError(
            "a function that depends on its place in the mesh is called where different axes are "
            "manual",
            ctx.equation,
            stage="lowering",
            hint="call it in shard_maps of the same axis_names, or leave out the jit around it",
        )
    return found.pop()


def device_index(ctx: Context, mesh: Mesh, axes: Sequence[str | None]) -> MlirValue:
    """The place of this device along the axes, the first of them major.

    A device knows its number only where it is alone along every axis of the mesh.
    """
    i32 = TensorType((), INT32)
    if all(dict(mesh)[axis] == 1 for axis in axes):  # type: ignore[index]
        return ctx.full(0, i32)
    others = automatic_axes(ctx)
    if not others:
        return _index(ctx, mesh, axes)
    alone = lambda _: [_index(ctx, mesh, axes)]
    (index,) = manual_computation(ctx, mesh, others, ((), (), ()), ([ctx.types[i32]], [()]), alone)
    return index


def _index(ctx: Context, mesh: Mesh, axes: Sequence[str | None]) -> MlirValue:
    """The number of this device, taken apart."""
    u32 = TensorType((), UINT32)
    names, sizes = [name for name, _ in mesh], dict(mesh)
    number = ctx.op("stablehlo.partition_id", u32)
    total: Any = None
    for axis in axes:
        place = names.index(axis)  # type: ignore[arg-type]
        stride = math.prod(sizes[name] for name in names[place + 1 :])
        part = ctx.op("stablehlo.divide", u32, number, ctx.full(stride, u32))
        part = ctx.op("stablehlo.remainder", u32, part, ctx.full(sizes[names[place]], u32))
        if total is not None:
            total = ctx.op("stablehlo.multiply", u32, total, ctx.full(sizes[names[place]], u32))
            part = ctx.op("stablehlo.add", u32, total, part)
        total = part
    return ctx.op("stablehlo.convert", TensorType((), INT32), total)
