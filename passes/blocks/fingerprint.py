"""Equations as numbers: equal where two do the same to operands of equal types.

What an equation reads is no part of its number, unless it is a literal: whether two stretches of
equal numbers are wired alike is seen from their `wiring`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ...ir.equality import by_structure
from ...ir.graph import Constant, Equation, Graph, Literal

Numbers = np.ndarray[Any, np.dtype[np.int64]]


def fingerprints(graph: Graph) -> Numbers:
    """A number for each equation; one of its own for what must not be moved into a function."""
    known: dict[Any, int] = {}
    numbers = []
    for i, eqn in enumerate(graph.equations):
        key = i if _stays(eqn) else _key(eqn)
        numbers.append(known.setdefault(key, len(known)))
    return np.asarray(numbers, np.int64)


def _stays(eqn: Equation) -> bool:
    holds_array = any(value.__class__ is Constant for value in eqn.params.values())
    return bool(eqn.effects) or holds_array


def _key(eqn: Equation) -> Any:
    # literals of one type and equal bits are one object
    operands = tuple([x if x.__class__ is Literal else x.type for x in eqn.inputs])
    params: Any = tuple(eqn.params.values())
    if eqn.primitive.has_regions:
        params = by_structure(params)
    elif eqn.primitive.float_params:  # 0.0 == -0.0 == False, and nan != nan
        params = (params, repr(params))
    return eqn.primitive, operands, params


def wiring(equations: Sequence[Equation]) -> tuple[tuple[Any, ...], list[Any]]:
    """How a stretch of equations is connected, and the values that it reads from outside.

    The first is equal for two stretches exactly when one is the other with other outside values.
    """
    made: dict[Any, tuple[int, int]] = {}
    outside: dict[Any, int] = {}
    connections: list[Any] = []
    for i, eqn in enumerate(equations):
        for x in eqn.inputs:
            if x.__class__ is Literal:
                connections.append(None)
            elif x in made:
                connections.append(made[x])
            else:
                connections.append(outside.setdefault(x, len(outside)))
        for j, v in enumerate(eqn.outputs):
            made[v] = (i, j)
    return tuple(connections), list(outside)
