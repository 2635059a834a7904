"""Where fused operations end, on CPUs.

XLA's CPU backend computes a cheap value anew in every fused operation that reads it, with all that
it is made of. Along a chain of sums that is read at every link, as the cotangents of a residual
stream are, each fused operation then computes the whole chain so far again: code, and work, that
grow with the square of the depth. A barrier behind such a value, once enough has gone into it, has
it computed once. The threshold was chosen by measuring gradients of GPTs.
"""

from __future__ import annotations

from collections.abc import Set
from typing import Any, Final

from ..ir.graph import Equation, Graph, Value

DEPTH: Final = 16
"""How many operations deep a value may be that is computed again where it is read."""

ELEMENTS: Final = 1 << 10
"""Smaller arrays are sooner computed again than passed from one fused operation to the next."""

_MOVES: Final = frozenset({"broadcast_in_dim", "reshape", "transpose", "squeeze"})
"""What is fused besides what works element by element."""

_REDUCES: Final = frozenset({"reduce_sum", "reduce_max", "reduce_min", "reduce_prod"})
"""What ends a fused operation that computes its operand."""


def borders_of(graph: Graph) -> Set[Value]:
    """The values of a graph that are to be computed once: the deep ones that several fused
    operations would compute. Linear in the program."""
    split = _split(graph)
    borders: set[Value] = set()
    depth: dict[Any, int] = {}
    for eqn in graph.equations if split else ():
        if not _is_fused(eqn):
            continue
        (y,) = eqn.outputs
        deep = 1 + max([depth.get(x, 0) for x in eqn.inputs], default=0)
        if deep > DEPTH and y in split and y.type.size >= ELEMENTS:
            borders.add(y)
        else:
            depth[y] = deep
    return borders


def _split(graph: Graph) -> set[Value]:
    """The values that several fused operations would compute.

    `ends` tells in which fused operations a value ends up, each by what stands for it: the value
    that it leaves in memory, or the reduction that it computes. What ends up in several is seen by
    what it is made of as one end.
    """
    ends: dict[Any, set[Any]] = {}
    for x in graph.outputs:
        ends.setdefault(x, set()).add(x)
    split: set[Value] = set()
    for eqn in reversed(graph.equations):
        end: Any = None
        if _is_fused(eqn):
            (y,) = eqn.outputs
            found = ends.pop(y, ())
            if len(found) > 1:
                split.add(y)
            end = next(iter(found)) if len(found) == 1 else y
        elif eqn.primitive.name in _REDUCES:
            end = eqn
        for x in eqn.inputs:  # what is not fused reads its operands from memory
            ends.setdefault(x, set()).add(x if end is None else end)
    return split


def _is_fused(eqn: Equation) -> bool:
    """Whether XLA makes an operation part of those that read its result."""
    primitive = eqn.primitive
    return len(eqn.outputs) == 1 and (primitive.elementwise or primitive.name in _MOVES)
