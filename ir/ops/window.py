"""Reductions over sliding windows.

An operand is spread out (`base_dilation` d puts d - 1 gaps between elements), padded, and read by
windows whose elements lie `window_dilation` apart and which move by `window_strides`. Gaps and
padding hold the identity of the reduction.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from ..errors import TypeRuleError
from ..graph import Atom, Graph
from ..primitive import REQUIRED, Primitive, Types, define
from ..types import BOOL, TensorType, dtype_category, dtype_name
from .operands import NUMBER, accept, all_weak, same_dtype
from .reduction import check_combiner

if TYPE_CHECKING:
    from ..builder import Builder

Params = dict[str, Any]
Axes = tuple[int, ...]
Padding = tuple[tuple[int, int], ...]

WINDOW: Final = {
    "window_dimensions": REQUIRED,
    "window_strides": REQUIRED,
    "padding": REQUIRED,
}
DILATIONS: Final = {"base_dilation": REQUIRED, "window_dilation": REQUIRED}


def dilate(n: int, dilation: int) -> int:
    """The length of n elements with dilation - 1 gaps between them."""
    return (n - 1) * dilation + 1 if n else 0


def count_windows(length: int, window: int, stride: int) -> int:
    """How many windows fit into a padded axis."""
    return (length - window) // stride + 1 if length >= window else 0


def windowed_shape(
    shape: Axes, window: Axes, strides: Axes, padding: Padding,
    base_dilation: Axes | None = None, window_dilation: Axes | None = None,
) -> Axes:  # fmt: skip
    """The shape of one result for each window."""
    ones = (1,) * len(shape)
    axes = zip(
        shape, window, strides, padding, base_dilation or ones, window_dilation or ones,
        strict=True,
    )  # fmt: skip
    return tuple(
        count_windows(dilate(n, base) + low + high, dilate(w, spread), stride)
        for n, w, stride, (low, high), base, spread in axes
    )


def check_window(name: str, rank: int, params: Params) -> None:
    """Raise TypeRuleError unless the window has as many axes as the operand, and no empty ones."""
    for key in (*WINDOW, *DILATIONS):
        if key in params and len(params[key]) != rank:
            raise TypeRuleError(f"{name} of an array of rank {rank} has {key}={params[key]}")
        if key in params and key != "padding" and any(n < 1 for n in params[key]):
            raise TypeRuleError(f"{key} of {name} are positive, got {params[key]}")


def _infer_windows(name: str, x: TensorType, params: Params) -> Axes:
    check_window(name, x.ndim, params)
    return windowed_shape(
        x.shape,
        params["window_dimensions"],
        params["window_strides"],
        params["padding"],
        params.get("base_dilation"),
        params.get("window_dilation"),
    )


def _fold_extremum(b: Builder, inputs: tuple[Atom, ...], params: Params) -> Any:
    """Windows of one element, one for each, leave the operand as it is."""
    (x,) = inputs
    if params["window_dimensions"] != (1,) * len(x.type.shape):
        return None
    same = _infer_windows("", x.type, params) == x.type.shape
    is_padded = any(p != (0, 0) for p in params["padding"])
    return inputs if same and not is_padded else None


def _reduce_window(name: str, accepted: frozenset[str], **fields: Any) -> Primitive:
    def infer(types: Types, params: Params) -> TensorType:
        accept(name, types[0].dtype, accepted)
        return types[0].with_shape(_infer_windows(name, types[0], params))

    return define(name, infer, family="window", defaults={**WINDOW, **DILATIONS}, **fields)


reduce_window_sum = _reduce_window("reduce_window_sum", NUMBER, linear_in=(0,), jointly_linear=True)
reduce_window_max = _reduce_window("reduce_window_max", NUMBER | {"bool"}, fold=_fold_extremum)
reduce_window_min = _reduce_window("reduce_window_min", NUMBER | {"bool"}, fold=_fold_extremum)


def _infer_reduce_window(types: Types, params: Params) -> Types:
    operands, initial = types[: len(types) // 2], types[len(types) // 2 :]
    if not operands or len(operands) != len(initial):
        raise TypeRuleError(
            f"reduce_window takes an initial value for each operand, got {len(types)} inputs in all"
        )
    for x, init in zip(operands, initial, strict=True):
        if x.shape != operands[0].shape:
            raise TypeRuleError(
                f"reduce_window takes operands of one shape; got {[*map(str, operands)]}"
            )
        if init.shape or init.dtype != x.dtype:
            raise TypeRuleError(f"the initial value of reduce_window for {x} is {init}")
    check_combiner("reduce_window", params["graph"], operands)
    shape = _infer_windows("reduce_window", operands[0], params)
    return tuple(TensorType(shape, x.dtype) for x in operands)


reduce_window = define(
    "reduce_window",
    _infer_reduce_window,
    defaults={"graph": REQUIRED, **WINDOW, **DILATIONS},
    has_regions=True,
)
"""`reduce_window[graph, ...] x y x0 y0`: fold each window.

