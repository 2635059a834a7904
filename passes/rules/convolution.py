"""How convolutions transform.

Without groups and spatial axes a convolution is a matrix product of x[n, j] and w[k, j] over the
features j, and its transposes are those of a matrix product: in x a product with w[j, k], in w the
product of x[j, n] and ct[k, n] over the batch. Spatial axes make of these convolutions, groups of
features become groups of the batch and back:

                  z = x w           ct_x = ct w'         ct_w = x' ct'
    features      [n, gj] [gk, j]   [n, gk] [gj, k]      [gj, n] [gk, n]: batch groups
    batch         [gn, j] [gk, j]   [n, gk] [gj, k]      [j, gn] [k?]   : feature groups
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ...ir.builder import Builder, Operand, Zero
from ...ir.graph import Equation
from ...ir.ops import contraction as c
from ...ir.ops.window import Axes, dilate
from ...ir.types import TensorType
from .. import tables
from ..tables import Operands
from .contraction import axis_to_front
from .window import padding_of_transpose

Params = dict[str, Any]


def exchange_features(spec: Axes) -> Axes:
    """A spec with its first two axes exchanged: batch and feature, or output and input feature."""
    return (spec[1], spec[0], *spec[2:])


def merge_axis(b: Builder, x: Operand, source: int, target: int) -> Operand:
    """Make axis `source` the outer part of another, numbered `target` once `source` is gone."""
    order = [i for i in range(x.type.ndim) if i != source]
    order.insert(target, source)
    shape = [x.type.shape[i] for i in order]
    shape[target : target + 2] = [shape[target] * shape[target + 1]]
    return b.reshape(b.transpose(x, permutation=tuple(order)), new_sizes=tuple(shape))


def split_axis(b: Builder, x: Operand, axis: int, outer: int) -> Operand:
    """Split an axis in an outer axis of this length and the rest."""
    shape = list(x.type.shape)
    shape[axis : axis + 1] = [outer, shape[axis] // outer if outer else 0]
    return b.reshape(x, new_sizes=tuple(shape))


def spatial(type: TensorType, spec: Axes) -> Axes:
    return tuple(type.shape[i] for i in spec[2:])


def converted(b: Builder, x: Operand, type: TensorType) -> Operand:
    return x if x.type.dtype == type.dtype else b.convert(x, type.dtype, type.weak)


# -- transpose -----------------------------------------------------------------------------------


@tables.transpose.rule(c.conv_general_dilated)
def transpose_conv(b: Builder, eqn: Equation, cts: Operands, linear: Sequence[bool]) -> Operands:
    x, kernel = eqn.inputs
    if linear[0]:
        return [transpose_conv_lhs(b, eqn.params, cts[0], x.type, kernel), Zero(kernel.type)]
    return [Zero(x.type), transpose_conv_rhs(b, eqn.params, cts[0], x, kernel.type)]


def transpose_conv_lhs(
    b: Builder, p: Params, ct: Operand, x: TensorType, kernel: Operand
) -> Operand:
    """ct_x[n, j, i] = sum over k, q, p with p stride + q rhs_dilation - low = i lhs_dilation
    of ct[n, k, p] w[k, j, q]: the kernel reversed, and strides and dilation of x exchanged."""
    lhs_spec, rhs_spec, out_spec = p["lhs_spec"], p["rhs_spec"], p["out_spec"]
    padding = padding_of_transpose(
        spatial(x, lhs_spec), spatial(kernel.type, rhs_spec), spatial(ct.type, out_spec),
        p["window_strides"], p["padding"], p["lhs_dilation"], p["rhs_dilation"],
    )  # fmt: skip
    batch_groups = p["batch_group_count"]
    groups = max(p["feature_group_count"], batch_groups)
    if groups > 1:  # each group's output features are contracted, its input features stay apart
        kernel = split_axis(b, kernel, rhs_spec[0], groups)
        kernel = merge_axis(b, kernel, rhs_spec[0], rhs_spec[1])
    reverse = b.rev(kernel, dimensions=rhs_spec[2:])
    ct_x = b.conv_general_dilated(
        ct,
        converted(b, reverse, ct.type),
        lhs_spec=out_spec,
        rhs_spec=exchange_features(rhs_spec),
        out_spec=lhs_spec,
        window_strides=p["lhs_dilation"],
        padding=padding,
        lhs_dilation=p["window_strides"],
        rhs_dilation=p["rhs_dilation"],
        feature_group_count=groups,
        batch_group_count=1,
        precision=p["precision"],
        preferred_element_type=p["preferred_element_type"],
    )
    ct_x = converted(b, ct_x, x)
    if batch_groups > 1:
        ct_x = split_axis(b, ct_x, lhs_spec[1], batch_groups)
        ct_x = merge_axis(b, ct_x, lhs_spec[1], lhs_spec[0])
    return ct_x


def transpose_conv_rhs(
    b: Builder, p: Params, ct: Operand, x: Operand, kernel: TensorType
) -> Operand:
    """ct_w[k, j, q] = sum over n, p of x[n, j, p stride + q rhs_dilation - low] ct[n, k, p]: the
    cotangent slides over x as a kernel whose elements lie `stride` apart, `rhs_dilation` a step."""
    if ct.type.size == 0:
        return Zero(kernel)
    lhs_spec, rhs_spec, out_spec = p["lhs_spec"], p["rhs_spec"], p["out_spec"]
    padding = []
    for i, (low, _) in enumerate(p["padding"]):
        length = dilate(x.type.shape[lhs_spec[2 + i]], p["lhs_dilation"][i])
        steps = dilate(kernel.shape[rhs_spec[2 + i]], p["rhs_dilation"][i])
        span = dilate(ct.type.shape[out_spec[2 + i]], p["window_strides"][i])
        padding.append((low, span + steps - 1 - length - low))
    ct_kernel = b.conv_general_dilated(
        converted(b, x, ct.type),
        ct,
        lhs_spec=exchange_features(lhs_spec),
        rhs_spec=exchange_features(out_spec),
        out_spec=exchange_features(rhs_spec),
        window_strides=p["rhs_dilation"],
        padding=tuple(padding),
        lhs_dilation=p["lhs_dilation"],
        rhs_dilation=p["window_strides"],
        feature_group_count=p["batch_group_count"],
        batch_group_count=p["feature_group_count"],
        precision=p["precision"],
        preferred_element_type=p["preferred_element_type"],
    )
    return converted(b, ct_kernel, kernel)


# -- batch ---------------------------------------------------------------------------------------


@tables.batch.rule(c.conv_general_dilated)
def batch_conv(
    b: Builder, eqn: Equation, inputs: Operands, batched: Sequence[bool], size: int
) -> tuple[Operands, Sequence[bool]]:
    """A convolution has one batch axis, so a second one goes into it, or into the features: as
    feature groups if both operands have it, into the output features if only the kernel does."""
    z = eqn.outputs[0].type
    if size == 0:
        return [b.full(z.with_shape((0, *z.shape)), 0)], (True,)
    x, kernel = inputs
    p = dict(eqn.params)
    lhs_batch, lhs_feature = p["lhs_spec"][:2]
    rhs_feature = p["rhs_spec"][0]
    out_batch, out_feature = p["out_spec"][:2]
    groups = max(p["feature_group_count"], p["batch_group_count"])
    if all(batched):
        by_batch = p["batch_group_count"] > 1
        p["batch_group_count" if by_batch else "feature_group_count"] *= size
        x = merge_axis(b, x, 0, lhs_batch if by_batch else lhs_feature)
        kernel = merge_axis(b, kernel, 0, rhs_feature)
        return [_split_off(b, b.conv_general_dilated(x, kernel, **p), out_feature, size)], (True,)
    if batched[0]:
        x = _merge_within_groups(b, x, lhs_batch, p["batch_group_count"])
        return [_split_off(b, b.conv_general_dilated(x, kernel, **p), out_batch, size)], (True,)
    kernel = _merge_within_groups(b, kernel, rhs_feature, groups)
    z = b.conv_general_dilated(x, kernel, **p)
    if groups == 1:
        return [_split_off(b, z, out_feature, size)], (True,)
    # [groups, batch, features] -> [batch, groups, features]
    z = split_axis(b, split_axis(b, z, out_feature, groups), out_feature + 1, size)
    z = axis_to_front(b, z, out_feature + 1)
    return [b.reshape(z, new_sizes=(size, *eqn.outputs[0].type.shape))], (True,)


def _split_off(b: Builder, z: Operand, axis: int, size: int) -> Operand:
    """The batch axis out of the axis that it went into, and to the front."""
    return axis_to_front(b, split_axis(b, z, axis, size), axis)


def _merge_within_groups(b: Builder, x: Operand, axis: int, groups: int) -> Operand:
    """Merge the batch axis (in front) into an axis of the unbatched x, inside of its groups."""
    if groups == 1:
        return merge_axis(b, x, 0, axis)
    x = split_axis(b, x, axis + 1, groups)  # [batch, ..., groups, rest, ...]
    shape = x.type.shape
    order = (*range(1, axis + 2), 0, *range(axis + 2, len(shape)))
    x = b.transpose(x, permutation=order)
    merged = groups * shape[0] * shape[axis + 2]
    return b.reshape(x, new_sizes=(*shape[1 : axis + 1], merged, *shape[axis + 3 :]))
