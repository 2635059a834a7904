"""Convolutions.

XLA's CPU backend has a fast convolution for one order of axes: batch, spatial, feature, with a
kernel of spatial, input feature, output feature. It brings others into that order, but only at the
top of a program: in the body of a loop, in a branch, in a function that stays one, they become
plain loops, ten times slower; and gradients of convolutions are convolutions in other orders. So
all of them are brought into that order here, on CPUs.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import jax
import ml_dtypes
import numpy as np
from jaxlib.mlir import ir
from jaxlib.mlir.dialects import stablehlo as hlo

from ...ir.graph import Equation
from ...ir.ops import contraction as ops
from ...ir.types import Dtype, TensorType, dtype_category, is_complex
from ..context import Context, MlirValue
from ..tables import lower
from .contraction import Operands, jax_precision, precision
from .shape import concatenate, slice_of
from .shifts import MOST, depthwise, depthwise_kernel, is_depthwise, is_depthwise_kernel

Spec = tuple[int, ...]
"""Axes: batch, feature, spatial ones; of a kernel: output feature, input feature, spatial ones."""

FAST: Final[frozenset[Dtype]] = frozenset(
    map(np.dtype, (np.float16, ml_dtypes.bfloat16, np.float32))
)
"""The dtypes of XLA's fast convolution on CPUs, which has one to three spatial axes."""


@lower.rule(ops.conv_general_dilated)
def lower_convolution(ctx: Context, eqn: Equation, operands: Operands) -> Operands:
    lhs, rhs = (x.type for x in eqn.inputs)
    out = eqn.outputs[0].type
    if is_complex(lhs.dtype) and not ctx.is_on("tpu"):
        return _complex_convolution(ctx, eqn, operands)
    is_float = lhs.dtype == rhs.dtype and dtype_category(lhs.dtype) == "float"
    if ctx.platforms == ("cpu",) and is_float:
        is_empty = not all([t.size for t in (lhs, rhs, out)])
        if is_depthwise(eqn) and not is_empty:
            return [depthwise(ctx, eqn, operands)]
        if is_depthwise_kernel(eqn) and not is_empty:
            return [depthwise_kernel(ctx, eqn, operands)]
        if lhs.dtype in FAST and 3 <= len(lhs.shape) <= 5:
            return [_in_fast_order(ctx, eqn, operands)]
    specs = tuple(eqn.params[f"{side}_spec"] for side in ("lhs", "rhs", "out"))
    return [_convolution(ctx, eqn.params, operands, specs, out)]


def _in_fast_order(ctx: Context, eqn: Equation, operands: Operands) -> MlirValue:
    p, out = eqn.params, eqn.outputs[0].type
    orders = [_as_images(p["lhs_spec"]), _as_kernel(p["rhs_spec"]), _as_images(p["out_spec"])]
    x, w = (
        _transposed(ctx, value, atom.type, order)
        for value, atom, order in zip(operands, eqn.inputs, orders[:2], strict=True)
    )
    types = [_moved(atom.type, order) for atom, order in zip(eqn.inputs, orders[:2], strict=True)]
    ordered = _moved(out, orders[2])
    if 1 < p["batch_group_count"] <= MOST:
        found = _group_by_group(ctx, p, (x, w), types, ordered)
    else:
        found = _convolution(ctx, p, (x, w), _fast_specs(len(out.shape)), ordered)
    return _transposed(ctx, found, ordered, tuple(np.argsort(orders[2]).tolist()))


