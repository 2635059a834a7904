"""Indexing: parts of arrays read and written at positions that are fixed or computed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from ..errors import TypeRuleError
from ..graph import Graph
from ..primitive import REQUIRED, Primitive, Types, define
from ..types import TensorType, dtype_category, dtype_name
from .operands import ANY, NUMBER, accept, all_weak, same_dtype
from .shape import check_axes
from .shape_folds import fold_dynamic_slice, fold_dynamic_update_slice, fold_gather, fold_slice

Params = dict[str, Any]
Axes = tuple[int, ...]

MODES: Final = ("CLIP", "FILL_OR_DROP", "PROMISE_IN_BOUNDS")
"""What happens to windows that do not lie inside of the operand: they are moved inside; they are
read as the fill value and not written; they do not occur."""


def check_indices(name: str, types: Sequence[TensorType]) -> None:
    """Raise TypeRuleError unless these are integers of one dtype."""
    if not types:
        return
    if dtype_category(types[0].dtype) not in ("int", "uint"):
        raise TypeRuleError(f"{name} takes integer indices, not {dtype_name(types[0].dtype)}")
    same_dtype(f"{name} indices", tuple(types))


def _check_starts(name: str, x: TensorType, starts: Types) -> None:
    if len(starts) != len(x.shape):
        raise TypeRuleError(f"{name} takes one start for each axis of {x}, got {len(starts)}")
    if any(t.shape for t in starts):
        raise TypeRuleError(f"the starts of {name} are scalars; got {[t.shape for t in starts]}")
    check_indices(name, starts)


def _check_window(name: str, window: Axes, shape: Axes) -> None:
    if len(window) != len(shape) or any(
        not 0 <= w <= n for w, n in zip(window, shape, strict=True)
    ):
        raise TypeRuleError(
            f"a window of shape {window} does not fit into the shape {shape} ({name})"
        )


def _infer_slice(types: Types, params: Params) -> TensorType:
    x = types[0]
    start, limit, strides = params["start_indices"], params["limit_indices"], params["strides"]
    if not len(start) == len(limit) == len(x.shape) or len(strides or start) != len(start):
        raise TypeRuleError(f"slice takes one start, limit and stride for each axis of {x}")
    for lo, hi, n in zip(start, limit, x.shape, strict=True):
        if not 0 <= lo <= hi <= n:
            raise TypeRuleError(f"slice from {lo} to {hi} of an axis of length {n}")
    if strides is None:
        return x.with_shape(tuple([hi - lo for lo, hi in zip(start, limit, strict=True)]))
    if any(s < 1 for s in strides):
        raise TypeRuleError(f"the strides of slice are positive, got {strides}")
    lengths = zip(start, limit, strides, strict=True)
    return x.with_shape(tuple(-((lo - hi) // s) for lo, hi, s in lengths))


def _infer_dynamic_slice(types: Types, params: Params) -> TensorType:
    x, starts = types[0], types[1:]
    _check_starts("dynamic_slice", x, starts)
    _check_window("dynamic_slice", params["slice_sizes"], x.shape)
    return TensorType(params["slice_sizes"], x.dtype, x.weak)


def _infer_dynamic_update_slice(types: Types, params: Params) -> TensorType:
    x, update, starts = types[0], types[1], types[2:]
    same_dtype("dynamic_update_slice", (x, update))
    _check_starts("dynamic_update_slice", x, starts)
    _check_window("dynamic_update_slice", update.shape, x.shape)
    return TensorType(x.shape, x.dtype, all_weak(types))


def _check_index_axes(
    name: str, x: TensorType, indices: TensorType, mapped: Axes, dropped: Axes,
    batching: Axes, indices_batching: Axes,
) -> None:  # fmt: skip
    """The conditions that gather and scatter share: which axes of the operand indices address."""
    check_indices(name, (indices,))
    rank, index_rank = len(x.shape), len(indices.shape) - 1
    if index_rank < 0:
        raise TypeRuleError(
            f"the last axis of {name}'s indices holds the coordinates; got {indices}"
        )
    check_axes(name, mapped, rank)
    check_axes(name, (*dropped, *batching), rank)
    check_axes(f"{name}'s indices", indices_batching, index_rank)
    if list(dropped) != sorted(dropped) or list(batching) != sorted(batching):
        raise TypeRuleError(f"{name} takes collapsed, inserted and batching axes in order")
    if len(mapped) != indices.shape[-1]:
        raise TypeRuleError(
            f"{name} maps {len(mapped)} coordinates; the indices hold {indices.shape[-1]}"
        )
    if not set(mapped).isdisjoint(batching):
        raise TypeRuleError(f"{name} indexes its batching axes {batching}")
    lengths = [x.shape[i] for i in batching]
    if lengths != [indices.shape[i] for i in indices_batching]:
        raise TypeRuleError(f"{name}'s batching axes differ in the operand and the indices")


def merge_axes(rank: int, window: Axes, window_shape: Axes, index_shape: Axes) -> Axes:
    """The shape whose axes `window` are a window's and whose others are those of the indices."""
    windows, others = iter(window_shape), iter(index_shape)
    return tuple(next(windows) if i in window else next(others) for i in range(rank))


