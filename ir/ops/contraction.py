"""Contractions: sums of products over shared axes."""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np

from ..errors import TypeRuleError
from ..primitive import REQUIRED, Types, define
from ..types import Dtype, ExtendedDtype, TensorType, dtype_category, dtype_name, real_dtype
from .elementwise import all_weak, same_dtype
from .shape import check_axes
from .window import dilate, windowed_shape

Params = dict[str, Any]
Axes = tuple[int, ...]
DotAxes = tuple[tuple[Axes, Axes], tuple[Axes, Axes]]
"""((contracting axes of lhs, of rhs), (batch axes of lhs, of rhs))."""


def free_axes(rank: int, *taken: Axes) -> Axes:
    """The axes of an operand that are in none of the groups, in order."""
    return tuple(i for i in range(rank) if not any(i in group for group in taken))


def _width(dtype: np.dtype[Any]) -> int:
    category = dtype_category(dtype)
    if category == "bool":
        return 1
    if category in ("int", "uint"):
        return int(ml_dtypes.iinfo(dtype).bits)
    return int(ml_dtypes.finfo(dtype).bits)


def _precedence(dtype: Dtype) -> tuple[bool, int, int, int, bool]:
    """Dtypes of a mixed contraction are ordered by this; the larger is the result's."""
    part = real_dtype(dtype)
    if isinstance(part, ExtendedDtype):
        raise TypeRuleError(f"no arithmetic is defined for {dtype_name(dtype)}")
    info = ml_dtypes.finfo(part) if dtype_category(part) == "float" else None
    maxexp, nmant = (int(info.maxexp), int(info.nmant)) if info is not None else (-1, -1)
    signed = dtype_category(part) != "uint"
    return part != dtype, maxexp, nmant, _width(part), signed


def contraction_dtype(name: str, types: Types, params: Params) -> Dtype:
    """The dtype of a contraction: the larger of the operands', or `preferred_element_type`."""
    lhs, rhs = types[0].dtype, types[1].dtype
    result = lhs
    if lhs != rhs:
        left, right = _precedence(lhs), _precedence(rhs)
        if left == right:
            raise TypeRuleError(f"{name} cannot mix {dtype_name(lhs)} and {dtype_name(rhs)}")
        result = lhs if left > right else rhs
    elif isinstance(lhs, ExtendedDtype):
        raise TypeRuleError(f"no arithmetic is defined for {dtype_name(lhs)}")
    wanted: Dtype | None = params["preferred_element_type"]
    if wanted is None or wanted == result:
        return result
    by_algorithm = isinstance(params["precision"], str) or len(params["precision"] or ()) > 2
    if by_algorithm or dtype_category(result) == "float":
        return wanted
    if _precedence(wanted)[3] < _precedence(result)[3]:
        raise TypeRuleError(
            f"preferred_element_type {dtype_name(wanted)} of {name} is narrower than its "
            f"operands' {dtype_name(result)}"
        )
    return wanted


def _infer_dot_general(types: Types, params: Params) -> TensorType:
    lhs, rhs = types
    (lhs_contracting, rhs_contracting), (lhs_batch, rhs_batch) = params["dimension_numbers"]
    check_axes("dot_general", (*lhs_contracting, *lhs_batch), len(lhs.shape))
    check_axes("dot_general", (*rhs_contracting, *rhs_batch), len(rhs.shape))
    for verb, left, right in (
        ("contracts", lhs_contracting, rhs_contracting),
        ("batches", lhs_batch, rhs_batch),
    ):
        left_lengths = tuple([lhs.shape[i] for i in left])
        right_lengths = tuple([rhs.shape[i] for i in right])
        if left_lengths != right_lengths:
            raise TypeRuleError(
                f"dot_general {verb} axes of lengths {left_lengths} with {right_lengths}"
            )
    batch = [lhs.shape[i] for i in lhs_batch]
    left_free = [lhs.shape[i] for i in free_axes(len(lhs.shape), lhs_contracting, lhs_batch)]
    right_free = [rhs.shape[i] for i in free_axes(len(rhs.shape), rhs_contracting, rhs_batch)]
    dtype = contraction_dtype("dot_general", types, params)
    return TensorType((*batch, *left_free, *right_free), dtype, all_weak(types))


dot_general = define(
    "dot_general",
    _infer_dot_general,
    defaults={"dimension_numbers": REQUIRED, "precision": None, "preferred_element_type": None},
    linear_in=(0, 1),
)
"""Axes of the result: the batch axes, then the free axes of lhs, then those of rhs.

`precision` is None, a pair of names (one for each operand), the name of an algorithm preset
(BF16_BF16_F32), or an algorithm spelt out as a tuple of its seven properties.
"""

