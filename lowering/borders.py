"""Where fused operations end, on CPUs.

XLA's CPU backend computes a cheap value anew in every fused operation that reads it, with all that
it is made of. Along a chain of sums that is read at every link, as the cotangents of a residual
stream are, each fused operation then computes the whole chain so far again: code, and work, that
grow with the square of the depth. A barrier behind such a value, once more than a little would be
computed again, has it computed once. The threshold was chosen by measuring: gradients of GPTs and
of long scalar expressions compile fastest near it, and run no slower.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from typing import Any, Final, NamedTuple

from ..ir.graph import Atom, Equation, Graph, Literal, Value, walk_graphs
from ..ir.ops.call import call, custom_jvp_call, custom_vjp_call
from ..ir.ops.custom_vmap import custom_vmap_call
from ..ir.ops.forward_call import forward_call
from ..ir.ops.linear_call import linear_call

AGAIN: Final = 12
"""How many operations may be computed again for a value: its depth, in operations that are, for
each fused operation that reads it but one."""

LONGEST: Final = 200_000
"""How many equations a program may have, those of a function counted at each of its calls, if XLA
is to be helped: with more it is lost anyway."""

_MOVES: Final = frozenset({
    "broadcast_in_dim", "clamp", "concatenate", "dynamic_slice", "expand_dims", "pad", "reshape",
    "rev", "select_n", "slice", "squeeze", "transpose",
})  # fmt: skip
"""What is fused besides what works element by element."""

_SHIFTS: Final = frozenset({"concatenate", "dynamic_slice", "pad", "rev", "slice", "transpose"})
"""Of these, what reads other elements of an operand than a reader beside it does: both in one fused
operation compute it twice."""

_COSTLY: Final = frozenset({
    "acos", "acosh", "asin", "asinh", "atan", "atan2", "atanh", "cbrt", "cosh", "div", "erf", "exp",
    "exp2", "expm1", "log", "log1p", "logistic", "pow", "rem", "rsqrt", "sinh", "sqrt", "tanh",
})  # fmt: skip
"""What XLA itself computes once if several operations read it."""

_FACTORS: Final = frozenset({"broadcast_in_dim", "exp", "pow", "rsqrt", "sqrt"})
"""What XLA divides by in multiplying, which is not costly: by 1 / x of a few numbers x that are
repeated, by rsqrt(x) for sqrt(x)."""

_REDUCES: Final = frozenset({"reduce_sum", "reduce_max", "reduce_min", "reduce_prod"})
"""What ends a fused operation that computes its operand."""

_ENTERED: Final = frozenset({
    call, custom_jvp_call, custom_vjp_call, custom_vmap_call, forward_call, linear_call,
})  # fmt: skip
"""What XLA sees in place of is its body."""


def borders_of(main: Graph) -> Mapping[Graph, Set[Value]]:
    """The values, of a program and of the functions that it calls, that are to be computed once:
    the deep ones that several fused operations would compute. Linear in the program without calls.
    """
    borders: dict[Graph, set[Value]] = {}
    if _length(main) > LONGEST:
        return borders
    steps, outputs, homes = _without_calls(main)
    copies = _copies(steps, outputs)
    depth: dict[Any, int] = {}
    for step in steps if copies else ():
        if not _is_fused(step.equation):
            continue
        (y,) = step.outputs
        if copies.get(y) == 0:
            continue
        deep = 1 + max([depth.get(x, 0) for x in step.inputs], default=0)
        if deep * copies.get(y, 0) > AGAIN:
            graph, value = homes.get(y) or (main, y)
            borders.setdefault(graph, set()).add(value)
        else:
            depth[y] = deep
    return borders


# -- calls -----------------------------------------------------------------------------------------


class _Step(NamedTuple):
    """An equation where XLA has it: in place of a call of its function, on values of the call."""

    equation: Equation
    inputs: Sequence[Atom]
    outputs: Sequence[Value]


Homes = dict[Value, tuple[Graph, Value]]
"""For values of calls: which value of which graph they are. A result is the caller's."""


def _is_entered(eqn: Equation) -> bool:
    """Whether the body of a call becomes part of the program around it."""
    return eqn.primitive in _ENTERED and not (
        eqn.params.get("outlined", False) or eqn.params.get("kernel", False)
    )


