"""Small loops as one kernel each, on CPUs.

XLA's CPU backend runs each fused operation of a loop as a kernel of its own, which costs some
100 ns beside what it computes. Loops whose steps touch less than a kilobyte it compiles as a whole
instead, as it does the body of a call that is marked `xla_cpu_small_call`. The steps of a
differential equation in a few unknowns touch more and are still mostly overhead, so the loops of
solves become such calls here, as long as they consist of what that emitter can write, and little of
it is computed again for each operation that reads it.
"""

from __future__ import annotations

from typing import Any, Final

from ..ir.costs import graph_cost
from ..ir.graph import Equation, Graph, Value, memoised, walk_graphs
from ..ir.ops.call import call
from ..ir.ops.contraction import dot_general
from ..ir.ops.control import scan, while_
from .borders import computed_again

SMALL: Final = 1 << 20
"""The most bytes that the equations of a step may read and write, if each went to memory."""

AGAIN: Final = 1 << 16
"""The most elements that a kernel may compute again in a step, as no border keeps it from doing.
By measuring, with more of them loops run as fast without, and compile sooner."""

_FAMILIES: Final = frozenset({"elementwise", "shape", "reduction"})
_FURTHER: Final = frozenset(
    {
        "call", "constant", "name", "custom_jvp_call", "custom_vjp_call", "custom_vmap_call",
        "while", "scan", "cond", "slice", "dynamic_slice", "dynamic_update_slice",
    }
)  # fmt: skip
_NOT: Final = frozenset({"optimization_barrier", "reduce", "dce_sink", "tie", "nextafter"})


def with_kernels(graph: Graph) -> Graph:
    """The graph with each of its small loops as a call that becomes one kernel."""

    def make() -> Graph:
        return graph.with_equations([_as_call(e) if is_kernel(e) else e for e in graph.equations])

    made: Graph = memoised(graph, "kernels", make)
    return made


def _as_call(eqn: Equation) -> Equation:
    """The call of a function that consists of one equation."""
    inputs = {x: Value(x.type, x.name) for x in eqn.inputs if isinstance(x, Value)}
    outputs = tuple([Value(v.type, v.name) for v in eqn.outputs])
    own: Any = inputs
    inner = eqn.replace(inputs=tuple([own.get(x, x) for x in eqn.inputs]), outputs=outputs)
    graph = Graph(tuple(inputs.values()), [inner], outputs, eqn.primitive.name)
    params = call.complete({"graph": graph, "kernel": True})
    return Equation(call, tuple(inputs), eqn.outputs, params, eqn.location, eqn.origin)


def is_kernel(eqn: Equation) -> bool:
    """Whether an equation is a loop that one kernel can do, and does sooner."""
    if eqn.primitive not in (while_, scan):
        return False
    return all(
        graph_cost(g).bytes <= SMALL and _can_be_written(g) and computed_again(g) <= AGAIN
        for g in eqn.regions()
    )


def _can_be_written(graph: Graph) -> bool:
    return all(
        _is_written(eqn) and all(v.type.dtype.kind in "fcuib" for v in (*eqn.inputs, *eqn.outputs))
        for part in walk_graphs(graph)
        for eqn in part.equations
    )


def _is_written(eqn: Equation) -> bool:
    """Whether the emitter has the operation: none that is a library's, nor any that may become so,
    as products of matrices do."""
    if eqn.primitive is dot_general:
        (left, right), (batch, _) = eqn.params["dimension_numbers"]
        ranks = [len(x.type.shape) for x in eqn.inputs]
        is_vector = len(left) == ranks[0] or len(right) == ranks[1]
        return not batch and (is_vector or not left)
    name = eqn.primitive.name
    return name in _FURTHER or (eqn.primitive.family in _FAMILIES and name not in _NOT)