def _infer_gather(types: Types, params: Params) -> TensorType:
    x, indices = types
    offset, collapsed = params["offset_dims"], params["collapsed_slice_dims"]
    batching, sizes = params["operand_batching_dims"], params["slice_sizes"]
    _check_index_axes(
        "gather", x, indices, params["start_index_map"], collapsed, batching,
        params["start_indices_batching_dims"],
    )  # fmt: skip
    check_mode("gather", params["mode"])
    if indices.size or len(sizes) != x.ndim:
        _check_window("gather", sizes, x.shape)
    if any(sizes[i] != 1 for i in collapsed) or any(sizes[i] > 1 for i in batching):
        raise TypeRuleError(f"gather drops axes of its window {sizes} that are not of length 1")
    window = tuple(n for i, n in enumerate(sizes) if i not in collapsed and i not in batching)
    if len(offset) != len(window) or list(offset) != sorted(offset):
        raise TypeRuleError(f"gather places the {len(window)} axes of its window at {offset}")
    rank = len(offset) + len(indices.shape) - 1
    check_axes("gather's result", offset, rank)
    return TensorType(merge_axes(rank, offset, window, indices.shape[:-1]), x.dtype, x.weak)


def check_mode(name: str, mode: str) -> None:
    if mode not in MODES:
        raise TypeRuleError(f"{name} has no mode {mode!r}", hint=f"modes: {', '.join(MODES)}")


def _infer_scatter(name: str, types: Types, params: Params) -> TensorType:
    x, indices, updates = types
    window_axes, inserted = params["update_window_dims"], params["inserted_window_dims"]
    batching = params["operand_batching_dims"]
    same_dtype(name, (x, updates))
    _check_index_axes(
        name, x, indices, params["scatter_dims_to_operand_dims"], inserted, batching,
        params["scatter_indices_batching_dims"],
    )  # fmt: skip
    check_mode(name, params["mode"])
    rank = len(window_axes) + len(indices.shape) - 1
    if len(updates.shape) != rank:
        raise TypeRuleError(f"{name} takes updates of rank {rank}, got {updates}")
    check_axes(f"{name}'s updates", window_axes, rank)
    kept = [i for i in range(len(x.shape)) if i not in inserted and i not in batching]
    if len(kept) != len(window_axes) or list(window_axes) != sorted(window_axes):
        raise TypeRuleError(f"{name} finds the {len(kept)} axes of its window at {window_axes}")
    window = tuple(updates.shape[i] for i in window_axes)
    if any(n > x.shape[i] for n, i in zip(window, kept, strict=True)):
        raise TypeRuleError(f"{name} writes windows of shape {window}, larger than its operand {x}")
    if merge_axes(rank, window_axes, window, indices.shape[:-1]) != updates.shape:
        raise TypeRuleError(f"the updates {updates} of {name} do not fit its indices {indices}")
    return x


