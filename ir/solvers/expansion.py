"""From an equation of the family `ode` to the program that it stands for, once for each graph."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from ..builder import Builder
from ..graph import Equation, Graph, Params, Value, memoised
from ..ops.ode import linear_ode, linear_ode_back, ode
from ..primitive import Primitive, Types
from .continuous import Continuous
from .direct import Direct
from .forward import expand_ode
from .spec import split_operands


def expand(eqn: Equation) -> Graph:
    """The program of an equation, a function of its operands."""
    return expand_for(eqn.primitive, eqn.params, tuple([x.type for x in eqn.inputs]))


def expand_for(primitive: Primitive, params: Params, types: Types) -> Graph:
    """The program of `primitive[params]` applied to operands of these types."""
    graph: Graph = params["graph"]
    strong = tuple([t.strong for t in types])
    key = (primitive.name, strong, *((k, v) for k, v in params.items() if k != "graph"))
    made: Graph = memoised(graph, key, lambda: _EXPANSIONS[primitive](params, strong))
    return made


def _expand_linear(params: Params, types: Types) -> Graph:
    """The last level of the joint solve; residuals are not read."""
    n_state = len(params["graph"].outputs)
    n_own = len(types) - len(split_operands(types, sum(params["args"]), n_state)[3])
    joint = expand_ode({**params, "stored": False}, types[:n_own], "linear_ode")
    unread = [Value(t) for t in types[n_own:]]
    outputs = joint.outputs[n_state // 2 : n_state]
    return Graph((*joint.inputs, *unread), joint.equations, outputs, "linear_ode")


def _expand_back(params: Params, types: Types) -> Graph:
    b = Builder()
    inputs = [Value(t) for t in types]
    kind = Direct if params["adjoint"] == "direct" else Continuous
    return b.graph(inputs, kind(b, params, inputs).run(b), "linear_ode_back")


_EXPANSIONS: Final[dict[Primitive, Callable[[Params, Types], Graph]]] = {
    ode: expand_ode,
    linear_ode: _expand_linear,
    linear_ode_back: _expand_back,
}
