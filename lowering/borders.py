"""Where fused operations end, on CPUs.

XLA's CPU backend computes a cheap value anew in every fused operation that reads it, with all that
it is made of. Along a chain of sums that is read at every link, as the cotangents of a residual
stream are, each fused operation then computes the whole chain so far again: code, and work, that
grow with the square of the depth. A barrier behind such a value, once more than a little would be
computed again, has it computed once. The threshold was chosen by measuring: gradients of GPTs and
of long scalar expressions compile fastest near it, and run no slower.
"""

from __future__ import annotations

from collections.abc import Set
from typing import Any, Final

from ..ir.graph import Equation, Graph, Value

AGAIN: Final = 12
"""How many operations may be computed again for a value: its depth, in operations that are, for
each fused operation that reads it but one."""

_MOVES: Final = frozenset({"broadcast_in_dim", "reshape", "transpose", "squeeze"})
"""What is fused besides what works element by element."""

_COSTLY: Final = frozenset({
    "acos", "acosh", "asin", "asinh", "atan", "atan2", "atanh", "cbrt", "cosh", "div", "erf", "exp",
    "exp2", "expm1", "log", "log1p", "logistic", "pow", "rem", "rsqrt", "sinh", "sqrt", "tanh",
})  # fmt: skip
"""What XLA itself computes once if several operations read it."""

_REDUCES: Final = frozenset({"reduce_sum", "reduce_max", "reduce_min", "reduce_prod"})
"""What ends a fused operation that computes its operand."""


def borders_of(graph: Graph) -> Set[Value]:
    """The values of a graph that are to be computed once: the deep ones that several fused
    operations would compute. Linear in the program."""
    copies = _copies(graph)
    borders: set[Value] = set()
    depth: dict[Any, int] = {}
    for eqn in graph.equations if copies else ():
        if not _is_fused(eqn) or copies.get(eqn.outputs[0]) == 0:
            continue
        (y,) = eqn.outputs
        deep = 1 + max([depth.get(x, 0) for x in eqn.inputs], default=0)
        if deep * copies.get(y, 0) > AGAIN:
            borders.add(y)
        else:
            depth[y] = deep
    return borders


def _copies(graph: Graph) -> dict[Value, int]:
    """How often XLA would compute a value again, of those that end up in several fused operations.

    `ends` tells in which fused operations a value ends up, each by what stands for it: the value
    that it leaves in memory, or the reduction that it computes. What ends up in several is seen by
    what it is made of as one end. So is what is costly and read by several operations, although
    they may be fused: XLA decides on these one by one, and does not compute it again.
    """
    ends: dict[Any, set[Any]] = {}
    readers: dict[Any, int] = {}
    for x in graph.outputs:
        ends.setdefault(x, set()).add(x)
    copies: dict[Value, int] = {}
    for eqn in reversed(graph.equations):
        end: Any = None
        if _is_fused(eqn):
            (y,) = eqn.outputs
            found, costly = ends.pop(y, ()), eqn.primitive.name in _COSTLY
            if len(found) == 1 and not (costly and readers.get(y, 0) > 1):
                (end,) = found
            else:
                end = y
                copies[y] = 0 if costly else len(found) - 1
        elif eqn.primitive.name in _REDUCES:
            end = eqn
        for x in {*eqn.inputs}:  # what is not fused reads its operands from memory
            ends.setdefault(x, set()).add(x if end is None else end)
            readers[x] = readers.get(x, 0) + 1
    return copies


def _is_fused(eqn: Equation) -> bool:
    """Whether XLA makes an operation part of those that read its result."""
    primitive = eqn.primitive
    return len(eqn.outputs) == 1 and (primitive.elementwise or primitive.name in _MOVES)
