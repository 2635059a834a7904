"""What the builder simplifies as it makes shape equations: no-ops, and chains of two.

Each function returns the outputs that replace the equation, or None. All of it is exact: elements
are moved and repeated, never computed. A fold never makes more equations than it saves.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ..errors import TypeRuleError
from ..graph import Atom, Literal
from ..primitive import PRIMITIVES
from ..types import TensorType

if TYPE_CHECKING:
    from ..builder import Builder

Folded = tuple[Atom, ...] | None
Inputs = tuple[Atom, ...]
Params = dict[str, Any]
Fold = Callable[["Builder", Inputs, Params], Folded]


def unless_weak(fold: Fold) -> Fold:
    """The fold where no operand that has a tangent is weakly typed.

    Derivatives of such an operation are strongly typed in JAX; those of no operation would be as
    weakly typed as its operand.
    """

    def fold_strong(b: Builder, inputs: Inputs, params: Params) -> Folded:
        for x in inputs:
            if x.type.weak and x.type.has_tangent:
                return None
        return fold(b, inputs, params)

    return fold_strong


def repeated_scalar(b: Builder, x: Atom) -> Atom | None:
    """The scalar that every element of an array is, where the array is made of one."""
    made = b.definition(x)
    if made is None or made.primitive.name != "broadcast_in_dim":
        return None
    return None if made.inputs[0].type.shape else made.inputs[0]


def repeated(b: Builder, name: str, inputs: Inputs, params: Params) -> Folded:
    """What an operation that only moves elements of its first operand makes of a repeated scalar:
    that scalar, repeated."""
    scalar = repeated_scalar(b, inputs[0])
    if scalar is None:
        return None
    try:
        made = PRIMITIVES[name].output_types(tuple([x.type for x in inputs]), params)
    except TypeRuleError:  # raised again by whoever makes the equation, with its place
        return None
    assert isinstance(made, TensorType)
    return (b.broadcast(scalar, made.shape, ()),)


def fold_broadcast_in_dim(b: Builder, inputs: Inputs, params: Params) -> Folded:
    """broadcast(x) of x's own shape is x; broadcast(broadcast(x)) is one broadcast."""
    (x,) = inputs
    shape, axes = params["shape"], params["broadcast_dimensions"]
    if shape == x.type.shape and axes == tuple(range(len(shape))):
        return (x,)
    inner = b.definition(x)
    if inner is None or inner.primitive.name != "broadcast_in_dim":
        return None
    if any(axis >= len(shape) for axis in axes) or len(axes) != len(x.type.shape):
        return None  # ill typed: the type rule says why
    composed = tuple([axes[i] for i in inner.params["broadcast_dimensions"]])
    return b.emit(inner.primitive, *inner.inputs, shape=shape, broadcast_dimensions=composed)


def fold_reshape(b: Builder, inputs: Inputs, params: Params) -> Folded:
    """reshape(x) to x's own shape is x; reshape(reshape(x)) is one reshape.

    So is a reshape of a scalar that was broadcast, or of an axis inserted or dropped.
    """
    (x,) = inputs
    shape = params["new_sizes"]
    if shape == x.type.shape:
        return (x,)
    inner = b.definition(x)
    if inner is None:
        return None
    if inner.primitive.name in ("reshape", "squeeze"):
        return b.emit(PRIMITIVES["reshape"], *inner.inputs, new_sizes=shape)
    return repeated(b, "reshape", inputs, params)