def _group_by_group(
    ctx: Context,
    p: dict[str, Any],
    operands: Operands,
    types: Sequence[TensorType],
    out: TensorType,
) -> MlirValue:
    """A convolution for each group of images, in the fast order: XLA's for all of them, which the
    gradient by the kernel of a grouped convolution is, takes one element at a time."""
    count, rank = p["batch_group_count"], len(out.shape)
    alone = {**p, "batch_group_count": 1}
    part = out.with_shape((*out.shape[:-1], out.shape[-1] // count))
    found = []
    for i in range(count):
        group = [
            _part(ctx, value, type, axis, i, count)
            for value, type, axis in zip(operands, types, (0, rank - 1), strict=True)
        ]
        found.append(_convolution(ctx, alone, group, _fast_specs(rank), part))
    return concatenate(ctx, found, [part] * count, rank - 1)


def _part(ctx: Context, x: MlirValue, type: TensorType, axis: int, i: int, count: int) -> MlirValue:
    """The part i of so many equal ones along an axis."""
    start, limit = [0] * len(type.shape), list(type.shape)
    size = limit[axis] // count
    start[axis], limit[axis] = i * size, (i + 1) * size
    shape = tuple(b - a for a, b in zip(start, limit, strict=True))
    return slice_of(ctx, x, type.with_shape(shape), start, limit)


def _as_images(spec: Spec) -> Spec:
    """The axes of images in the order batch, spatial, feature."""
    return (spec[0], *spec[2:], spec[1])


def _as_kernel(spec: Spec) -> Spec:
    """The axes of a kernel in the order spatial, input feature, output feature."""
    return (*spec[2:], spec[1], spec[0])


def _fast_specs(rank: int) -> tuple[Spec, Spec, Spec]:
    images = (0, rank - 1, *range(1, rank - 1))
    return images, (rank - 1, rank - 2, *range(rank - 2)), images


def _moved(type: TensorType, order: Spec) -> TensorType:
    return type.with_shape(tuple(type.shape[i] for i in order))


def _transposed(ctx: Context, x: MlirValue, type: TensorType, order: Spec) -> MlirValue:
    """x, of this type, with its axes in another order."""
    if order == tuple(range(len(order))):
        return x
    permutation = ctx.attributes.integers(order)
    return ctx.op("stablehlo.transpose", _moved(type, order), x, permutation=permutation)


def _convolution(
    ctx: Context,
    p: dict[str, Any],
    operands: Operands,
    specs: Sequence[Spec],
    out: TensorType,
) -> MlirValue:
    attributes = ctx.attributes
    sizes: dict[str, ir.Attribute] = {
        name: attributes.integers(p[name])
        for name in ("window_strides", "lhs_dilation", "rhs_dilation")
    }
    return ctx.op(
        "stablehlo.convolution",
        out,
        *operands,
        dimension_numbers=_dimension_numbers(*specs),
        feature_group_count=attributes.integer(p["feature_group_count"]),
        batch_group_count=attributes.integer(p["batch_group_count"]),
        padding=attributes.dense(np.array(p["padding"], np.int64).reshape(-1, 2)),
        window_reversal=attributes.flags([False] * len(p["padding"])),
        precision_config=precision(ctx, p["precision"]),
        **sizes,
    )


def _dimension_numbers(lhs: Spec, rhs: Spec, result: Spec) -> Any:
    return hlo.ConvDimensionNumbers.get(
        input_batch_dimension=lhs[0],
        input_feature_dimension=lhs[1],
        input_spatial_dimensions=list(lhs[2:]),
        kernel_output_feature_dimension=rhs[0],
        kernel_input_feature_dimension=rhs[1],
        kernel_spatial_dimensions=list(rhs[2:]),
        output_batch_dimension=result[0],
        output_feature_dimension=result[1],
        output_spatial_dimensions=list(result[2:]),
    )


def _complex_convolution(ctx: Context, eqn: Equation, operands: Operands) -> Operands:
    """Three real convolutions, where XLA has no complex one worth the name."""
    params = dict(eqn.params)
    specs = [params.pop(f"{side}_spec") for side in ("lhs", "rhs", "out")]
    params["precision"] = jax_precision(params["precision"])
    params["dimension_numbers"] = jax.lax.ConvDimensionNumbers(*specs)
    types = [x.type for x in eqn.inputs], [eqn.outputs[0].type]
    return ctx.borrow("conv_general_dilated", *types, operands, out_sharding=None, **params)
