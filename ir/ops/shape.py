"""Shape primitives: they move, repeat, join and cut elements, and compute none."""

from __future__ import annotations

import math
from typing import Any

from ..errors import TypeRuleError
from ..primitive import REQUIRED, Types, define
from ..types import BOOL, TensorType, dtype_category, dtype_name
from . import shape_folds as folds
from .operands import all_weak, same_dtype

Params = dict[str, Any]


def check_axes(name: str, axes: tuple[int, ...], rank: int) -> None:
    """Raise TypeRuleError unless axes are distinct and in range(rank)."""
    for axis in axes:
        if not 0 <= axis < rank:
            raise TypeRuleError(f"{name} names axis {axis} of an array of rank {rank}")
    if len(set(axes)) != len(axes):
        raise TypeRuleError(f"{name} names an axis twice: {axes}")


def _infer_broadcast_in_dim(types: Types, params: Params) -> TensorType:
    x, shape, axes = types[0], params["shape"], params["broadcast_dimensions"]
    if len(axes) != len(x.shape):
        raise TypeRuleError(
            f"broadcast_in_dim places {len(axes)} axes of an operand of rank {len(x.shape)}"
        )
    check_axes("broadcast_in_dim", axes, len(shape))
    for axis, n in zip(axes, x.shape, strict=True):
        if n != 1 and n != shape[axis]:
            raise TypeRuleError(
                f"broadcast_in_dim cannot stretch an axis of length {n} to {shape[axis]}"
            )
    return TensorType(shape, x.dtype, x.weak)


def _infer_reshape(types: Types, params: Params) -> TensorType:
    x, shape = types[0], params["new_sizes"]
    if any(n < 0 for n in shape) or math.prod(shape) != x.size:
        raise TypeRuleError(f"reshape cannot make {x.shape} of {x.size} elements into {shape}")
    return TensorType(shape, x.dtype, x.weak)


def _infer_transpose(types: Types, params: Params) -> TensorType:
    x, permutation = types[0], params["permutation"]
    if sorted(permutation) != list(range(len(x.shape))):
        raise TypeRuleError(f"{permutation} is not a permutation of the axes of {x}")
    return TensorType(tuple([x.shape[i] for i in permutation]), x.dtype, x.weak)


def _infer_squeeze(types: Types, params: Params) -> TensorType:
    x, axes = types[0], params["dimensions"]
    check_axes("squeeze", axes, len(x.shape))
    if any(x.shape[i] != 1 for i in axes):
        raise TypeRuleError(f"squeeze drops axes of length 1; {axes} of {x} are not all so")
    return x.with_shape(tuple(n for i, n in enumerate(x.shape) if i not in axes))


def _infer_concatenate(types: Types, params: Params) -> TensorType:
    if not types:
        raise TypeRuleError("concatenate takes at least one operand")
    axis, first = params["dimension"], types[0]
    check_axes("concatenate", (axis,), len(first.shape))
    dtype = same_dtype("concatenate", types)
    rest = {(t.shape[:axis], t.shape[axis + 1 :]) for t in types}
    if len(rest) != 1:
        shapes = ", ".join(str(t.shape) for t in types)
        raise TypeRuleError(
            f"concatenate along axis {axis} of shapes that differ in others: {shapes}"
        )
    length = sum([t.shape[axis] for t in types])
    shape = (*first.shape[:axis], length, *first.shape[axis + 1 :])
    return TensorType(shape, dtype, all_weak(types))


def _infer_pad(types: Types, params: Params) -> TensorType:
    x, value = types
    config = params["padding_config"]
    dtype = same_dtype("pad", types)
    if value.shape:
        raise TypeRuleError(f"the padding value is a scalar, not {value}")
    if len(config) != len(x.shape):
        raise TypeRuleError(f"pad of {x} is given padding for {len(config)} axes")
    shape = []
    for n, (low, high, interior) in zip(x.shape, config, strict=True):
        if interior < 0:
            raise TypeRuleError("padding between elements cannot be negative")
        shape.append(low + high + (n + (n - 1) * interior if n else 0))
        if shape[-1] < 0:
            raise TypeRuleError(f"pad by {(low, high, interior)} leaves less than nothing of {n}")
    return TensorType(tuple(shape), dtype, all_weak(types))


def _infer_rev(types: Types, params: Params) -> TensorType:
    check_axes("rev", params["dimensions"], len(types[0].shape))
    return types[0]


def _infer_iota(types: Types, params: Params) -> TensorType:
    dtype, shape = params["dtype"], params["shape"]
    check_axes("iota", (params["dimension"],), len(shape))
    if any(n < 0 for n in shape):
        raise TypeRuleError(f"iota has no shape with negative lengths, {shape}")
    if dtype == BOOL or dtype_category(dtype) == "extended":
        raise TypeRuleError(f"iota counts in numbers, not in {dtype_name(dtype)}")
    return TensorType(shape, dtype)