The graph (acc_x, acc_y, x, y) -> (acc_x, acc_y) is associative, and x0, y0 its identity.
"""

# -- selection within windows --------------------------------------------------------------------


def _check_selected(name: str, params: Params, types: Types) -> None:
    same_dtype(name, types)
    if params["select_prim"] not in ("ge", "le"):
        raise TypeRuleError(f"{name} selects by ge or le, not by {params['select_prim']!r}")


def _infer_select_and_gather_add(types: Types, params: Params) -> TensorType:
    values, keys = types
    _check_selected("select_and_gather_add", params, types)
    if values.shape != keys.shape:
        raise TypeRuleError(
            f"select_and_gather_add takes a value for each key; got {values} and {keys}"
        )
    shape = _infer_windows("select_and_gather_add", keys, params)
    return TensorType(shape, values.dtype, all_weak(types))


def _check_source(name: str, source: TensorType, operand: TensorType, params: Params) -> None:
    if source.shape != (shape := _infer_windows(name, operand, params)):
        raise TypeRuleError(f"{name} takes one value for each of its {shape} windows; got {source}")


def _infer_select_and_scatter_add(types: Types, params: Params) -> TensorType:
    source, keys = types
    _check_selected("select_and_scatter_add", params, types)
    _check_source("select_and_scatter_add", source, keys, params)
    return TensorType(keys.shape, source.dtype, all_weak(types))


def _infer_select_and_scatter(types: Types, params: Params) -> TensorType:
    x, source, init = types
    dtype = same_dtype("select_and_scatter", types)
    _check_source("select_and_scatter", source, x, params)
    select: Graph = params["select_graph"]
    scalar = TensorType((), dtype)
    takes = [t.strong for t in select.input_types]
    returns = [t.strong for t in select.output_types]
    if takes != [scalar, scalar] or returns != [TensorType((), BOOL)]:
        raise TypeRuleError(
            f"select_and_scatter of {dtype_name(dtype)} compares two {scalar} to a bool[]; "
            f"@{select.name} takes {select.input_types} and returns {select.output_types}"
        )
    check_combiner("select_and_scatter", params["scatter_graph"], (scalar,))
    if init.shape or dtype_category(dtype) == "extended":
        raise TypeRuleError(f"the initial value of select_and_scatter is a number, not {init}")
    return TensorType(x.shape, dtype, all_weak(types))


select_and_gather_add = define(
    "select_and_gather_add",
    _infer_select_and_gather_add,
    defaults={"select_prim": REQUIRED, **WINDOW, **DILATIONS},
    linear_in=(0,),
    jointly_linear=True,
)
"""`select_and_gather_add values keys`: from each window the value of its largest key (select_prim
ge; le: smallest), the first one's where several are equal: the tangent of reduce_window_max."""

select_and_scatter_add = define(
    "select_and_scatter_add",
    _infer_select_and_scatter_add,
    defaults={"select_prim": REQUIRED, **WINDOW},
    linear_in=(0,),
    jointly_linear=True,
)
"""`select_and_scatter_add source keys`: zeros of the keys' shape, and each window's source added to
where its largest key is: the transpose of select_and_gather_add."""

select_and_scatter = define(
    "select_and_scatter",
    _infer_select_and_scatter,
    defaults={"select_graph": REQUIRED, "scatter_graph": REQUIRED, **WINDOW},
    has_regions=True,
)
"""`select_and_scatter x source init`: inits, and each window's source combined by `scatter_graph`
into where the element is that `select_graph` prefers to all before it."""
