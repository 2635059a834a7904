"""The meaning of calls: what they call, applied to the operands, custom rules aside."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..errors import ForwardModeError
from ..graph import Constant, Graph
from ..ops import call as c
from ..ops.custom_vmap import custom_vmap_call
from ..ops.forward_call import forward_call
from ..ops.linear_call import linear_call
from . import evaluate, means


@means(c.call, c.checkpoint, c.custom_jvp_call, c.custom_vjp_call, linear_call, custom_vmap_call)
@means(forward_call)
def call(*inputs: Any, graph: Graph, **params: Any) -> list[Any]:
    return evaluate(graph, inputs)


@means(c.constant)
def constant(value: Constant) -> Any:
    return np.asarray(value.array)


@means(c.name)
def name(x: Any, name: str) -> Any:
    return x


@means(c.custom_vjp_linear)
def custom_vjp_linear(*inputs: Any, name: str, **params: Any) -> Any:
    raise ForwardModeError(c.forward_mode_claim(name), hint=c.forward_mode_hint(name))