def _scatter(name: str, accepted: frozenset[str], **fields: Any) -> Primitive:
    def infer(types: Types, params: Params) -> TensorType:
        accept(name, types[0].dtype, accepted)
        return _infer_scatter(name, types, params)

    return define(name, infer, defaults=SCATTER_PARAMS, **fields)


slice_ = define(
    "slice",
    _infer_slice,
    defaults={"start_indices": REQUIRED, "limit_indices": REQUIRED, "strides": None},
    linear_in=(0,),
    jointly_linear=True,
    fold=fold_slice,
)
dynamic_slice = define(
    "dynamic_slice",
    _infer_dynamic_slice,
    defaults={"slice_sizes": REQUIRED},
    linear_in=(0,),
    jointly_linear=True,
    fold=fold_dynamic_slice,
)
"""`dynamic_slice x *starts`: starts are moved so that the window lies inside of x."""

dynamic_update_slice = define(
    "dynamic_update_slice",
    _infer_dynamic_update_slice,
    linear_in=(0, 1),
    jointly_linear=True,
    fold=fold_dynamic_update_slice,
)
"""`dynamic_update_slice x update *starts`: x with a window replaced; starts as in dynamic_slice."""

gather = define(
    "gather",
    _infer_gather,
    defaults={
        "offset_dims": REQUIRED,
        "collapsed_slice_dims": REQUIRED,
        "start_index_map": REQUIRED,
        "operand_batching_dims": (),
        "start_indices_batching_dims": (),
        "slice_sizes": REQUIRED,
        "unique_indices": False,
        "indices_are_sorted": False,
        "mode": "FILL_OR_DROP",
        "fill_value": None,
    },
    linear_in=(0,),
    jointly_linear=True,
    float_params=True,
    fold=fold_gather,
)
"""`gather x indices`: for each position of the indices (less their last axis, which holds
coordinates) the window of x that starts there. Windows lie along the result's axes `offset_dims`,
without the window axes `collapsed_slice_dims` and `operand_batching_dims`; coordinate k addresses
axis `start_index_map[k]`. The batching axes of x and the indices are walked together."""

SCATTER_PARAMS: Final = {
    "update_window_dims": REQUIRED,
    "inserted_window_dims": REQUIRED,
    "scatter_dims_to_operand_dims": REQUIRED,
    "operand_batching_dims": (),
    "scatter_indices_batching_dims": (),
    "indices_are_sorted": False,
    "unique_indices": False,
    "mode": "FILL_OR_DROP",
}
SUM: Final[dict[str, Any]] = {"linear_in": (0, 2), "jointly_linear": True}

scatter = _scatter("scatter", ANY)
"""`scatter x indices updates`: x with windows replaced. Where windows overlap, one of them wins."""

scatter_add = _scatter("scatter_add", NUMBER, **SUM)
scatter_sub = _scatter("scatter_sub", NUMBER, **SUM)
scatter_mul = _scatter("scatter_mul", NUMBER)
scatter_min = _scatter("scatter_min", NUMBER | {"bool"})
scatter_max = _scatter("scatter_max", NUMBER | {"bool"})


def _infer_scatter_apply(types: Types, params: Params) -> TensorType:
    graph: Graph = params["graph"]
    scalar = [TensorType((), types[0].dtype)]
    if [t.strong for t in graph.input_types] != scalar or (
        [t.strong for t in graph.output_types] != scalar
    ):
        raise TypeRuleError(
            f"scatter_apply applies a function from {scalar[0]} to itself; @{graph.name} takes "
            f"{graph.input_types} and returns {graph.output_types}"
        )
    return _infer_scatter("scatter_apply", types, params)


scatter_apply = define(
    "scatter_apply",
    _infer_scatter_apply,
    defaults={"graph": REQUIRED, **SCATTER_PARAMS},
    has_regions=True,
)
"""`scatter_apply[graph, ...] x indices windows`: x with the graph applied to each element of the
windows, as often as one holds it. Of the last operand only its shape is read."""
