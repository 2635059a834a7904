"""A program as XLA has it once it has inlined calls: for analyses, nothing is rewritten."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from typing import Any, Final, NamedTuple

from ..ir.graph import Atom, Equation, Graph, Value, walk_graphs
from ..ir.ops.call import call, checkpoint, custom_jvp_call, custom_vjp_call
from ..ir.ops.custom_vmap import custom_vmap_call
from ..ir.ops.forward_call import forward_call
from ..ir.ops.linear_call import linear_call
from ..ir.ops.shape import optimization_barrier

_ENTERED: Final = frozenset({
    call, checkpoint, custom_jvp_call, custom_vjp_call, custom_vmap_call, forward_call, linear_call,
})  # fmt: skip
"""What XLA has the body of in its place."""


class Step(NamedTuple):
    """An equation; if it is of a function that is called, on the values of one call.

    One with a barrier before its body stands for the barrier, the body follows it.
    """

    equation: Equation
    inputs: Sequence[Atom]
    outputs: tuple[Value, ...]


class FlatProgram(NamedTuple):
    """The equations of a graph, those of a function once for each of its calls.

    homes: for values of calls, which value of which graph they are. The results of a call are the
    caller's.
    """

    steps: Sequence[Step]
    outputs: Sequence[Atom]
    homes: Mapping[Value, tuple[Graph, Value]]


def _is_entered(eqn: Equation) -> bool:
    """Whether the body of a call becomes part of the program around it."""
    params = eqn.params
    return eqn.primitive in _ENTERED and not (params.get("outlined") or params.get("kernel"))


def states_order(eqn: Equation) -> bool:
    """Whether an equation is a barrier, or will have one in front of it."""
    if eqn.primitive is checkpoint:
        return bool(eqn.params["differentiated"] and eqn.params["prevent_cse"])
    return eqn.primitive is optimization_barrier


def part_graphs(root: Graph) -> Set[Graph]:
    """The graphs of whose equations the flat program of a graph consists."""
    found, reached = {root}, [root]
    while reached:
        for eqn in reached.pop().equations:
            if _is_entered(eqn) and eqn.params["graph"] not in found:
                found.add(eqn.params["graph"])
                reached.append(eqn.params["graph"])
    return found


def flat_lengths(*roots: Graph) -> Mapping[Graph, int]:
    """How many equations the flat programs of graphs, and of all that they hold, have. Looks at
    each graph once."""
    lengths: dict[Graph, int] = {}
    for graph in walk_graphs(*roots):  # callees first
        lengths[graph] = sum(
            [lengths[e.params["graph"]] if _is_entered(e) else 1 for e in graph.equations]
        )
    return lengths


def flat_program(main: Graph) -> FlatProgram:
    """The program of a graph. Linear in its length, without recursion."""
    steps: list[Step] = []
    homes: dict[Any, tuple[Graph, Value]] = {}
    frames: list[Any] = []
    graph, env, rest = main, dict[Any, Any](), iter(main.equations)
    while True:
        for eqn in rest:
            inputs = [env.get(x, x) for x in eqn.inputs] if env else eqn.inputs
            if _is_entered(eqn):
                if states_order(eqn):
                    behind = tuple([Value(x.type) for x in inputs])
                    steps.append(Step(eqn, inputs, behind))
                    inputs = behind
                frames.append((graph, env, rest, eqn.outputs))
                graph = eqn.params["graph"]
                env, rest = dict(zip(graph.inputs, inputs, strict=True)), iter(graph.equations)
                break
            outputs = eqn.outputs
            if frames:
                made = []
                for v in outputs:
                    x = env[v] = Value(v.type)
                    homes[x] = graph, v
                    made.append(x)
                outputs = tuple(made)
            steps.append(Step(eqn, inputs, outputs))
        else:
            results = [env.get(x, x) for x in graph.outputs]
            if not frames:
                return FlatProgram(steps, results, homes)
            callee = graph
            graph, env, rest, outputs = frames.pop()
            env.update(zip(outputs, results, strict=True))
            for v, x in zip(outputs, results, strict=True):
                if x in homes and homes[x][0] is callee:  # made there, not passed through
                    homes[x] = graph, v
