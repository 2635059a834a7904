"""The forward rule of a function that need not run where nobody asks for a derivative."""

from __future__ import annotations

from typing import Any

from ..errors import TypeRuleError
from ..graph import Graph
from ..primitive import REQUIRED, Types, define
from ..types import TensorType
from .call import check_arguments, function_alone


def _infer_forward_call(types: Types, params: dict[str, Any]) -> tuple[TensorType, ...]:
    graph: Graph = params["graph"]
    function: Graph = params["function"]
    check_arguments("forward_call", graph, types)
    check_arguments("forward_call", function, types)
    made = graph.output_types[params["num_residuals"] :]
    if [t.strong for t in made] != [t.strong for t in function.output_types]:
        raise TypeRuleError(
            f"forward_call of @{graph.name} makes {', '.join(map(str, made))} and residuals, where "
            f"@{function.name} makes {', '.join(map(str, function.output_types))}"
        )
    return graph.output_types


forward_call = define(
    "forward_call",
    _infer_forward_call,
    defaults={"graph": REQUIRED, "function": REQUIRED, "num_residuals": REQUIRED},
    has_regions=True,
    user_rules=True,
    runs=function_alone,
    family="call",
)
"""`forward_call[graph, function] x -> residuals, y`: what a forward rule, the graph, makes. Where
nobody reads the residuals it is a call of the function, which makes y alone: `optimize_remat` of
`jax.custom_vjp`."""
