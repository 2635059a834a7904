"""Values being recorded that derivative rules in jaxprs close over.

JAX traces the bodies of loops, branches and jitted functions before a recording sees them; what a
rule in one closes over is no operand of anything there. So the graph of such a body takes it as a
leading input, and each operation that holds the body as a leading operand: it is *lent* to them.
(What rules close over of functions that are recorded themselves: see custom_rules.)
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

from ..ir.graph import Graph, Value, memoised
from .captures import closure_tracers
from .cells import Cell
from .hidden_rules import jaxprs_of
from .importer import Params, graph_of_either
from .jax_compat import scan_sizes
from .leaks import lend
from .tracers import GraphTracer, type_of_tracer

if TYPE_CHECKING:
    from .graph_trace import GraphTrace

Operands = tuple[Any, ...]

WITH_RULES: Final = ("custom_jvp_call", "custom_vjp_call")


def lend_values(
    trace: GraphTrace, name: str, inputs: Operands, params: Params
) -> tuple[Operands, Params]:
    """The operands and parameters of an operation, with what is lent to it.

    Nothing is where one of the values is out of reach: it is an error to ask for the rule then.
    """
    found = values_lent(name, inputs, params)
    if not found or not all(id(x) in trace.aliases or not x._trace.finished for x in found):
        return inputs, params
    lend(found)
    return with_lent(name, found, tuple(map(trace.atom, found)), inputs, params)


def lend_inputs(
    lent: dict[int, tuple[Any, Value]], eqn: Any, inputs: Operands
) -> tuple[Operands, Params]:
    """The same of an equation in a jaxpr, which is lent inputs of the graph that it is read into:
    `lent` has them, by what they stand for."""
    name = eqn.primitive.name
    values = values_lent(name, inputs, eqn.params)
    first = [lent.setdefault(id(x), (x, Value(type_of_tracer(x), x.atom.name)))[1] for x in values]
    return with_lent(name, values, tuple(first), inputs, eqn.params)


def values_lent(name: str, inputs: Operands, params: Params) -> list[GraphTracer]:
    """The recorded values that rules in an operation's jaxprs, or its own, close over."""
    if Cell in [x.__class__ for x in inputs]:
        return []  # the regions are changed already, for mutable arrays
    found = {}
    for jaxpr in jaxprs_of(name, params):
        found.update({id(x): x for x in lent_to(graph_of_either(jaxpr, lends=True))})
    if name in WITH_RULES:
        closed_over = closure_tracers(*params.values())
        found.update({id(x): x for x in closed_over if x.__class__ is GraphTracer})
    return list(found.values())


def lent_to(graph: Graph) -> tuple[Any, ...]:
    """What the first inputs of a region's graph stand for."""
    found: tuple[Any, ...] = memoised(graph, "lent", tuple)
    return found


def lent_to_rule(rule: Any, values: Sequence[Any]) -> list[Any]:
    """Those of the values that are lent which one rule closes over."""
    own = set(map(id, closure_tracers(rule)))
    return [x for x in values if id(x) in own]


def region_lent(jaxpr: Any, values: Sequence[Any]) -> Graph:
    """The graph of a region that takes all of these first, and not only what its rules read."""
    graph = graph_of_either(jaxpr, lends=True)
    own = lent_to(graph)
    if list(map(id, own)) == list(map(id, values)):
        return graph

    def extend() -> Graph:
        taken = dict(zip(map(id, own), graph.inputs, strict=False))
        first = [taken.get(id(x)) or Value(type_of_tracer(x)) for x in values]
        return Graph(
            (*first, *graph.inputs[len(own) :]), graph.equations, graph.outputs, graph.name
        )

    made: Graph = memoised(graph, ("lent", tuple(map(id, values))), extend)
    memoised(made, "lent", lambda: tuple(values))
    return made


def with_lent(
    name: str, values: Sequence[Any], first: Operands, inputs: Operands, params: Params
) -> tuple[Operands, Params]:
    """An operation with values before the operands of each of its regions."""
    if not values:
        return inputs, params
    if name in WITH_RULES:
        return (*first, *inputs), {**params, "lent": tuple(values)}
    given = {key: _with_graphs(x, values) for key, x in params.items()}
    n = len(values)
    if name == "scan":
        n_consts, n_carry = scan_sizes(params)
        given |= {"num_consts": n + n_consts, "num_carry": n_carry}
    elif name == "while":
        n_cond, n_body = params["cond_nconsts"], params["body_nconsts"]
        given |= {"cond_nconsts": n + n_cond, "body_nconsts": n + n_body}
        inputs = (*inputs[:n_cond], *first, *inputs[n_cond:])
    elif name == "cond":
        return (inputs[0], *first, *inputs[1:]), given
    elif name == "custom_linear_solve":
        return _solve_with_lent(first, inputs, given)
    return (*first, *inputs), given


def _solve_with_lent(first: Operands, inputs: Operands, params: Params) -> tuple[Operands, Params]:
    """Each function of a solve has consts of its own; those that there are not have none."""
    operands: list[Any] = []
    lengths, rest = [], inputs
    for graph, n in zip(params["jaxprs"], params["const_lengths"], strict=True):
        own = (*(() if graph is None else first), *rest[:n])
        operands += own
        lengths.append(len(own))
        rest = rest[n:]
    return (*operands, *rest), {**params, "const_lengths": tuple(lengths)}


def _with_graphs(x: Any, values: Sequence[Any]) -> Any:
    """A parameter with graphs in place of jaxprs."""
    if hasattr(x, "eqns"):
        return region_lent(x, values)
    if isinstance(x, tuple) and any(hasattr(part, "eqns") for part in x):
        parts = [_with_graphs(part, values) for part in x]
        return x._make(parts) if hasattr(x, "_make") else tuple(parts)
    return x