def _infer_split(types: Types, params: Params) -> Types:
    x, sizes, axis = types[0], params["sizes"], params["axis"]
    check_axes("split", (axis,), len(x.shape))
    if any(n < 0 for n in sizes) or sum(sizes) != x.shape[axis]:
        raise TypeRuleError(f"split of axis {axis} of {x} into {sizes}: the sum is not its length")
    return tuple(x.with_shape((*x.shape[:axis], n, *x.shape[axis + 1 :])) for n in sizes)


def _infer_tile(types: Types, params: Params) -> TensorType:
    x, reps = types[0], params["reps"]
    if len(reps) != len(x.shape) or any(r < 0 for r in reps):
        raise TypeRuleError(f"tile takes one count for each axis of {x}, got {reps}")
    return x.with_shape(tuple(n * r for n, r in zip(x.shape, reps, strict=True)))


def _infer_stack(types: Types, params: Params) -> TensorType:
    if not types:
        raise TypeRuleError("stack takes at least one operand")
    axis, shape = params["axis"], types[0].shape
    check_axes("stack", (axis,), len(shape) + 1)
    if any(t.shape != shape for t in types):
        raise TypeRuleError(f"stack takes operands of one shape; got {[t.shape for t in types]}")
    shape = (*shape[:axis], len(types), *shape[axis:])
    return TensorType(shape, same_dtype("stack", types), all_weak(types))


def _infer_unstack(types: Types, params: Params) -> Types:
    x, axis = types[0], params["axis"]
    check_axes("unstack", (axis,), len(x.shape))
    return (x.with_shape((*x.shape[:axis], *x.shape[axis + 1 :])),) * x.shape[axis]


LINEAR: dict[str, Any] = {"linear_in": (0,), "jointly_linear": True}

broadcast_in_dim = define(
    "broadcast_in_dim",
    _infer_broadcast_in_dim,
    defaults={"shape": REQUIRED, "broadcast_dimensions": REQUIRED},
    fold=folds.fold_broadcast_in_dim,
    **LINEAR,
)
"""Axis i of the operand becomes axis `broadcast_dimensions[i]`; axes of length 1 are stretched."""

reshape = define(
    "reshape", _infer_reshape, defaults={"new_sizes": REQUIRED}, fold=folds.fold_reshape, **LINEAR
)
transpose = define(
    "transpose",
    _infer_transpose,
    defaults={"permutation": REQUIRED},
    fold=folds.fold_transpose,
    **LINEAR,
)
"""Axis i of the result is axis `permutation[i]` of the operand."""

squeeze = define(
    "squeeze", _infer_squeeze, defaults={"dimensions": REQUIRED}, fold=folds.fold_squeeze, **LINEAR
)
concatenate = define(
    "concatenate",
    _infer_concatenate,
    defaults={"dimension": REQUIRED},
    fold=folds.fold_concatenate,
)
pad = define(
    "pad",
    _infer_pad,
    defaults={"padding_config": REQUIRED},
    linear_in=(0, 1),
    jointly_linear=True,
    fold=folds.fold_pad,
)
"""`pad x value`: (low, high, interior) for each axis; negative low and high cut elements off."""

rev = define("rev", _infer_rev, defaults={"dimensions": REQUIRED}, fold=folds.fold_rev, **LINEAR)
iota = define(
    "iota",
    _infer_iota,
    defaults={"dtype": REQUIRED, "shape": REQUIRED, "dimension": REQUIRED},
    not_differentiable="it takes no operands",
)
split = define("split", _infer_split, defaults={"sizes": REQUIRED, "axis": REQUIRED}, **LINEAR)
tile = define("tile", _infer_tile, defaults={"reps": REQUIRED}, fold=folds.fold_tile, **LINEAR)
stack = define("stack", _infer_stack, defaults={"axis": REQUIRED})
unstack = define("unstack", _infer_unstack, defaults={"axis": REQUIRED}, **LINEAR)
empty = define(
    "empty",
    lambda types, params: TensorType(params["shape"], params["dtype"]),
    defaults={"shape": REQUIRED, "dtype": REQUIRED},
    family="shape",
    not_differentiable="it takes no operands",
)
"""An array that nobody has written yet: its elements are arbitrary (here, zeros)."""

empty2 = define(
    "empty2",
    lambda types, params: TensorType((), params["dtype"]),
    defaults={"dtype": REQUIRED},
    family="shape",
    not_differentiable="it takes no operands",
)
tie = define(
    "tie",
    lambda types, params: types[1],
    family="shape",
    linear_in=(1,),
    jointly_linear=True,
)
"""`tie x y` is y, and cannot be computed before x is."""

optimization_barrier = define(
    "optimization_barrier",
    lambda types, params: types,
    family="shape",
)
"""Its operands, which no compiler may move, merge or simplify across it."""

dce_sink = define(
    "dce_sink",
    lambda types, params: (),
    defaults={"prevent_mlir_dce": False},
    family="shape",
    effects=frozenset({"no_dce"}),
    not_differentiable="it has no outputs",
)
"""Keeps the program that computes its operand; has no outputs."""