def fold_transpose(b: Builder, inputs: Inputs, params: Params) -> Folded:
    """The identity permutation is x; two transposes are one."""
    (x,) = inputs
    permutation = params["permutation"]
    if permutation == tuple(range(len(x.type.shape))):
        return (x,)
    inner = b.definition(x)
    if inner is None or sorted(permutation) != list(range(len(x.type.shape))):
        return None
    if inner.primitive.name == "transpose":
        first = inner.params["permutation"]
        composed = tuple([first[i] for i in permutation])
        return b.emit(inner.primitive, *inner.inputs, permutation=composed)
    if inner.primitive.name == "broadcast_in_dim":
        place = {axis: i for i, axis in enumerate(permutation)}
        axes = tuple([place[axis] for axis in inner.params["broadcast_dimensions"]])
        if axes == tuple(sorted(axes)):
            shape = tuple([x.type.shape[i] for i in permutation])
            return b.emit(inner.primitive, *inner.inputs, shape=shape, broadcast_dimensions=axes)
    return None


def fold_squeeze(b: Builder, inputs: Inputs, params: Params) -> Folded:
    return inputs if not params["dimensions"] else None


def fold_concatenate(b: Builder, inputs: Inputs, params: Params) -> Folded:
    return inputs if len(inputs) == 1 else None


@unless_weak
def fold_pad(b: Builder, inputs: Inputs, params: Params) -> Folded:
    """Padding by nothing is x."""
    config = params["padding_config"]
    if any(low or high or interior for low, high, interior in config):
        return None
    x, padding = (v.type for v in inputs)
    is_valid = len(config) == len(x.shape) and (padding.shape, padding.dtype) == ((), x.dtype)
    return inputs[:1] if is_valid else None


def fold_rev(b: Builder, inputs: Inputs, params: Params) -> Folded:
    """Reversing nothing is x; so is reversing the same axes twice."""
    (x,) = inputs
    if not params["dimensions"]:
        return (x,)
    inner = b.definition(x)
    if inner is None or inner.primitive.name != "rev":
        return repeated(b, "rev", inputs, params)
    return inner.inputs if set(inner.params["dimensions"]) == set(params["dimensions"]) else None


def fold_tile(b: Builder, inputs: Inputs, params: Params) -> Folded:
    reps = params["reps"]
    if all(r == 1 for r in reps) and len(reps) == len(inputs[0].type.shape):
        return inputs
    return None


def fold_slice(b: Builder, inputs: Inputs, params: Params) -> Folded:
    """The slice that is all of x is x."""
    (x,) = inputs
    strides = params["strides"]
    whole = params["limit_indices"] == x.type.shape and not any(params["start_indices"])
    if whole and (strides is None or all(s == 1 for s in strides)):
        return (x,)
    return repeated(b, "slice", inputs, params)


@unless_weak
def fold_dynamic_slice(b: Builder, inputs: Inputs, params: Params) -> Folded:
    """A window as large as x is x; one that starts at literals is a slice."""
    x, *starts = inputs
    sizes, shape = params["slice_sizes"], x.type.shape
    if len(sizes) != len(shape) or len(starts) != len(shape):
        return None  # ill typed
    if sizes == shape:
        return (x,)
    same = repeated(b, "dynamic_slice", inputs, params)
    if same is not None:
        return same
    places = []
    for start, size, n in zip(starts, sizes, shape, strict=True):
        if not isinstance(start, Literal) or not 0 <= size <= n:
            return None
        places.append(min(max(int(start.value), 0), n - size))
    limits = tuple([start + size for start, size in zip(places, sizes, strict=True)])
    return b.emit(
        PRIMITIVES["slice"], x, start_indices=tuple(places), limit_indices=limits, strides=None
    )


def fold_gather(b: Builder, inputs: Inputs, params: Params) -> Folded:
    """Windows that all lie inside of a repeated scalar are that scalar, repeated."""
    is_inside = params["mode"] in ("CLIP", "PROMISE_IN_BOUNDS")
    return repeated(b, "gather", inputs, params) if is_inside else None


def fold_dynamic_update_slice(b: Builder, inputs: Inputs, params: Params) -> Folded:
    """An update as large as x replaces all of it."""
    x, update, *starts = inputs
    same = update.type is x.type and len(starts) == len(x.type.shape)
    return (update,) if same else None
