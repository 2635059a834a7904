"""A linear function together with the function that is its transpose."""

from __future__ import annotations

from typing import Any

from ..errors import TypeRuleError
from ..graph import Graph
from ..primitive import REQUIRED, Types, define
from ..types import TensorType
from .call import check_arguments, function_alone


def _infer_linear_call(types: Types, params: dict[str, Any]) -> tuple[TensorType, ...]:
    graph: Graph = params["graph"]
    transpose, n = params["transpose"], params["num_residuals"]
    check_arguments("linear_call", graph, types)
    if not 0 <= n <= len(types):
        raise TypeRuleError(f"linear_call of {len(types)} operands has {n} residuals")
    if isinstance(transpose, Graph):
        check_arguments("the transpose of linear_call", transpose, types[:n] + graph.output_types)
        returned = [t.strong for t in transpose.output_types]
        if returned != [t.strong for t in types[n:]]:
            raise TypeRuleError(
                f"@{transpose.name} returns {transpose.output_types} as cotangents of operands of "
                f"types {types[n:]}"
            )
    return graph.output_types


linear_call = define(
    "linear_call",
    _infer_linear_call,
    defaults={"graph": REQUIRED, "transpose": REQUIRED, "num_residuals": REQUIRED},
    has_regions=True,
    user_rules=True,
    runs=function_alone,
    family="call",
)
"""`linear_call[graph, transpose] residuals | x -> y`: a function linear in x, whose transpose is by
definition `transpose`: residuals | cotangents of y -> cotangents of x."""
