"""Contractions: sums of products over shared axes."""

from __future__ import annotations

from typing import Any, Final

import ml_dtypes
import numpy as np

from ..errors import TypeRuleError
from ..primitive import REQUIRED, Types, define
from ..types import Dtype, ExtendedDtype, TensorType, dtype_category, dtype_name, real_dtype
from .operands import all_weak, same_dtype
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


PRECISIONS: Final = ("DEFAULT", "HIGH", "HIGHEST")


def _check_precision(name: str, precision: Any) -> None:
    """Raise TypeRuleError for one name where a name for each operand is due."""
    if precision in PRECISIONS:
        pair = f'("{precision}", "{precision}")'
        raise TypeRuleError(
            f"{name} has a precision for each operand, got {precision!r}", hint=f"say {pair}"
        )
    if isinstance(precision, tuple) and len(precision) == 2 and not set(precision) <= {*PRECISIONS}:
        raise TypeRuleError(f"{name} has precisions {' '.join(PRECISIONS)}, got {precision}")


def contraction_dtype(name: str, types: Types, params: Params) -> Dtype:
    """The dtype of a contraction: the larger of the operands', or `preferred_element_type`."""
    _check_precision(name, params["precision"])
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


def product_shape(name: str, types: Types, numbers: DotAxes, grouped: Axes = ()) -> Axes:
    """Batch axes, free axes of lhs, free axes of rhs (but not those that are `grouped`)."""
    lhs, rhs = types[:2]
    (lhs_contracting, rhs_contracting), (lhs_batch, rhs_batch) = numbers
    check_axes(name, (*lhs_contracting, *lhs_batch), len(lhs.shape))
    check_axes(name, (*rhs_contracting, *rhs_batch, *grouped), len(rhs.shape))
    for verb, left, right in (
        ("contracts", lhs_contracting, rhs_contracting),
        ("batches", lhs_batch, rhs_batch),
    ):
        left_lengths = tuple([lhs.shape[i] for i in left])
        right_lengths = tuple([rhs.shape[i] for i in right])
        if left_lengths != right_lengths:
            raise TypeRuleError(
                f"{name} {verb} axes of lengths {left_lengths} with {right_lengths}"
            )
    left_free = free_axes(len(lhs.shape), lhs_contracting, lhs_batch)
    right_free = free_axes(len(rhs.shape), rhs_contracting, rhs_batch, grouped)
    batch = [lhs.shape[i] for i in lhs_batch]
    free = [lhs.shape[i] for i in left_free] + [rhs.shape[i] for i in right_free]
    return (*batch, *free)


def _infer_dot_general(types: Types, params: Params) -> TensorType:
    shape = product_shape("dot_general", types, params["dimension_numbers"])
    return TensorType(shape, contraction_dtype("dot_general", types, params), all_weak(types))


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

# -- products of groups --------------------------------------------------------------------------


def ragged_kind(rank: int, params: Params) -> str:
    """Which axis of lhs is cut in groups: a free, a contracting or a batch axis."""
    (lhs_contracting, _), (lhs_batch, _) = params["dimension_numbers"]
    ragged = params["lhs_ragged_dimensions"]
    if len(ragged) != 1:
        raise TypeRuleError(f"ragged_dot_general cuts one axis of lhs, not {ragged}")
    check_axes("ragged_dot_general", ragged, rank)
    if ragged[0] in lhs_contracting:
        return "contracting"
    return "batch" if ragged[0] in lhs_batch else "free"


def ragged_prefix(rank: int, params: Params) -> Axes:
    """The axes of lhs along which the sizes of the groups may differ, in their order."""
    (contracting, _), (batch, _) = params["dimension_numbers"]
    (ragged,) = params["lhs_ragged_dimensions"]
    if ragged in batch:
        return tuple(batch[: batch.index(ragged)])
    along = contracting if ragged in contracting else free_axes(rank, contracting, batch)
    return (*batch, *along[: along.index(ragged)])


def _infer_ragged_dot_general(types: Types, params: Params) -> TensorType:
    name, (lhs, rhs, sizes) = "ragged_dot_general", types
    grouped = params["rhs_group_dimensions"]
    kind = ragged_kind(len(lhs.shape), params)
    shape = product_shape(name, types, params["dimension_numbers"], grouped)
    if dtype_category(sizes.dtype) not in ("int", "uint") or not sizes.shape:
        raise TypeRuleError(f"{name} takes an array of integers as sizes of groups, not {sizes}")
    prefix = tuple(lhs.shape[i] for i in ragged_prefix(len(lhs.shape), params))
    if len(sizes.shape) != 1 and sizes.shape[:-1] != prefix:
        raise TypeRuleError(f"{name} takes sizes of shape {prefix} and groups, got {sizes}")
    if len(grouped) != (kind == "free"):
        raise TypeRuleError(f"{name} along a {kind} axis takes rhs with the group axes {grouped}")
    if kind == "free" and rhs.shape[grouped[0]] != sizes.shape[-1]:
        raise TypeRuleError(f"{name} has {sizes.shape[-1]} sizes for groups of {rhs}")
    shape = (sizes.shape[-1], *shape) if kind == "contracting" else shape
    return TensorType(shape, contraction_dtype(name, types, params), all_weak(types))


ragged_dot_general = define(
    "ragged_dot_general",
    _infer_ragged_dot_general,
    defaults={
        "dimension_numbers": REQUIRED,
        "lhs_ragged_dimensions": REQUIRED,
        "rhs_group_dimensions": REQUIRED,
        "precision": None,
        "preferred_element_type": None,
    },
    linear_in=(0, 1),
)
"""`ragged_dot_general x y sizes`: one axis of x is cut into groups of these sizes, one by one.

    a free axis m          z[b, m, n] = sum over k of x[b, m, k] y[group of m, b, k, n]
    a contracting axis k   z[g, b, m, n] = sum over the k of group g of x[b, m, k] y[b, k, n]
    a batch axis b         as dot_general

What lies behind the last group gives zeros, or nothing. Sizes are [groups], or differ along batch
axes and the axes before the one that is cut: [batch, before, groups].
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
