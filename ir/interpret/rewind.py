"""The meaning of loops whose states are found again: with every state kept."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..graph import Graph
from ..ops import rewind as r
from ..ops.control import split_sizes
from . import evaluate, means


@means(r.replay)
def replay(*inputs: Any, push: Graph, **params: Any) -> list[Any]:
    return _run(inputs, push, params, backwards=False)


@means(r.rewind)
def rewind(*inputs: Any, pull: Graph, **params: Any) -> list[Any]:
    return _run(inputs, pull, params, backwards=True)


def _run(
    inputs: Sequence[Any], beside: Graph, params: dict[str, Any], backwards: bool
) -> list[Any]:
    length, step, n_carry = params["length"], params["step"], params["num_carry"]
    sizes = (int(length is None), params["num_consts"], params["num_state"], n_carry)
    count, consts, kept, carry, xs = split_sizes(inputs, sizes)
    n = int(count[0]) if length is None else length
    slices = [[x[n - 1 - i if params["reverse"] else i] for x in xs] for i in range(n)]
    states = [[x[0] for x in kept]]
    for i in range(n - 1):
        states.append(evaluate(step, (*consts, *states[-1], *slices[i])))
    rows = []
    for i in reversed(range(n)) if backwards else range(n):
        outputs = evaluate(beside, (*consts, *states[i], *carry, *slices[i]))
        carry = tuple(outputs[:n_carry])
        rows.append(outputs[n_carry:])
    if backwards != params["reverse"]:
        rows.reverse()
    if not rows:
        return [*carry, *(np.zeros((0, *t.shape)) for t in beside.output_types[n_carry:])]
    return [*carry, *(np.stack(column) for column in zip(*rows, strict=True))]
