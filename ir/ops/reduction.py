"""Reductions: an operation that combines the elements along some axes, which the result lacks."""

from __future__ import annotations

from typing import Any

from ..errors import TypeRuleError
from ..graph import Graph
from ..primitive import REQUIRED, Primitive, Types, define
from ..types import TensorType, dtype_category, dtype_name
from .elementwise_folds import fold_reduction
from .operands import ANY, BITS, DISCRETE, INTEGER, NUMBER, accept
from .shape import check_axes
from .shape_folds import unless_weak

Params = dict[str, Any]


def drop_axes(shape: tuple[int, ...], axes: tuple[int, ...]) -> tuple[int, ...]:
    """The shape without these axes."""
    return tuple([n for i, n in enumerate(shape) if i not in axes])


def _reduction(
    name: str, accepted: frozenset[str], keeps_weak: bool = True, **fields: Any
) -> Primitive:
    def infer(types: Types, params: Params) -> TensorType:
        x, axes = types[0], params["axes"]
        accept(name, x.dtype, accepted)
        check_axes(name, axes, len(x.shape))
        return TensorType(drop_axes(x.shape, axes), x.dtype, x.weak and keeps_weak)

    return define(name, infer, family="reduction", defaults={"axes": REQUIRED}, **fields)


reduce_sum = _reduction(
    "reduce_sum", NUMBER, linear_in=(0,), jointly_linear=True, fold=fold_reduction
)
reduce_prod = _reduction("reduce_prod", NUMBER, fold=fold_reduction)
reduce_max = _reduction("reduce_max", ANY - {"extended"}, fold=unless_weak(fold_reduction))
reduce_min = _reduction("reduce_min", ANY - {"extended"}, fold=unless_weak(fold_reduction))
reduce_and, reduce_or, reduce_xor = (
    _reduction(name, BITS, keeps_weak=False, not_differentiable=DISCRETE)
    for name in ("reduce_and", "reduce_or", "reduce_xor")
)


def _locator(name: str) -> Primitive:
    def infer(types: Types, params: Params) -> TensorType:
        x, axes = types[0], params["axes"]
        if len(axes) != 1:
            raise TypeRuleError(f"{name} searches along one axis, got {axes}")
        check_axes(name, axes, len(x.shape))
        if x.shape[axes[0]] == 0:
            raise TypeRuleError(f"{name} finds nothing along axis {axes[0]} of {x}: it is empty")
        if dtype_category(params["index_dtype"]) not in INTEGER:
            raise TypeRuleError(f"{name} returns integers, not {dtype_name(params['index_dtype'])}")
        return TensorType(drop_axes(x.shape, axes), params["index_dtype"])

    return define(
        name,
        infer,
        family="reduction",
        defaults={"axes": REQUIRED, "index_dtype": REQUIRED},
        not_differentiable=DISCRETE,
    )


argmax = _locator("argmax")
argmin = _locator("argmin")
"""The first position of the largest (smallest) element along an axis; of the first NaN, if any."""


def _infer_reduce(types: Types, params: Params) -> Types:
    graph, axes = params["graph"], params["dimensions"]
    operands, initial = types[: len(types) // 2], types[len(types) // 2 :]
    if not operands or len(operands) != len(initial):
        raise TypeRuleError(
            f"reduce takes an initial value for each operand, got {len(types)} inputs in all"
        )
    for x, init in zip(operands, initial, strict=True):
        check_axes("reduce", axes, len(x.shape))
        if x.shape != operands[0].shape:
            raise TypeRuleError(f"reduce takes operands of one shape; got {[*map(str, operands)]}")
        if init.shape or init.dtype != x.dtype:
            raise TypeRuleError(f"the initial value of reduce for {x} is {init}")
    check_combiner("reduce", graph, operands)
    return tuple(
        TensorType(drop_axes(x.shape, axes), x.dtype, x.weak and init.weak)
        for x, init in zip(operands, initial, strict=True)
    )


def check_combiner(name: str, graph: Graph, operands: Types) -> None:
    """The combiner takes two scalars for each operand, accumulated ones first, and returns one."""
    scalars = [TensorType((), x.dtype) for x in operands]
    takes = [t.strong for t in graph.input_types]
    returns = [t.strong for t in graph.output_types]
    if takes != [*scalars, *scalars] or returns != scalars:
        wanted = ", ".join(map(str, scalars))
        raise TypeRuleError(
            f"the combiner @{graph.name} of {name} takes ({wanted}, {wanted}) and returns "
            f"({wanted}); it takes {graph.input_types} and returns {graph.output_types}"
        )


reduce = define(
    "reduce",
    _infer_reduce,
    defaults={"dimensions": REQUIRED, "graph": REQUIRED},
    has_regions=True,
)
"""`reduce[dimensions, graph] x y x0 y0`: reduce several operands together.

The graph (acc_x, acc_y, x, y) -> (acc_x, acc_y) is associative, and x0, y0 its identity.
"""
