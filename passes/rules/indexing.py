"""How reading and writing parts of arrays transforms.

Transposed, reading a part becomes writing it among zeros, and writing a part becomes reading it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from ...ir.builder import Builder, Operand, Zero
from ...ir.graph import Equation
from ...ir.ops import indexing as ix
from ...ir.types import INT32, TensorType, scalar_type
from .. import tables
from ..tables import Operands, materialise_batch, unary_transpose
from .shape import shift

Axes = tuple[int, ...]
Batched = tuple[Operands, Sequence[bool]]
Params = dict[str, Any]


def zeros(b: Builder, shape: Axes, like: Operand) -> Operand:
    return b.full(TensorType(shape, like.type.dtype), 0)


def zeros_like(b: Builder, x: Operand, shape: Axes | None = None) -> Operand:
    """Zeros as weakly typed as x is."""
    return b.full(x.type if shape is None else x.type.with_shape(shape), 0)


# -- slice ---------------------------------------------------------------------------------------


@unary_transpose(ix.slice_)
def transpose_slice(b: Builder, eqn: Equation, ct: Operand) -> Operand:
    """Pad: what lay before, between and behind the elements taken becomes zeros."""
    start, strides = eqn.params["start_indices"], eqn.params["strides"]
    config = []
    for axis, n in enumerate(eqn.inputs[0].type.shape):
        step = 1 if strides is None else strides[axis]
        taken = ct.type.shape[axis]
        spanned = (taken - 1) * step + 1 if taken else 0
        config.append((start[axis], n - start[axis] - spanned, step - 1))
    return b.pad(ct, b.literal(0, ct.type.strong), padding_config=tuple(config))


@tables.batch.rule(ix.slice_)
def batch_slice(
    b: Builder, eqn: Equation, inputs: Operands, batched: Sequence[bool], size: int
) -> Batched:
    strides = eqn.params["strides"]
    params = {
        "start_indices": (0, *eqn.params["start_indices"]),
        "limit_indices": (size, *eqn.params["limit_indices"]),
        "strides": None if strides is None else (1, *strides),
    }
    return b.emit(ix.slice_, *inputs, **params), (True,)


# -- dynamic slices ------------------------------------------------------------------------------


@tables.transpose.rule(ix.dynamic_slice)
def transpose_dynamic_slice(
    b: Builder, eqn: Equation, cts: Operands, linear: Sequence[bool]
) -> Operands:
    x, *starts = eqn.inputs
    ct_x = b.dynamic_update_slice(zeros(b, x.type.shape, cts[0]), cts[0], *starts)
    return [ct_x, *(Zero(i.type) for i in starts)]


@tables.transpose.rule(ix.dynamic_update_slice)
def transpose_dynamic_update_slice(
    b: Builder, eqn: Equation, cts: Operands, linear: Sequence[bool]
) -> Operands:
    """The update's cotangent is the window; the operand's is all but the window."""
    (ct,) = cts
    x, update, *starts = eqn.inputs
    ct_x: Operand = Zero(x.type)
    ct_update: Operand = Zero(update.type)
    if linear[0]:
        ct_x = b.dynamic_update_slice(ct, zeros(b, update.type.shape, ct), *starts)
    if linear[1]:
        ct_update = b.dynamic_slice(ct, *starts, slice_sizes=update.type.shape)
    return [ct_x, ct_update, *(Zero(i.type) for i in starts)]


def first_start(b: Builder, starts: Operands) -> Operand:
    """The start along the batch axis."""
    return b.literal(0, starts[0].type if starts else scalar_type(INT32))


def batched_starts(
    b: Builder, eqn: Equation, starts: Operands, batched: Sequence[bool], size: int, window: Axes
) -> tuple[Operand, Axes]:
    """Starts as the indices of a gather, i32[size, k], and the k axes that they address.

    Axes that the window fills are left out: they start at 0 wherever they are told to.
    """
    shape = eqn.inputs[0].type.shape
    axes = tuple(i for i in range(len(shape)) if window[i] != shape[i])
    columns = [b.broadcast(starts[i], (size, 1), (0,) if batched[i] else ()) for i in axes]
    if not columns:
        return zeros(b, (size, 0), starts[0]), ()
    return b.concatenate(*columns, dimension=1), axes


@tables.batch.rule(ix.dynamic_slice)
def batch_dynamic_slice(
    b: Builder, eqn: Equation, inputs: Operands, batched: Sequence[bool], size: int
) -> Batched:
    """One window for all is a dynamic slice still; one for each example is a gather."""
    x, *starts = inputs
    window = eqn.params["slice_sizes"]
    if not any(batched[1:]):
        batch_start = first_start(b, starts)
        return b.emit(ix.dynamic_slice, x, batch_start, *starts, slice_sizes=(size, *window)), (
            True,
        )
    indices, axes = batched_starts(b, eqn, starts, batched[1:], size, window)
    both = batched[0]
    return b.emit(
        ix.gather,
        x,
        indices,
        offset_dims=tuple(range(1, len(window) + 1)),
        collapsed_slice_dims=(),
        start_index_map=shift(axes) if both else axes,
        operand_batching_dims=(0,) if both else (),
        start_indices_batching_dims=(0,) if both else (),
        slice_sizes=(min(size, 1), *window) if both else window,
        unique_indices=both,
        indices_are_sorted=both,
        mode="CLIP",
        fill_value=None,
    ), (True,)


@tables.batch.rule(ix.dynamic_update_slice)
def batch_dynamic_update_slice(
    b: Builder, eqn: Equation, inputs: Operands, batched: Sequence[bool], size: int
) -> Batched:
    """One window for all is written as a slice still; one for each example is a scatter."""
    x = materialise_batch(b, inputs[0], batched[0], size)
    update = materialise_batch(b, inputs[1], batched[1], size)
    starts = inputs[2:]
    if not any(batched[2:]):
        return b.emit(ix.dynamic_update_slice, x, update, first_start(b, starts), *starts), (True,)
    window = eqn.inputs[1].type.shape
    indices, axes = batched_starts(b, eqn, starts, batched[2:], size, window)
    return b.emit(
        ix.scatter,
        x,
        indices,
        update,
        update_window_dims=tuple(range(1, len(window) + 1)),
        inserted_window_dims=(),
        scatter_dims_to_operand_dims=shift(axes),
        operand_batching_dims=(0,),
        scatter_indices_batching_dims=(0,),
        indices_are_sorted=True,
        unique_indices=True,
        mode="CLIP",
    ), (True,)


# -- gather --------------------------------------------------------------------------------------

SCATTER_NAMES = {
    "offset_dims": "update_window_dims",
    "collapsed_slice_dims": "inserted_window_dims",
    "start_index_map": "scatter_dims_to_operand_dims",
    "operand_batching_dims": "operand_batching_dims",
    "start_indices_batching_dims": "scatter_indices_batching_dims",
    "indices_are_sorted": "indices_are_sorted",
    "unique_indices": "unique_indices",
    "mode": "mode",
}
"""The parameters of a gather, as the scatter that writes where it reads calls them."""


def scatter_params(gather_params: Params) -> Params:
    return {name: gather_params[ours] for ours, name in SCATTER_NAMES.items()}


def gather_params(params: Params, x: TensorType, updates: TensorType) -> Params:
    """The parameters of the gather that reads where a scatter writes; zeros where it does not."""
    found = {ours: params[name] for ours, name in SCATTER_NAMES.items()}
    dropped = (*params["inserted_window_dims"], *params["operand_batching_dims"])
    window = iter(updates.shape[i] for i in params["update_window_dims"])
    sizes = tuple(1 if i in dropped else next(window) for i in range(x.ndim))
    batching = params["operand_batching_dims"]
    found["slice_sizes"] = tuple(
        min(n, x.shape[i]) if i in batching else n for i, n in enumerate(sizes)
    )
    found["fill_value"] = 0 if params["mode"] == "FILL_OR_DROP" else None
    return found


@tables.jvp.rule(ix.gather)
def jvp_gather(b: Builder, eqn: Equation, tangents: Operands) -> Operands:
    """Gather the tangent; what was filled in has none."""
    fill = 0 if eqn.params["mode"] == "FILL_OR_DROP" else None
    return b.emit(ix.gather, tangents[0], eqn.inputs[1], **{**eqn.params, "fill_value": fill})


@tables.transpose.rule(ix.gather)
def transpose_gather(b: Builder, eqn: Equation, cts: Operands, linear: Sequence[bool]) -> Operands:
    x, indices = eqn.inputs
    at_zero = zeros(b, x.type.shape, cts[0])
    ct_x = b.scatter_add(at_zero, indices, cts[0], **scatter_params(eqn.params))
    return [ct_x, Zero(indices.type)]


@tables.batch.rule(ix.gather)
def batch_gather(
    b: Builder, eqn: Equation, inputs: Operands, batched: Sequence[bool], size: int
) -> Batched:
    """The batch axis is a window axis if only x has it, an index axis if only the indices do, and
    a batching axis if both do."""
    x_batched, indices_batched = batched
    p = dict(eqn.params)
    p["offset_dims"] = shift(p["offset_dims"])
    if x_batched:
        for name in ("collapsed_slice_dims", "start_index_map", "operand_batching_dims"):
            p[name] = shift(p[name])
        window = min(size, 1) if indices_batched else size
        p["slice_sizes"] = (window, *p["slice_sizes"])
    if indices_batched:
        p["start_indices_batching_dims"] = shift(p["start_indices_batching_dims"])
    if not indices_batched:
        p["offset_dims"] = (0, *p["offset_dims"])
    elif x_batched:
        p["operand_batching_dims"] = (0, *p["operand_batching_dims"])
        p["start_indices_batching_dims"] = (0, *p["start_indices_batching_dims"])
    else:  # examples may read the same elements, in any order
        p["unique_indices"] = p["indices_are_sorted"] = False
    return b.emit(ix.gather, *inputs, **p), (True,)


# -- scatters ------------------------------------------------------------------------------------


def writes_once(eqn: Equation) -> bool:
    """Whether no element is written twice: promised, or there is one window only."""
    indices = eqn.inputs[1].type
    return bool(eqn.params["unique_indices"]) or math.prod(indices.shape[:-1]) <= 1


def read_back(b: Builder, eqn: Equation, x: Operand) -> Operand:
    """What an array has where the scatter `eqn` writes."""
    params = gather_params(eqn.params, x.type, eqn.inputs[2].type)
    return b.gather(x, eqn.inputs[1], **params)


def _transpose_sum(negate: bool) -> tables.TransposeRule:
    def transpose_scatter_sum(
        b: Builder, eqn: Equation, cts: Operands, linear: Sequence[bool]
    ) -> Operands:
        x, indices, updates = eqn.inputs
        ct_updates: Operand = Zero(updates.type)
        if linear[2]:
            ct_updates = read_back(b, eqn, cts[0])
            ct_updates = b.neg(ct_updates) if negate else ct_updates
        return [cts[0] if linear[0] else Zero(x.type), Zero(indices.type), ct_updates]

    return transpose_scatter_sum


tables.transpose.define(ix.scatter_add, _transpose_sum(negate=False))
tables.transpose.define(ix.scatter_sub, _transpose_sum(negate=True))
