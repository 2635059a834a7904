"""The meaning of loops and branches. Regions are evaluated by `evaluate`, one level each."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..graph import Graph
from ..ops import control as c
from . import evaluate, means


@means(c.scan)
def scan(
    *inputs: Any,
    graph: Graph,
    num_consts: int,
    num_carry: int,
    length: int,
    reverse: bool,
    unroll: int,
    snapshots: int | None,
) -> list[Any]:
    consts, carry, xs = c.split_sizes(inputs, (num_consts, num_carry))
    state = list(carry)
    rows: list[list[Any]] = []
    steps = range(length)
    for i in reversed(steps) if reverse else steps:
        outputs = evaluate(graph, (*consts, *state, *(x[i] for x in xs)))
        state = outputs[:num_carry]
        rows.append(outputs[num_carry:])
    if reverse:
        rows.reverse()
    types = graph.output_types[num_carry:]
    if not rows:
        return [*state, *(np.zeros((0, *t.shape)) for t in types)]
    return [*state, *(np.stack(column) for column in zip(*rows, strict=True))]


@means(c.while_)
def while_(
    *inputs: Any,
    cond_graph: Graph,
    body_graph: Graph,
    cond_nconsts: int,
    body_nconsts: int,
    snapshots: int | None,
) -> list[Any]:
    cond_consts, body_consts, carry = c.split_sizes(inputs, (cond_nconsts, body_nconsts))
    state = list(carry)
    while bool(evaluate(cond_graph, (*cond_consts, *state))[0]):
        state = evaluate(body_graph, (*body_consts, *state))
    return state


@means(c.cond)
def cond(index: Any, *operands: Any, branches: tuple[Graph, ...]) -> list[Any]:
    return evaluate(branches[c.branch_number(index, len(branches))], operands)


@means(c.custom_linear_solve)
def custom_linear_solve(
    *inputs: Any, solve: Graph, const_lengths: tuple[int, ...], **params: Any
) -> list[Any]:
    groups = c.split_sizes(inputs, const_lengths)
    return evaluate(solve, (*groups[2], *groups[-1]))