def _length(main: Graph) -> int:
    """How many equations there are without calls."""
    lengths: dict[Graph, int] = {}
    for graph in walk_graphs(main):  # callees first
        lengths[graph] = sum(
            [lengths[e.params["graph"]] if _is_entered(e) else 1 for e in graph.equations]
        )
    return lengths[main]


def _without_calls(main: Graph) -> tuple[list[_Step], list[Atom], Homes]:
    """The equations of a program as XLA sees them, and its outputs."""
    steps: list[_Step] = []
    homes: Homes = {}
    frames: list[Any] = []
    graph, env, rest = main, dict[Any, Any](), iter(main.equations)
    while True:
        for eqn in rest:
            inputs = [env.get(x, x) for x in eqn.inputs] if env else eqn.inputs
            if _is_entered(eqn):
                frames.append((graph, env, rest, eqn.outputs))
                graph = eqn.params["graph"]
                env, rest = dict(zip(graph.inputs, inputs, strict=True)), iter(graph.equations)
                break
            outputs = eqn.outputs
            if frames:
                outputs = tuple([Value(v.type) for v in outputs])
                for v, made in zip(eqn.outputs, outputs, strict=True):
                    env[v] = made
                    homes[made] = graph, v
            steps.append(_Step(eqn, inputs, outputs))
        else:
            results = [env.get(x, x) for x in graph.outputs]
            if not frames:
                return steps, results, homes
            callee = graph
            graph, env, rest, outputs = frames.pop()
            for v, made in zip(outputs, results, strict=True):
                env[v] = made
                if homes.get(made, (None,))[0] is callee:
                    homes[made] = graph, v


# -- what is computed again ------------------------------------------------------------------------


def _copies(steps: Sequence[_Step], outputs: Sequence[Atom]) -> dict[Any, int]:
    """How often XLA would compute a value again, of those that end up in several fused operations.

    `ends` tells in which fused operations a value ends up, each by what stands for it: the value
    that it leaves in memory, or the reduction that it computes. What ends up in several is seen by
    what it is made of as one end. So is what is costly and read by several operations, although
    they may be fused: XLA decides on these one by one, and does not compute it again.
    """
    factors = _factors(steps)
    ends: dict[Any, set[Any]] = {}
    readers: dict[Any, int] = {}
    for x in outputs:
        ends.setdefault(x, set()).add(x)
    copies: dict[Any, int] = {}
    for step in reversed(steps):
        eqn, inputs, _ = step
        end: Any = None
        if _is_fused(eqn):
            (y,) = step.outputs
            found, costly = ends.pop(y, ()), _is_costly(step, factors)
            if len(found) == 1 and not (costly and readers.get(y, 0) > 1):
                end = y if eqn.primitive.name in _SHIFTS else next(iter(found))
            else:
                end = y
                copies[y] = 0 if costly else len(found) - 1
        elif eqn.primitive.name in _REDUCES:
            end = step.outputs  # a tuple: no value
        for x in {*inputs}:  # what is not fused reads its operands from memory
            ends.setdefault(x, set()).add(x if end is None else end)
            readers[x] = readers.get(x, 0) + 1
    return copies


def _is_fused(eqn: Equation) -> bool:
    """Whether XLA makes an operation part of those that read its result."""
    primitive = eqn.primitive
    return len(eqn.outputs) == 1 and (primitive.elementwise or primitive.name in _MOVES)


def _factors(steps: Sequence[_Step]) -> set[Any]:
    """What XLA divides by in multiplying."""
    return {
        step.outputs[0]
        for step in steps
        if step.equation.primitive.name in _FACTORS and _is_factor(*step)
    }


def _is_factor(eqn: Equation, inputs: Sequence[Atom], outputs: Sequence[Value]) -> bool:
    is_repeated = inputs[0].type.size < outputs[0].type.size
    return is_repeated or eqn.primitive.name != "broadcast_in_dim"


def _is_costly(step: _Step, factors: Set[Any]) -> bool:
    """Whether XLA computes a result once, though several operations read it."""
    name = step.equation.primitive.name
    if name != "div":
        return name in _COSTLY
    y = step.inputs[1]
    is_repeated = y.type.size < step.outputs[0].type.size
    return not (is_repeated or y.__class__ is Literal or y in factors)
