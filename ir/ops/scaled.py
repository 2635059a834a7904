"""Products of matrices in few bits, whose blocks along the contracted axes have scales."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from ..errors import TypeRuleError
from ..primitive import REQUIRED, Types, define
from ..types import TensorType, dtype_category, dtype_from_name
from .contraction import Axes, product_shape

if TYPE_CHECKING:
    from ..builder import Builder

Params = dict[str, Any]
BF16: Final = dtype_from_name("bf16")
MATMUL: Final = (((2,), (2,)), ((0,), (0,)))
"""scaled_matmul's axes: [batch, m, k] times [batch, n, k]."""


def _check_scale(name: str, x: TensorType, scale: TensorType, contracting: Axes) -> None:
    """Raise TypeRuleError unless scales divide the contracted axes into blocks of one length."""
    if dtype_category(x.dtype) != "float" or dtype_category(scale.dtype) != "float":
        raise TypeRuleError(f"{name} takes floats and scales that are floats, not {x}, {scale}")
    if len(scale.shape) != len(x.shape):
        raise TypeRuleError(f"{name} takes scales of the operand's rank; got {scale} for {x}")
    for i, (n, blocks) in enumerate(zip(x.shape, scale.shape, strict=True)):
        fits = blocks and n % blocks == 0 if i in contracting and n else n == blocks
        if not fits:
            raise TypeRuleError(f"the scales {scale} of {name} do not divide axis {i} of {x}")


def _infer_scaled_dot(types: Types, params: Params) -> TensorType:
    lhs, rhs, lhs_scale, rhs_scale = types
    (lhs_contracting, rhs_contracting), _ = numbers = params["dimension_numbers"]
    shape = product_shape("scaled_dot", (lhs, rhs), numbers)
    _check_scale("scaled_dot", lhs, lhs_scale, lhs_contracting)
    _check_scale("scaled_dot", rhs, rhs_scale, rhs_contracting)
    return TensorType(shape, params["preferred_element_type"] or BF16)


def _infer_scaled_matmul(types: Types, params: Params) -> TensorType:
    if any(len(t.shape) != 3 for t in types):
        raise TypeRuleError(f"scaled_matmul takes stacks of matrices, got {[*map(str, types)]}")
    return _infer_scaled_dot(types, {**params, "dimension_numbers": MATMUL})


scaled_dot = define(
    "scaled_dot",
    _infer_scaled_dot,
    defaults={"dimension_numbers": REQUIRED, "preferred_element_type": None},
)
"""`scaled_dot lhs rhs lhs_scale rhs_scale`: the dot_general of lhs and rhs, each block of them
times its scale, in bfloat16. The axes of the result are dot_general's."""

scaled_matmul = define(
    "scaled_matmul", _infer_scaled_matmul, defaults={"preferred_element_type": REQUIRED}
)
"""`scaled_matmul lhs rhs lhs_scale rhs_scale`: [b, m, k], [b, n, k], [b, m, k'], [b, n, k'] ->
[b, m, n], in `preferred_element_type`. Each block of k / k' elements has a scale."""


def _times_scale(b: Builder, x: Any, scale: Any, contracting: Axes, dtype: Any) -> Any:
    """x in a wider dtype, each block of it times its scale."""
    shape = x.type.shape
    x, scale = b.convert(x, dtype), b.convert(scale, dtype)
    for i in contracting:
        blocks = scale.type.shape
        if blocks[i] != shape[i]:
            wide = (*blocks[: i + 1], shape[i] // blocks[i], *blocks[i + 1 :])
            kept = tuple(axis for axis in range(len(wide)) if axis != i + 1)
            whole = (*blocks[:i], shape[i], *blocks[i + 1 :])
            scale = b.reshape(b.broadcast(scale, wide, kept), new_sizes=whole)
    return b.mul(x, scale)


def expand(b: Builder, *operands: Any, **params: Any) -> Any:
    """The product written with dot_general. (scaled_dot computes in bfloat16 whatever it gives.)"""
    lhs, rhs, lhs_scale, rhs_scale = operands
    wanted = params["preferred_element_type"]
    is_matmul = "dimension_numbers" not in params
    numbers = MATMUL if is_matmul else params["dimension_numbers"]
    dtype = wanted if is_matmul else BF16
    (lhs_contracting, rhs_contracting), _ = numbers
    return b.dot_general(
        _times_scale(b, lhs, lhs_scale, lhs_contracting, dtype),
        _times_scale(b, rhs, rhs_scale, rhs_contracting, dtype),
        dimension_numbers=numbers,
        preferred_element_type=wanted or BF16,
    )
