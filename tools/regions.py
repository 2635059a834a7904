"""The runs of the graphs inside an equation, one after the other, with what each is applied to."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from ..ir.graph import Equation, Graph
from ..ir.interpret import evaluate
from ..ir.ops.control import split_sizes

Runs = Iterator[tuple[str, Graph, list[Any]]]
"""(which run it is, the graph, its arguments)."""


def region_runs(eqn: Equation, arrays: Sequence[Any]) -> Runs:
    """What evaluating an equation evaluates: a callee, a branch, each step of a loop."""
    walk = {"scan": _scan, "while": _while, "cond": _cond}.get(eqn.primitive.name)
    graph = eqn.params.get("graph")
    if walk is not None:
        yield from walk(eqn, arrays)
    elif isinstance(graph, Graph) and len(graph.inputs) == len(arrays):
        yield "", graph, list(arrays)


def _scan(eqn: Equation, arrays: Sequence[Any]) -> Runs:
    graph, length = eqn.params["graph"], eqn.params["length"]
    n_carry = eqn.params["num_carry"]
    consts, start, xs = split_sizes(arrays, (eqn.params["num_consts"], n_carry))
    carry = list(start)
    steps = range(length)
    for i in reversed(steps) if eqn.params["reverse"] else steps:
        inputs = [*consts, *carry, *(x[i] for x in xs)]
        yield f"step {i} of {length}", graph, inputs
        carry = evaluate(graph, inputs)[:n_carry]


def _while(eqn: Equation, arrays: Sequence[Any]) -> Runs:
    condition, body = eqn.params["cond_graph"], eqn.params["body_graph"]
    sizes = (eqn.params["cond_nconsts"], eqn.params["body_nconsts"])
    cond_consts, body_consts, start = split_sizes(arrays, sizes)
    carry = list(start)
    step = 0
    while True:
        yield f"condition {step}", condition, [*cond_consts, *carry]
        if not bool(evaluate(condition, [*cond_consts, *carry])[0]):
            return
        yield f"step {step}", body, [*body_consts, *carry]
        carry = evaluate(body, [*body_consts, *carry])
        step += 1


def _cond(eqn: Equation, arrays: Sequence[Any]) -> Runs:
    branches = eqn.params["branches"]
    chosen = int(arrays[0])
    if not 0 <= chosen < len(branches):
        chosen = len(branches) - 1
    yield f"branch {chosen}", branches[chosen], list(arrays[1:])