# -- convolution ---------------------------------------------------------------------------------


def _check_groups(name: str, groups: int, **lengths: int) -> None:
    if groups < 1:
        raise TypeRuleError(f"{name} of a convolution is positive, got {groups}")
    for what, n in lengths.items():
        if n % groups:
            raise TypeRuleError(f"{name} {groups} does not divide the {what} of length {n}")


def _check_convolution(lhs: TensorType, rhs: TensorType, params: Params) -> None:
    rank = len(lhs.shape)
    if rank < 2 or len(rhs.shape) != rank:
        raise TypeRuleError(f"a convolution takes operands of one rank; got {lhs} and {rhs}")
    for key in ("lhs_spec", "rhs_spec", "out_spec"):
        if sorted(params[key]) != list(range(rank)):
            raise TypeRuleError(f"{key}={params[key]} does not place {rank} axes")
    for key in ("window_strides", "padding", "lhs_dilation", "rhs_dilation"):
        if len(params[key]) != rank - 2:
            raise TypeRuleError(f"{key}={params[key]} of a convolution of {rank - 2} axes")
        if key != "padding" and any(n < 1 for n in params[key]):
            raise TypeRuleError(f"{key} of a convolution is positive, got {params[key]}")
    features, batch = params["feature_group_count"], params["batch_group_count"]
    n_in, n_out = lhs.shape[params["lhs_spec"][1]], rhs.shape[params["rhs_spec"][0]]
    _check_groups("feature_group_count", features, input_features=n_in, output_features=n_out)
    n_batch = lhs.shape[params["lhs_spec"][0]]
    _check_groups("batch_group_count", batch, batch=n_batch, output_features=n_out)
    if features > 1 and batch > 1:
        raise TypeRuleError("a convolution groups its features or its batch, not both")
    if n_in // features != rhs.shape[params["rhs_spec"][1]]:
        raise TypeRuleError(
            f"a convolution of {n_in} features in {features} groups takes a kernel of "
            f"{n_in // features} input features, not {rhs.shape[params['rhs_spec'][1]]}"
        )


def _infer_conv_general_dilated(types: Types, params: Params) -> TensorType:
    lhs, rhs = types
    _check_convolution(lhs, rhs, params)
    dtype = params["preferred_element_type"]
    dtype = same_dtype("conv_general_dilated", types) if dtype is None else dtype
    lhs_spec, rhs_spec = params["lhs_spec"], params["rhs_spec"]
    padding = params["padding"]
    spatial = tuple(lhs.shape[i] for i in lhs_spec[2:])
    lengths = zip(spatial, params["lhs_dilation"], padding, strict=True)
    if any(dilate(n, d) + low + high < 0 for n, d, (low, high) in lengths):
        raise TypeRuleError(f"the padding {padding} of a convolution leaves less than nothing")
    window = tuple(rhs.shape[i] for i in rhs_spec[2:])
    shape = [0] * len(lhs.shape)
    batch = lhs.shape[lhs_spec[0]] // params["batch_group_count"]
    windows = windowed_shape(
        spatial, window, params["window_strides"], padding,
        params["lhs_dilation"], params["rhs_dilation"],
    )  # fmt: skip
    features = rhs.shape[rhs_spec[0]]
    for axis, n in zip(params["out_spec"], (batch, features, *windows), strict=True):
        shape[axis] = n
    return TensorType(tuple(shape), dtype, all_weak(types))


conv_general_dilated = define(
    "conv_general_dilated",
    _infer_conv_general_dilated,
    defaults={
        "lhs_spec": REQUIRED,
        "rhs_spec": REQUIRED,
        "out_spec": REQUIRED,
        "window_strides": REQUIRED,
        "padding": REQUIRED,
        "lhs_dilation": REQUIRED,
        "rhs_dilation": REQUIRED,
        "feature_group_count": 1,
        "batch_group_count": 1,
        "precision": None,
        "preferred_element_type": None,
    },
    linear_in=(0, 1),
)
"""z[n, k, p] = sum over j, q of x[n, j, p stride + q rhs_dilation - low] w[k, j, q].

`lhs_spec` and `out_spec` say which axes are batch n, feature, and spatial; `rhs_spec`: output
feature k, input feature j, spatial. x is spread out by `lhs_dilation`. With feature groups, group
g of the output features reads group g of the input features; with batch groups, group g of the
output features reads group g of the batch.
"""
